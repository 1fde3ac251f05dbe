import contextlib
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2.functional import normalize

from catseye.errors import ImageError, ImageTooLarge, UnsupportedPixels
from catseye.preprocess import (
    FILE_FORMATS,
    UPLOAD_FORMATS,
    Preprocessing,
    fit_to_square,
    normalise,
    open_image,
    preprocess,
    preprocess_sized,
    to_pixels,
)
from tests.conftest import encode, random_pixels

EXIF_TURN = 0x0112
SIDES = st.integers(1, 40)


def spec_of(height=32, width=32, channels=3, **more) -> Preprocessing:
    return Preprocessing(
        height_px=height, width_px=width, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels, **more
    )


def save(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@given(
    height=SIDES,
    width=SIDES,
    target=st.tuples(SIDES, SIDES),
    channels=st.sampled_from([1, 3]),
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"]),
    resize=st.sampled_from(["pad", "crop", "squash"]),
    method=st.sampled_from(["bilinear", "bicubic"]),
)
def test_every_size_and_mode_becomes_the_input(height, width, target, channels, mode, resize, method):
    image = Image.new("RGB", (width, height), (200, 100, 50)).convert("L" if mode == "I;16" else mode)
    image = image.convert("I;16") if mode == "I;16" else image
    pixels = preprocess(image, spec_of(*target, channels, resize=resize, filter=method))
    assert pixels.shape == (*target, channels)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


@given(height=st.integers(1, 60), width=st.integers(1, 60), target=st.tuples(st.integers(8, 40), st.integers(8, 40)))
def test_pad_keeps_the_whole_image_and_its_proportions(height, width, target):
    white = np.full((height, width, 3), 255, np.uint8)
    inside = preprocess(white, spec_of(*target, fill=0))[:, :, 0] > 0
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    scale = min(target[0] / height, target[1] / width)
    assert high == max(1, round(height * scale))
    assert wide == max(1, round(width * scale))
    # One side is full, and on the other the image is in the middle.
    assert high == target[0] or wide == target[1]
    assert abs(rows[0] - (target[0] - 1 - rows[-1])) <= 1
    assert abs(columns[0] - (target[1] - 1 - columns[-1])) <= 1


def test_pad_keeps_the_corners_and_crop_loses_them():
    pixels = np.zeros((32, 64, 3), np.uint8)
    for row, column, colour in ((0, 0, 0), (0, -16, 1), (-16, 0, 2), (-16, -16, slice(0, 3))):
        pixels[row : row + 16 or None, column : column + 16 or None, colour] = 255
    padded = preprocess(pixels, spec_of(32, 32, fill=7))
    assert (padded[:8] == 7).all()
    assert (padded[24:] == 7).all()
    np.testing.assert_array_equal(padded[8, 0], [255, 0, 0])
    np.testing.assert_array_equal(padded[8, 31], [0, 255, 0])
    np.testing.assert_array_equal(padded[23, 0], [0, 0, 255])
    np.testing.assert_array_equal(padded[23, 31], [255, 255, 255])
    assert (preprocess(pixels, spec_of(32, 32, resize="crop")) == 0).all()


@given(height=SIDES, width=SIDES, target=st.tuples(SIDES, SIDES))
def test_crop_fills_everything(height, width, target):
    white = np.full((height, width, 3), 255, np.uint8)
    assert (preprocess(white, spec_of(*target, resize="crop", fill=0)) == 255).all()


def test_crop_takes_the_centre():
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 255
    assert (preprocess(pixels, spec_of(20, 20, resize="crop")) == 255).all()


@given(height=SIDES, width=SIDES, seed=st.integers(0, 99))
def test_squash_is_pillows_own_resize(height, width, seed):
    pixels = random_pixels(seed, height, width)
    for name, method in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        expected = np.asarray(Image.fromarray(pixels).resize((16, 12), method))
        np.testing.assert_array_equal(preprocess(pixels, spec_of(12, 16, resize="squash", filter=name)), expected)


@pytest.mark.parametrize("resize", ["pad", "crop", "squash"])
def test_a_image_of_the_right_size_is_left_alone(resize):
    pixels = random_pixels(0, 9, 13)
    np.testing.assert_array_equal(preprocess(pixels, spec_of(9, 13, resize=resize)), pixels)


def test_grey_is_pillows_grey_and_grey_in_colour_has_three_equal_channels():
    pixels = random_pixels(1)
    expected = np.asarray(Image.fromarray(pixels).convert("L"))
    np.testing.assert_array_equal(to_pixels(Image.fromarray(pixels), 1)[:, :, 0], expected)
    grey = random_pixels(2, channels=1)
    np.testing.assert_array_equal(to_pixels(Image.fromarray(grey), 3), np.repeat(grey[:, :, None], 3, axis=2))


# --- EXIF ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_every_exif_orientation_gives_the_upright_image(orientation, kind):
    upright = random_pixels(3, 6, 10)
    # What a camera stores so that a viewer's turn gives the upright image (EXIF 2.32, tag 274).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[EXIF_TURN] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encode(np.ascontiguousarray(stored), kind, exif=exif, **options)
    np.testing.assert_array_equal(preprocess(content, spec_of(6, 10)), upright)


def test_a_palette_image_is_turned_too():
    exif = Image.Exif()
    exif[EXIF_TURN] = 6
    image = Image.fromarray(random_pixels(4, 4, 6)).convert("P")
    assert open_image(save(image, "PNG", exif=exif)).size == (4, 6)


def test_broken_exif_does_not_stop_a_image():
    content = encode(random_pixels(5), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert preprocess(content, spec_of(8, 8)).shape == (8, 8, 3)


def test_an_odd_tag_beside_the_orientation_does_not_stop_a_image():
    # ImageWidth (256) as text instead of a number, then Orientation (274) = 6.
    tags = b"\x01\x00\0\x02\0\0\0\x06\0\0\0\x26" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + tags + b"\0\0\0\0" + b"hello\0"
    assert open_image(encode(random_pixels(5, 4, 6), "JPEG", exif=exif)).size == (4, 6)


# --- pixel formats ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    image = open_image(save(Image.fromarray(values), kind))
    assert image.mode == "L"
    assert np.asarray(image).tolist() == [[0, 0, 1, 128, 255]]


def test_thirty_two_bit_grey_that_holds_sixteen_is_scaled_too():
    assert np.asarray(open_image(Image.new("I", (1, 1), 65535))).tolist() == [[255]]


def test_floating_point_pixels_are_refused_by_name_where_no_range_is_known():
    for source in (save(Image.new("F", (2, 2), 0.5), "TIFF"), Image.new("F", (2, 2), 0.5)):
        with pytest.raises(UnsupportedPixels, match="the image has floating-point pixels: they have no range"):
            preprocess(source, spec_of())


def test_for_a_look_floating_point_pixels_are_stretched_from_their_own_least_to_their_greatest():
    values = np.array([[-1.0, 0.0, 1.0, np.nan]], np.float32)
    assert np.asarray(open_image(save(Image.fromarray(values), "TIFF"))).tolist() == [[0, 128, 255, 0]]
    assert np.asarray(open_image(Image.new("F", (1, 1), 7.0))).tolist() == [[0]]


def test_cmyk_becomes_rgb():
    image = open_image(save(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    assert image.mode == "RGB"
    np.testing.assert_allclose(np.asarray(image)[0, 0], [255, 0, 0], atol=3)


def test_a_palette_becomes_its_colours():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    opened = open_image(save(image, "PNG"))
    assert np.asarray(opened).tolist() == [[[10, 20, 30], [200, 100, 50]]]
    assert open_image(save(image, "GIF")).getpixel((1, 0)) == (200, 100, 50)


def test_a_grey_palette_is_grey():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 10, 10, 200, 200, 200])
    image.putpixel((1, 0), 1)
    opened = open_image(save(image, "PNG"))
    assert opened.mode == "L"
    assert np.asarray(opened).tolist() == [[10, 200]]


def test_one_bit_is_black_and_white():
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    opened = open_image(save(image, "PNG"))
    assert opened.mode == "L"
    assert np.asarray(opened).tolist() == [[0, 255]]


def test_transparent_pixels_lie_on_white():
    image = Image.new("RGBA", (3, 1))
    image.putdata([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128)])
    opened = np.asarray(open_image(save(image, "PNG")))
    assert opened[0, 0].tolist() == [255, 0, 0]
    assert opened[0, 1].tolist() == [255, 255, 255]
    assert opened[0, 2].tolist() == [127, 127, 127]


def test_transparent_grey_stays_grey():
    image = Image.new("LA", (2, 1))
    image.putdata([(100, 255), (100, 0)])
    opened = open_image(save(image, "PNG"))
    assert opened.mode == "L"
    assert np.asarray(opened).tolist() == [[100, 255]]


def test_a_transparent_palette_entry_lies_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    opened = open_image(save(image, "PNG", transparency=0)).convert("RGB")
    assert np.asarray(opened).tolist() == [[[255, 255, 255], [200, 100, 50]]]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_transparent_colour_lies_on_white(mode):
    colours = [(10, 20, 30), (200, 100, 50)] if mode == "RGB" else [10, 200]
    image = Image.new(mode, (2, 1))
    image.putdata(colours)
    opened = open_image(save(image, "PNG", transparency=colours[0]))
    assert opened.convert("L").getpixel((0, 0)) == 255
    assert opened.convert(mode).getpixel((1, 0)) == colours[1]


def test_the_first_frame_of_an_animation_counts():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True})):
        content = save(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert open_image(content).convert("RGB").getpixel((0, 0)) == (255, 0, 0)


# HEIF is read (tests/unit/test_boxed.py) and not written.
@pytest.mark.parametrize("kind", [kind for kind in FILE_FORMATS if kind != "HEIF"])
def test_every_format_is_read_and_lossless_ones_exactly(kind):
    pixels = random_pixels(6)
    content = encode(pixels, kind, **({"lossless": True} if kind == "WEBP" else {}))
    got = preprocess(content, spec_of(8, 8))
    if kind not in ("JPEG", "GIF", "AVIF"):
        np.testing.assert_array_equal(got, pixels)


@pytest.mark.parametrize("kind", [kind for kind in FILE_FORMATS if kind != "HEIF"])
def test_strangers_may_upload_only_the_listed_formats(kind):
    content = encode(random_pixels(7), kind)
    if kind in UPLOAD_FORMATS:
        preprocess(content, spec_of(), formats=UPLOAD_FORMATS)
    else:
        with pytest.raises(ImageError, match=r"cannot be read here|is not in a format"):
            preprocess(content, spec_of(), formats=UPLOAD_FORMATS)


# --- damaged files ------------------------------------------------------------------------------------------------


def test_path_bytes_array_and_image_give_the_same_pixels(tmp_path):
    pixels = random_pixels(8, 20, 30)
    path = tmp_path / "image.png"
    path.write_bytes(encode(pixels))
    results = [
        preprocess(source, spec_of(16, 16))
        for source in (path, str(path), path.read_bytes(), pixels, Image.fromarray(pixels))
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jpg", b"", r"empty \(0 bytes\)"),
        ("text.jpg", b"this is text, whatever the suffix says", "is not in a format"),
        ("zeros.png", bytes(1000), "is not in a format"),
    ],
)
def test_a_file_that_is_no_image_is_named(name, content, reason, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        preprocess(path, spec_of())
    assert name in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"none\.jpg cannot be read \(No such file"):
        preprocess(tmp_path / "none.jpg", spec_of())
    with pytest.raises(ImageError, match="cannot be read"):
        preprocess(tmp_path, spec_of())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_a_file_cut_anywhere_is_an_error_or_the_whole_image(kind):
    pixels = random_pixels(9, 40, 40)
    content = encode(pixels, kind)
    whole = preprocess(content, spec_of(40, 40))
    for end in range(64, len(content), 64):
        try:
            got = preprocess(content[:end], spec_of(40, 40))
        except ImageError:
            continue
        np.testing.assert_array_equal(got, whole)


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_damaged_byte_raises_nothing_but_image_error(position, value):
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM"):
        content = bytearray(encode(random_pixels(10, 12, 12), kind))
        content[position % len(content)] = value
        with contextlib.suppress(ImageError):
            assert preprocess(bytes(content), spec_of(8, 8)).shape == (8, 8, 3)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize(
    ("side", "reason"), [(10_001, "10001 x 10001 pixels; at most 100,000,000"), (50_000, "pixels")]
)
def test_a_png_that_claims_to_be_huge_is_refused_before_anything_is_decoded(side, reason):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    tracemalloc.start()
    with pytest.raises(ImageError, match=reason):
        preprocess(content, spec_of())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


