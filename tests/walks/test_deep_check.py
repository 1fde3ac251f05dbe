"""`catseye check --deep` from files to findings, with the published weights: images of another kind are found."""

import numpy as np
import pytest

import catseye
from catseye.models.pretrained import DEFAULT_BACKBONE, weights_at_hand
from tests.stranger_sets import drawing, photo_like

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
EACH = 30


@pytest.fixture(autouse=True)
def _needs_weights():
    if not weights_at_hand(DEFAULT_BACKBONE):
        pytest.skip("needs published weights")


def findings_of(folder) -> dict[str, list[tuple[str, ...]]]:
    verdict = catseye.check(folder, deep=True)
    return {
        found.rule: [tuple(sorted(verdict.names[index] for index in one.images)) for one in found.examples]
        for found in verdict.findings
    }


def test_images_of_another_kind_are_found_in_their_class(tmp_path):
    rng = np.random.default_rng(11)
    for kind, label in enumerate(("disc", "triangle")):
        (tmp_path / label).mkdir()
        for number in range(EACH):
            photo_like(kind, rng).save(tmp_path / label / f"{number:02d}.jpg")
    for number, label in enumerate(("disc", "triangle", "disc")):
        drawing(number, rng).convert("RGB").save(tmp_path / label / f"ink{number}.jpg")
    (found,) = zip(*findings_of(tmp_path).get("unlike-class", [("nothing",)]), strict=True)
    # 2 % of 63 images are told, the strangest first
    assert found[0] in {"disc/ink0.jpg", "triangle/ink1.jpg", "disc/ink2.jpg"}
