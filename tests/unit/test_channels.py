"""Images of more channels than colour has: every one is read, or the number is refused by name."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

import catseye
from catseye.data.channel_counts import with_channels
from catseye.data.sources import open_source
from catseye.decoding.channels import decode_values, read_channels
from catseye.errors import DataError, ImageError, ImageTooLarge, UnknownFormat, UnsupportedPixels
from catseye.preprocess import (
    UPLOAD_FORMATS,
    Preprocessing,
    decoding_cost,
    open_image,
    preprocess,
    preprocess_sized,
)
from catseye.settings.schema import DataSettings
from tests.conftest import random_pixels
from tests.server.running import Starter, noise


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


CHANNELS = [
    (5, True, np.uint8),
    (6, True, np.uint8),
    (5, False, np.uint8),
    (13, False, np.uint16),
    (4, False, np.float32),
]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("channels", "colour", "dtype"), CHANNELS)
def test_every_channel_of_a_tiff_is_read(channels, colour, dtype, order, make_spec):
    values = values_of(channels, dtype)
    content = tiff(values, colour=colour, extra=[0] * (channels - (3 if colour else 1)), order=order)
    facts = read_channels(content)
    assert (facts.num, facts.width, facts.height, facts.colour) == (channels, 7, 9, False)
    np.testing.assert_array_equal(decode_values(content, facts), values.transpose(2, 0, 1))
    assert open_image(content).mode == "RGB"
    with pytest.raises(UnsupportedPixels, match=rf"has {channels} channels per pixel; 3 .* data.channels = {channels}"):
        preprocess(content, make_spec(8))


def spec_of(channels, px=8):
    return Preprocessing(height_px=px, width_px=px, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels)


def npy(array, *, allow_pickle=False):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def test_a_npy_file_and_a_tiff_of_the_same_values_are_the_same_input():
    values = np.random.default_rng(0).integers(0, 256, (40, 30, 6), np.uint8)
    spec = spec_of(6)
    wanted = preprocess(tiff(values, colour=True, extra=[0] * 3), spec)
    assert wanted.shape == (8, 8, 6)
    for array in (values, np.asfortranarray(values), values.transpose(2, 0, 1)):
        np.testing.assert_array_equal(preprocess(npy(array), spec), wanted)
    np.testing.assert_array_equal(preprocess(values, spec), wanted)


def test_a_model_takes_images_of_its_own_channels_only():
    values = values_of(5)
    for content in (npy(values), tiff(values, colour=False, extra=[0] * 4)):
        with pytest.raises(UnsupportedPixels, match="has 5 channels per pixel; 6 are read"):
            preprocess(content, spec_of(6))


def test_an_absurd_number_of_channels_is_refused():
    with pytest.raises(UnsupportedPixels, match="at most 256 are read"):
        open_image(npy(np.zeros((400, 400, 300), np.uint8)))


def test_objects_in_arrays_are_never_loaded():
    with pytest.raises(UnsupportedPixels, match="Python objects, which are never loaded"):
        open_image(npy(np.array([[object()]]), allow_pickle=True))


def test_a_header_that_claims_more_than_the_file_holds_takes_no_memory():
    content = npy(np.zeros((8, 8, 5), np.uint8)).replace(b"(8, 8, 5)", b"(9999999, 9999999, 5)")
    with pytest.raises(ImageError, match=r"cut off|damaged"):
        open_image(content)


def test_a_shape_that_says_no_axis_is_refused_unless_the_number_is_known():
    array = np.zeros((6, 64, 6), np.uint8)
    with pytest.raises(ImageError, match=r"which axis holds the channels"):
        open_image(npy(array))
    assert preprocess(npy(np.zeros((4, 4, 5), np.uint8)), spec_of(5)).shape == (8, 8, 5)


def folder_of(place, num, write, channels=5):
    """Two classes that differ in the last channel only."""
    rng = np.random.default_rng(1)
    for number, name in enumerate(("dry", "wet")):
        (place / name).mkdir(parents=True)
        for index in range(num):
            values = rng.integers(0, 3000, (12, 12, channels)).astype(np.uint16)
            values[..., -1] = values[..., -1] // 4 + 2200 * number
            write(place / name / f"{index}", values)
    return place


def test_images_of_five_channels_are_listed_with_a_range_for_each(tmp_path):
    data = folder_of(
        tmp_path / "data",
        6,
        lambda path, values: path.with_suffix(".tif").write_bytes(tiff(values, colour=False, extra=[0] * 4)),
    )
    images = with_channels(open_source(data), DataSettings())
    assert images.channels == 5
    assert len(images.value_range) == 5
    assert images.value_range[0][1] > 2500


def test_different_numbers_of_channels_are_named_with_an_example(tmp_path):
    data = folder_of(tmp_path / "data", 3, lambda path, values: np.save(path.with_suffix(".npy"), values))
    np.save(data / "dry" / "odd.npy", np.zeros((12, 12, 6), np.uint16))
    with pytest.raises(DataError, match=r"5 in 6 images \(for example dry/0.npy\), 6 in 1 image \(for example dry/odd"):
        with_channels(open_source(data), DataSettings())
    assert with_channels(open_source(data), DataSettings(channels=5)).channels == 5


def test_arrays_beside_images_are_features_and_no_images(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(random_pixels(0)).save(tmp_path / name / "0.png")
        np.save(tmp_path / name / "0.npy", np.zeros(512, np.float32))
    assert list(open_source(tmp_path).names) == ["a/0.png", "b/0.png"]


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma", "zstd"])
def test_compressed_values_are_those_that_went_in(compression):
    pixels = random_pixels(3)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "TIFF", compression=compression)
    content = stream.getvalue()
    np.testing.assert_array_equal(decode_values(content, read_channels(content)), pixels.transpose(2, 0, 1))


def test_arrays_and_tiffs_are_no_uploads_to_a_model_of_colour(make_spec):
    """Whoever uploads them would choose a decoder whose cost nobody has asked for."""
    values = values_of(3)
    for content in (npy(values), npy(values[..., 0]), npy(values_of(5)), tiff(values, colour=True, extra=[])):
        with pytest.raises(UnknownFormat):
            preprocess(content, make_spec(8), formats=UPLOAD_FORMATS)
        assert decoding_cost(content, make_spec(8)) == (None, len(content))


def test_an_upload_to_a_model_of_many_channels_has_its_cost_before_it_is_decoded():
    small, large = (npy(np.zeros((side, side, 5), np.uint16)) for side in (8, 800))
    assert preprocess(small, spec_of(5), formats=UPLOAD_FORMATS).shape == (8, 8, 5)
    header, cost = decoding_cost(large, spec_of(5))
    assert (header.width, header.height) == (800, 800)
    assert cost > 2 * 800 * 800 * 5 * 2
    with pytest.raises(ImageTooLarge):
        preprocess_sized(large, spec_of(5), formats=UPLOAD_FORMATS, max_pixels=100_000)


WRITERS = {
    "npy": lambda path, values: np.save(path.with_suffix(".npy"), values),
    "tif": lambda path, values: path.with_suffix(".tif").write_bytes(tiff(values, colour=False, extra=[0] * 4)),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_class_that_only_the_fifth_channel_shows_is_learnt(suffix, tmp_path):
    data = folder_of(tmp_path / "data", 40, WRITERS[suffix])
    run = catseye.train(data, out=tmp_path / "run", device="cpu", progress=None)
    assert catseye.evaluate(run).metrics.accuracy > 0.85
    wet = data / "wet" / f"0.{suffix}"
    wanted = catseye.load(run).predict(wet).probabilities
    for kind in ("onnx", "torchscript"):
        exported = catseye.export(run, to=kind, out=tmp_path / f"model-{kind}")
        assert catseye.load(exported, trust=True).predict(wet).probabilities == pytest.approx(wanted, abs=1e-3)
        starter = Starter(tmp_path)
        try:
            server = starter(exported.path, "--trust")
            answer = server.predict(wet.read_bytes())
            assert answer.status == 200, answer.body
            assert answer.json()["class"] == catseye.load(run).predict(wet).label
            refused = server.predict(noise(1, kind="PNG"))
            assert refused.status in (400, 415, 422)
            assert b"5 are read" in refused.body
        finally:
            starter.end()
    explained = catseye.explain(run, wet, out=tmp_path / "explained")
    assert explained


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
def test_damaged_tags_end_in_an_error_of_the_image(cut):
    with pytest.raises(ImageError):
        open_image(tiff(values_of(5), colour=False, extra=[0] * 4)[:cut])
