"""Images of more than 8 bits per value: the training images say what is black and what is white, everywhere."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from catseye.data.prepare import prepare
from catseye.data.sources import open_source
from catseye.data.value_range import learn_value_range, with_value_range
from catseye.errors import DataError
from catseye.manifest import Manifest
from catseye.preprocess import UPLOAD_FORMATS, Preprocessing, open_image, preprocess
from catseye.settings.schema import DataSettings

CPU = torch.device("cpu")


def spec_of(side: int = 16, **more) -> Preprocessing:
    return Preprocessing(height_px=side, width_px=side, channels=1, mean=(0.5,), std=(0.5,), **more)


def ramp(low: float, high: float, dtype=np.uint16, side: int = 16) -> np.ndarray:
    """Every level between two values, evenly."""
    return np.linspace(low, high, side * side).round(6).reshape(side, side).astype(dtype)


def saved(values: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, kind)
    return stream.getvalue()


def folder(root, values, kind: str = "PNG"):
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
        for number, each in enumerate(values):
            (root / label / f"{number}.{kind.lower()}").write_bytes(saved(each, kind))
    return open_source(root)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_whole_scale_is_used_whatever_part_of_16_bits_the_values_take(tmp_path, bits, kind):
    white = 2**bits - 1
    images = folder(tmp_path, [ramp(0, white)] * 3, kind)
    spec = with_value_range(spec_of(), images, DataSettings())
    assert spec.value_range == (0, pytest.approx(white, rel=0.01))
    pixels = preprocess(images.read(0), spec)
    np.testing.assert_allclose(pixels[:, :, 0], np.linspace(0, 255, 256).reshape(16, 16), atol=2)
    assert preprocess(images.read(0), spec_of()).max() == white >> 8  # what a file of 0.1 makes of it


def test_an_offset_is_black_and_a_hot_and_a_dead_pixel_say_nothing(tmp_path):
    thermal = ramp(7000, 9000, side=64)
    thermal[3, 3], thermal[5, 5] = 65535, 0
    spec = with_value_range(spec_of(64), folder(tmp_path, [thermal] * 3), DataSettings())
    assert spec.value_range[0] == pytest.approx(7000, abs=5)
    assert spec.value_range[1] == pytest.approx(9000, abs=5)


def test_one_overexposed_image_in_a_hundred_does_not_darken_the_others(tmp_path):
    values = [ramp(0, 1023)] * 49 + [np.full((16, 16), 60000, np.uint16)]
    assert learn_value_range(folder(tmp_path, values), range(100)) == (0, pytest.approx(1023, abs=5))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (ramp(-1024, 3071, np.int32), (-1024, 3071)),  # computed tomography
        (ramp(-0.5, 1.5, np.float32), (-0.5, 1.5)),
        (ramp(20, 37.5, np.float32), (20, 37.5)),  # degrees
    ],
)
def test_signed_and_floating_point_tiffs_follow_the_same_rule(tmp_path, values, expected):
    images = folder(tmp_path, [values] * 3, "TIFF")
    spec = with_value_range(spec_of(), images, DataSettings())
    assert spec.value_range == pytest.approx(expected, rel=0.02)
    np.testing.assert_allclose(preprocess(images.read(0), spec)[:, :, 0].ravel(), np.linspace(0, 255, 256), atol=2)


def tiff16(values: np.ndarray, *, big: bool, signed: bool) -> bytes:
    """A TIFF of 16 bits in either byte order, as a scanner or a camera writes it."""
    order = ">" if big else "<"
    body = values.astype(f"{order}{'i' if signed else 'u'}2").tobytes()
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags += [(279, len(body)), (339, 2 if signed else 1)]
    fields = b"".join(
        struct.pack(order + "HHI", tag, 4, 1) + struct.pack(order + "I", value)
        if tag in (273, 279)
        else struct.pack(order + "HHIHH", tag, 3, 1, value, 0)
        for tag, value in tags
    )
    head = (b"MM" if big else b"II") + struct.pack(order + "HI", 42, 8 + len(body))
    return head + body + struct.pack(order + "H", len(tags)) + fields + bytes(4)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_both_byte_orders_and_signs_of_16_bits_are_the_same_image(tmp_path, big, signed):
    values = ramp(-2000 if signed else 0, 2000, np.int32)
    content = tiff16(values, big=big, signed=signed)
    for label in "ab":
        (tmp_path / label).mkdir()
        (tmp_path / label / "0.tif").write_bytes(content)
    spec = with_value_range(spec_of(), open_source(tmp_path), DataSettings())
    np.testing.assert_allclose(preprocess(content, spec)[:, :, 0].ravel(), np.linspace(0, 255, 256), atol=2)


def test_jpeg_2000_of_16_bits_is_read():
    content = saved(ramp(0, 4095), "JPEG2000")
    spec = spec_of(value_range=(0, 4095))
    np.testing.assert_allclose(preprocess(content, spec)[:, :, 0].ravel(), np.linspace(0, 255, 256), atol=1)


def test_eight_bit_images_learn_nothing_and_are_left_alone(tmp_path):
    values = ramp(0, 200, np.uint8)
    spec = with_value_range(spec_of(), folder(tmp_path, [values] * 2), DataSettings())
    assert spec.value_range is None
    assert (preprocess(saved(values, "PNG"), spec_of(value_range=(0, 4095)))[:, :, 0] == values).all()


def test_settings_overrule_what_is_learnt(tmp_path):
    images = folder(tmp_path, [ramp(500, 3000)] * 2)
    for settings, expected in (
        ({"white": 4095}, (0, 4095)),
        ({"black": 100}, (100, 3000)),
        ({"black": -10, "white": 1000}, (-10, 1000)),
        ({}, (500, 3000)),
    ):
        found = with_value_range(spec_of(), images, DataSettings(**settings)).value_range
        assert found == pytest.approx(expected, abs=15)
    with pytest.raises(DataError, match=r"have the same single colour.* leave out data\.black and data\.white"):
        with_value_range(spec_of(), images, DataSettings(white=10))
    with pytest.raises(DataError, match=r"data\.black must be below data\.white; got 5000 and 4095"):
        with_value_range(spec_of(), images, DataSettings(black=5000, white=4095))


def test_a_floating_point_image_of_nothing_but_nan_is_black(tmp_path):
    content = saved(np.full((4, 4), np.nan, np.float32), "TIFF")
    assert (preprocess(content, spec_of(value_range=(0, 1))) == 0).all()
    assert np.asarray(open_image(content)).max() == 0


@pytest.mark.parametrize("values", [np.zeros((8, 8), np.uint16), np.full((8, 8), 77, np.uint8)])
def test_a_set_of_nothing_but_one_colour_is_an_error_of_the_set(tmp_path, values):
    with pytest.raises(DataError, match="all of 6 images examined have the same single colour"):
        with_value_range(spec_of(), folder(tmp_path, [values] * 3), DataSettings())


def test_images_of_one_colour_each_are_a_set_where_the_colours_differ(tmp_path):
    for dtype, name in ((np.uint8, "8"), (np.uint16, "16")):
        values = [np.full((8, 8), 10 * number, dtype) for number in range(3)]
        with_value_range(spec_of(), folder(tmp_path / name, values), DataSettings())


@pytest.mark.parametrize("settings", [{}, {"storage": "stream", "workers": 0}])
def test_training_sees_the_levels_and_the_user_is_told(tmp_path, settings):
    rng = np.random.default_rng(0)
    folder(tmp_path, [rng.integers(300, 3300, (32, 32)).astype(np.uint16) for _ in range(10)])
    prepared = prepare(open_source(tmp_path), DataSettings(input_px=32, **settings), batch_size=8, seed=0, device=CPU)
    assert prepared.spec.value_range == pytest.approx((300, 3300), abs=20)
    assert any("becomes black" in note and "data.white" in note for note in prepared.notes)
    batch = next(iter(prepared.loaders["train"].epoch(0)))
    assert len(batch.pixels.unique()) > 200


def test_a_random_crop_sees_them_too(tmp_path):
    rng = np.random.default_rng(0)
    folder(tmp_path, [rng.integers(300, 3300, (40, 40)).astype(np.uint16) for _ in range(10)])
    settings = DataSettings(input_px=32, workers=0)
    prepared = prepare(open_source(tmp_path), settings, batch_size=8, seed=0, device=CPU, min_area=0.5)
    assert len(next(iter(prepared.loaders["train"].epoch(0))).pixels.unique()) > 100


def test_the_range_travels_in_the_manifest_and_older_files_have_none():
    spec = spec_of(value_range=(-0.25, 4095.0))
    manifest = Manifest(classes=("a", "b"), preprocessing=spec, architecture={"name": "simple"})
    assert Manifest.from_json(manifest.to_json(), "x").preprocessing.value_range == (-0.25, 4095.0)
    older = manifest.to_json().replace(',"value_range":[-0.25,4095.0]', "")
    assert "value_range" not in older
    assert Manifest.from_json(older, "x").preprocessing.value_range is None
    for wrong in ((5, 5), (6, 5), (0, float("nan"))):
        with pytest.raises(ValueError, match="validation error"):
            spec_of(value_range=wrong)


def test_an_uploaded_png_of_twelve_bits_is_what_training_saw():
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    values = ramp(0, 4095)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 0, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    spec = spec_of(value_range=(0, 4095))
    got = preprocess(content, spec, formats=UPLOAD_FORMATS)
    assert (got == preprocess(saved(values, "TIFF"), spec)).all()
    assert len(np.unique(got)) == 256