def test_a_png_with_a_text_bomb_is_refused():
    bomb = chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(20_000_000), 9))
    whole = encode(random_pixels(11))
    content = whole[:33] + bomb + whole[33:]
    with pytest.raises(ImageError):
        preprocess(content, spec_of())


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.int64),
        np.zeros((4, 4, 3), bool),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_of_another_kind_are_refused(array):
    with pytest.raises(ImageError, match=r"an array must .* got"):
        preprocess(array, spec_of())


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3)])
def test_arrays_of_the_right_kind_are_read_even_where_they_are_views(shape):
    array = np.random.default_rng(0).integers(0, 256, (8, *shape[1:]), dtype=np.uint8)[::2]
    expected = np.broadcast_to(array.reshape(4, 6, -1), (4, 6, 3))
    np.testing.assert_array_equal(preprocess(array, spec_of(4, 6)), expected)


def test_a_pillow_image_that_cannot_be_read_is_an_image_error_too(tmp_path):
    path = tmp_path / "cut.png"
    path.write_bytes(encode(random_pixels(12, 40, 40))[:2000])
    with Image.open(path) as lazy, pytest.raises(ImageError):
        preprocess(lazy, spec_of())
    with pytest.raises(ImageError, match="floating-point"):
        preprocess(Image.new("F", (4, 4)), spec_of())
    with pytest.raises(ImageError):
        preprocess(Image.new("RGB", (0, 4)), spec_of())


