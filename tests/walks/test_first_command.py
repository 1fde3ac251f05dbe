"""Plain `catseye train FOLDER` in a fresh process that the kernel gives 4 GB: it learns each of seven strangers' sets.

Six are generated (tests/stranger_sets.py); the seventh, ants and bees, is taken where it lies beside the checkout.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stranger_sets import SETS, write_set
from tests.walks.test_memory_budget import measured

SHARED = Path(__file__).parents[3] / "shared" / "data"

pytestmark = pytest.mark.slow


def ants_and_bees(folder: Path) -> Path:
    if not (SHARED / "unpack.py").exists():
        pytest.skip("the photos of ants and bees are not beside the checkout")
    subprocess.run([sys.executable, SHARED / "unpack.py", "hymenoptera", folder], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", [*SETS, "ants and bees"])
def test_plain_train_learns_it_within_four_gigabytes(name, tmp_path):
    data = tmp_path / name
    data = ants_and_bees(data) if name == "ants and bees" else write_set(name, data)
    out = tmp_path / "run"
    peak_mb, said = measured("train", data, "--out", out, "--device", "cpu", limited=True)
    print(f"{name}: peak {peak_mb:.0f} MB; {said.splitlines()[-2:]}")
    assert peak_mb < 4_000
    metrics = json.loads((out / "metrics.json").read_text())
    if name == "unbalanced":  # one test image in fifty is of the rare class: accuracy says nothing here
        assert metrics["macro"]["recall"] > 0.5
    else:
        assert metrics["accuracy_95_interval"][0] > metrics["constant_guess_accuracy"]
