"""Large JPEGs are decoded at a reduced size: full decoding gives the same within a tolerance, the same shape always."""

import io
import sys
from functools import cache

import numpy as np
import pytest
from PIL import Image

from catseye.errors import ImageError
from catseye.preprocess import Preprocessing, fit_to_square, open_image, preprocess, to_pixels

module = sys.modules["catseye.preprocess"]  # `catseye.preprocess` is the function of that name
EXIF_TURN = 0x0112
MEAN_LEVELS, P99_LEVELS = 0.5, 3.0  # of 255; benchmarks/results/photo-decode.json has what photographs give


@cache
def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Edges, gradients, texture and sensor noise: no symmetry, so that a shift or a wrong turn shows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    pixels = np.stack([200 * x, 180 * y, 120 + 100 * np.sin(9 * x + 5 * y)], axis=2)
    for _ in range(20):
        left, top, size = rng.random(3) * (0.9, 0.9, 0.2)
        inside = (x > left) & (x < left + size) & (y > top) & (y < top + size / 2)
        pixels[inside] = rng.integers(0, 256, 3)
    pixels += 15 * np.sin(x * 300)[..., None] + rng.normal(0, 4, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, quality=90, **options)
    return stream.getvalue()


def fully_decoded(content: bytes, spec: Preprocessing) -> np.ndarray:
    return to_pixels(fit_to_square(open_image(content), spec), spec.channels)


def decoded_size(content: bytes, spec: Preprocessing) -> tuple[int, int]:
    return module._open(content, module.FILE_FORMATS, spec)[0].size


def assert_close(content: bytes, spec: Preprocessing) -> None:
    difference = np.abs(preprocess(content, spec).astype(int) - fully_decoded(content, spec))
    assert difference.mean() < MEAN_LEVELS
    assert np.percentile(difference, 99) <= P99_LEVELS


@pytest.mark.parametrize("resize", ["pad", "crop", "squash"])
@pytest.mark.parametrize("size", [(1000, 750), (1001, 763), (613, 1407)])
@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_reduced_decoding_stays_within_the_tolerance(size, resize, method, make_spec):
    content = jpeg(photo(*size))
    spec = make_spec(96, resize=resize, filter=method)
    assert decoded_size(content, spec) < size
    assert_close(content, spec)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("resize", ["pad", "crop", "squash"])
def test_a_turned_photo_is_reduced_alike(orientation, resize, make_spec):
    exif = Image.Exif()
    exif[EXIF_TURN] = orientation
    content = jpeg(photo(1001, 763), exif=exif)
    spec = make_spec(64, 80, resize=resize)
    assert max(decoded_size(content, spec)) < 1001
    assert_close(content, spec)


@pytest.mark.parametrize("width", [1001, 1005, 1007])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_strip_that_the_decoder_adds_is_cut_off_on_the_right_side(width, orientation, make_spec):
    # Eight pixels in, one out: 1001 columns become 126, of which the last is an eighth; taken whole, all would shift.
    exif = Image.Exif()
    exif[EXIF_TURN] = orientation
    spec = make_spec(24, resize="squash")
    image, box, _ = module._open(jpeg(photo(width, width + 8), exif=exif), module.FILE_FORMATS, spec)
    assert box is not None
    sides = {(box[2] - box[0]) * 8, (box[3] - box[1]) * 8}
    assert sides == {width, width + 8}
    assert min(box) >= 0
    assert box[2] <= image.width
    assert box[3] <= image.height


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_cmyk_jpegs_are_reduced_alike(mode, channels, make_spec):
    content = jpeg(photo(1001, 763).convert(mode))
    spec = make_spec(96, channels=channels)
    assert decoded_size(content, spec) < (1001, 763)
    assert_close(content, spec)


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": "4:4:4"}, {"subsampling": "4:2:0"}])
def test_every_kind_of_jpeg_is_reduced_alike(options, make_spec):
    assert_close(jpeg(photo(1001, 763), **options), make_spec(96))


def test_a_phones_multi_image_jpeg_is_reduced_alike(make_spec):
    content = jpeg(photo(1001, 763), "MPO", save_all=True, append_images=[photo(320, 240, seed=1)])
    spec = make_spec(96)
    assert decoded_size(content, spec) < (1001, 763)
    assert_close(content, spec)


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("resize", ["pad", "crop", "squash"])
def test_at_least_two_decoded_pixels_for_one_of_the_input(scale, resize, make_spec):
    spec = make_spec(32, resize=resize)
    side = int(32 * scale * module.DECODED_PER_INPUT_PX)
    assert decoded_size(jpeg(photo(side, side)), spec) == (side // scale,) * 2
    fewer = decoded_size(jpeg(photo(side - 1, side - 1)), spec)
    assert fewer == (-(-(side - 1) // (scale // 2)),) * 2


def test_a_photo_of_ordinary_size_and_other_formats_are_decoded_in_full(make_spec):
    small, spec = jpeg(photo(191, 191)), make_spec(48)
    assert (preprocess(small, spec) == fully_decoded(small, spec)).all()
    stream = io.BytesIO()
    photo(600, 600).save(stream, "WEBP", quality=90)
    assert decoded_size(stream.getvalue(), spec) == (600, 600)


def test_a_large_photo_cut_anywhere_is_an_error_with_and_without_reducing(make_spec):
    content = jpeg(photo(640, 480))
    spec = make_spec(32)
    for end in [*range(1, len(content), len(content) // 23), len(content) - 3]:
        with pytest.raises(ImageError) as reduced:
            preprocess(content[:end], spec)
        with pytest.raises(ImageError) as full:
            open_image(content[:end])
        assert str(reduced.value).split("(")[0] == str(full.value).split("(")[0]


def test_the_longest_and_the_thinnest_photo(make_spec):
    for size in ((4000, 9), (9, 4000), (3000, 1)):
        for resize in ("pad", "crop", "squash"):
            spec = make_spec(32, resize=resize)
            content = jpeg(Image.new("RGB", size, (10, 200, 30)))
            assert_close(content, spec)