def test_a_callers_image_is_not_changed():
    image = Image.fromarray(random_pixels(13))
    image.getexif()[EXIF_TURN] = 6
    before = image.copy()
    preprocess(image, spec_of(4, 4))
    assert image == before
    assert image.getexif()[EXIF_TURN] == 6


def test_a_phones_multi_image_jpeg_may_be_uploaded():
    content = save(
        Image.new("RGB", (8, 8), "red"), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")]
    )
    np.testing.assert_allclose(preprocess(content, spec_of(8, 8), formats=UPLOAD_FORMATS)[0, 0], [255, 0, 0], atol=5)


# --- numbers ------------------------------------------------------------------------------------------------------


def test_normalise_is_torchvisions():
    pixels = np.stack([random_pixels(seed) for seed in (1, 2)])
    spec = Preprocessing(height_px=8, width_px=8, mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.4))
    wanted = normalize(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255, [0.1, 0.5, 0.9], [0.2, 0.3, 0.4])
    got = normalise(pixels, spec)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean": (0.5,)},
        {"std": (1.0, 1.0)},
        {"std": (1.0, 1.0, 0.0)},
        {"std": (1.0, 1.0, -1.0)},
        {"std": (1.0, 1.0, float("nan"))},
        {"mean": (0.0, 0.0, float("inf"))},
        {"height_px": 0},
        {"width_px": 5000},
        {"channels": 2},
        {"resize": "stretch"},
        {"fill": 256},
        {"other": 1},
    ],
)
def test_a_preprocessing_that_cannot_be_is_refused(wrong):
    values = {"height_px": 8, "width_px": 8, "mean": (0.5,) * 3, "std": (0.5,) * 3, **wrong}
    with pytest.raises(ValueError, match="validation error"):
        Preprocessing(**values)


def test_fit_fills_with_the_given_grey():
    image = fit_to_square(Image.new("L", (10, 20), 255), spec_of(20, 20, channels=1, fill=99))
    assert image.getpixel((0, 0)) == 99
    assert image.getpixel((10, 10)) == 255


@pytest.mark.parametrize(("turn", "size"), [(1, (40, 24)), (3, (40, 24)), (6, (24, 40)), (8, (24, 40))])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_size_that_is_said_is_the_upright_images(turn, size, kind):
    exif = Image.Exif()
    exif[EXIF_TURN] = turn
    content = save(Image.fromarray(random_pixels(1, 24, 40)), kind, exif=exif)
    pixels, found = preprocess_sized(content, spec_of(16))
    assert found == size
    assert np.array_equal(pixels, preprocess(content, spec_of(16)))


def test_the_pixel_limit_can_be_lower():
    content = save(Image.fromarray(random_pixels(1, 24, 40)), "PNG")
    assert preprocess_sized(content, spec_of(16), max_pixels=24 * 40)[1] == (40, 24)
    with pytest.raises(ImageTooLarge, match="at most 959"):
        preprocess_sized(content, spec_of(16), max_pixels=959)
