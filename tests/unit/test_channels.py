"""TIFFs of more channels than networks see: refused by number, never read as their first three."""

import struct

import numpy as np
import pytest

import catseye
from catseye.decoding.channels import tiff_channels
from catseye.errors import DataError, ImageError, UnsupportedPixels
from catseye.preprocess import open_image, preprocess
from tests.conftest import random_pixels


def tiff(values, *, colour, extra, order="<"):
    """(H, W, C) as an uncompressed TIFF. `colour`: it begins with RGB; `extra`: what each further channel is."""
    height, width, num = values.shape
    raw = values.astype(values.dtype.newbyteorder(order)).tobytes()
    kind = {"u": 1, "f": 3}[values.dtype.kind]
    fields = [
        (256, "I", [width]),
        (257, "I", [height]),
        (258, "H", [8 * values.dtype.itemsize] * num),
        (259, "H", [1]),
        (262, "H", [2 if colour else 1]),
        (273, "I", [0]),
        (277, "H", [num]),
        (278, "I", [height]),
        (279, "I", [len(raw)]),
        (338, "H", extra),
        (339, "H", [kind] * num),
    ]
    fields = [field for field in fields if field[2]]
    apart, at = b"", 8 + 2 + 12 * len(fields) + 4
    entries = []
    pixels_at = at + sum(size for _, code, of in fields if (size := struct.calcsize(code) * len(of)) > 4)
    for tag, code, of in fields:
        packed = struct.pack(f"{order}{len(of)}{code}", *([pixels_at] if tag == 273 else of))
        if len(packed) > 4:
            apart, packed = apart + packed, struct.pack(f"{order}I", at + len(apart))
        entries.append(struct.pack(f"{order}HHI", tag, 3 if code == "H" else 4, len(of)) + packed.ljust(4, b"\0"))
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HIH", 42, 8, len(fields))
    return head + b"".join(entries) + bytes(4) + apart + raw


def values_of(channels, dtype=np.uint8):
    return np.random.default_rng(channels).integers(0, 200, (9, 7, channels)).astype(dtype)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("channels", "colour", "dtype"),
    [(5, True, np.uint8), (6, True, np.uint8), (5, False, np.uint8), (13, False, np.uint16), (4, False, np.float32)],
)
def test_many_channels_are_refused_by_their_number(channels, colour, dtype, order, make_spec):
    content = tiff(
        values_of(channels, dtype), colour=colour, extra=[0] * (channels - (3 if colour else 1)), order=order
    )
    assert tiff_channels(content) == channels
    for ask in (open_image, lambda image: preprocess(image, make_spec(8))):
        with pytest.raises(
            UnsupportedPixels, match=rf"has {channels} channels per pixel, and 1 .* or 3 .* save the three"
        ):
            ask(content)


def test_three_colours_are_read_as_they_are():
    """The bytes of these tests are TIFFs: with three channels they are what they were made of."""
    values = values_of(3)
    np.testing.assert_array_equal(np.asarray(open_image(tiff(values, colour=True, extra=[]))), values)


def test_an_unexplained_fourth_channel_is_left_out_and_transparency_is_not():
    values = values_of(4)
    values[..., 3] = 0
    shown = np.asarray(open_image(tiff(values, colour=True, extra=[0])))
    np.testing.assert_array_equal(shown, values[..., :3])
    half = values.copy()
    half[:4, :, 3] = 255
    shown = np.asarray(open_image(tiff(half, colour=True, extra=[2])))
    np.testing.assert_array_equal(shown[:4], half[:4, :, :3])
    assert (shown[4:] == 255).all(), "laid on white"


@pytest.mark.parametrize("cut", range(0, 160, 3))
def test_damaged_tags_are_another_sentence(cut):
    content = tiff(values_of(5), colour=False, extra=[0] * 4)[:cut]
    assert tiff_channels(content) in (0, 5)
    with pytest.raises(ImageError):
        open_image(content)


def test_arrays_in_files_say_where_arrays_are_given(tmp_path):
    for name in "ab":
        (tmp_path / "data" / name).mkdir(parents=True)
        np.save(tmp_path / "data" / name / "0.npy", random_pixels(0))
    with pytest.raises(DataError, match=r"its files are: 2 \.npy \(arrays are given in Python: catseye\.train\(X, y\)"):
        catseye.check(tmp_path / "data")


@pytest.mark.parametrize("shape", [(8, 8, 5), (8, 8, 2)])
def test_arrays_of_many_channels_are_refused_by_their_shape(shape, make_spec):
    with pytest.raises(ImageError, match=rf"\(H, W, 3\); got uint8 \({', '.join(map(str, shape))}\)"):
        preprocess(np.zeros(shape, np.uint8), make_spec(8))
    X, y = np.zeros((12, *shape), np.uint8), np.array(["a", "b"] * 6)
    with pytest.raises(DataError, match="with 1, 3 or 4 channels"):
        catseye.train(X, y, out="never", device="cpu", progress=None)
