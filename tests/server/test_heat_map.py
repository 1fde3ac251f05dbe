"""Where the map lands on images of other proportions than the model's input."""

import io

import numpy as np
import pytest
from PIL import Image

from catseye.preprocess import preprocess
from catseye.serving.heat_map import LONGEST_PX, heat_map_png, part_of_image, seen_box


def opacity(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))[..., 3].astype(float)


@pytest.mark.parametrize("resize", ["pad", "crop", "squash"])
@pytest.mark.parametrize("size", [(64, 64), (96, 48), (40, 100), (33, 7)])
def test_a_spot_stays_where_it_is(make_spec, resize, size):
    """A white spot in a dark image: its own preprocessed input, taken as the map, must light it up in place."""
    spec = make_spec(32, resize=resize)
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    y, x = height // 2, width // 2
    radius = max(2, min(size) // 8)
    pixels[max(0, y - radius) : y + radius, max(0, x - radius) : x + radius] = 255
    cam = preprocess(pixels, spec)[..., 0].astype(np.float32)
    found = opacity(heat_map_png(cam, size, spec))
    assert found.shape == (height, width)
    rows, columns = np.nonzero(found > 0.5 * found.max())
    assert abs(rows.mean() - y) <= 0.08 * height + 1
    assert abs(columns.mean() - x) <= 0.08 * width + 1


def test_what_a_crop_cut_off_is_clear(make_spec):
    found = opacity(heat_map_png(np.ones((7, 7)), (100, 50), make_spec(32, resize="crop")))
    assert found[:, :20].max() == 0
    assert found[:, 30:70].min() > 200
    assert found[:, 80:].max() == 0


def test_padding_is_not_shown(make_spec):
    """A map that burns only in the padding leaves the image nearly clear."""
    cam = np.zeros((32, 32), np.float32)
    cam[:4] = 1
    assert seen_box((64, 32), make_spec(32)) == (0, 0.25, 1, 0.75)
    assert opacity(heat_map_png(cam, (64, 32), make_spec(32))).max() < 40
    assert part_of_image((64, 32), make_spec(32)) == (0, 0, 1, 1)


@pytest.mark.parametrize("cam", [np.zeros((4, 4)), np.full((4, 4), -3.0), np.full((1, 1), 5.0)])
def test_odd_maps(make_spec, cam):
    image = Image.open(io.BytesIO(heat_map_png(cam, (9000, 3), make_spec(32))))
    assert image.width == LONGEST_PX
    assert image.height == 1
