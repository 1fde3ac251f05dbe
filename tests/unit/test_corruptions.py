"""Corruptions: what they do to pixels, and that they hurt more the stronger they are."""

import numpy as np
import pytest

from catseye.evaluation.corruptions import CORRUPTIONS
from tests.conftest import random_pixels

SMOOTH = np.linspace(60, 200, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)


def changed(name, strength, pixels=SMOOTH):
    return CORRUPTIONS[name](pixels, strength, np.random.default_rng(1))


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_type_and_source_stay(name, channels):
    pixels = (
        random_pixels(0, 24, 32).mean(2, keepdims=True).astype(np.uint8) if channels == 1 else random_pixels(0, 24, 32)
    )
    before = pixels.copy()
    for strength in range(1, 6):
        found = changed(name, strength, pixels)
        assert found.shape == pixels.shape
        assert found.dtype == np.uint8
        assert not np.array_equal(found, pixels)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_stronger_is_further_from_the_image(name):
    # Turned far enough, blocks meet blocks that have nothing to do with them: there a gradient shows the angle.
    pixels = SMOOTH if name == "rotation" else np.kron(random_pixels(3, 8, 8), np.ones((4, 4, 1), np.uint8))
    apart = [np.abs(changed(name, strength, pixels).astype(int) - pixels).mean() for strength in range(1, 6)]
    assert apart == sorted(apart)
    assert apart[4] > 1.3 * apart[0] > 0


def test_by_hand():
    assert np.unique(np.abs(changed("brightness", 2).astype(int) - SMOOTH)).tolist() == [51]
    spread = (changed("noise", 5).astype(float) - SMOOTH).std()
    assert spread == pytest.approx(25.5, rel=0.05)
    flat = np.full((32, 32, 3), 90, np.uint8)
    np.testing.assert_array_equal(changed("rotation", 5, flat), flat)
    np.testing.assert_array_equal(changed("blur", 5, flat), flat)
