"""HEIC and AVIF: read where they can be, with the limits of every other format; refused in words where not."""

import base64
import io
import struct
import sys
from importlib import util

import numpy as np
import pytest
from PIL import Image, features

from catseye.decoding import boxed
from catseye.decoding.costs import most_bytes
from catseye.decoding.failures import naming
from catseye.decoding.headers import read_header
from catseye.errors import ImageError, ImageTooLarge, UnknownFormat
from catseye.preprocess import FILE_FORMATS, FILE_SUFFIXES, UPLOAD_FORMATS, Preprocessing, decoding_cost, preprocess

SPEC = Preprocessing(height_px=24, width_px=40, mean=(0.5,) * 3, std=(0.5,) * 3)
has_heif = pytest.mark.skipif(util.find_spec("pi_heif") is None, reason="pi-heif is not installed")
has_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


def gradient():
    y, x = np.mgrid[0:24, 0:40]
    return np.stack([x * 6, y * 10, (x + y) * 3], axis=2).astype(np.uint8)


# `gradient()` as a HEIC; there is no encoder among our packages.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABoAABAAAAAAAAAJgAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA/GlwcnAAAADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQApQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNs"
    "eAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFwAAAAKAAAAAEAAAAYAAAAAf///+gAAAAC////2AAAAAIAAAAQcGl4"
    "aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAAoG1kYXQAAACUKAGvCchu+i498rwnLwAzcIonGOobEl3jrRujySIw"
    "EW28rP1bxD4PBcRL3djwB/VzvVsyECFUpotGeIg9Eh+fe/FNMoDq4qSD43Po/7en4TTY7ZfIXkkRTf9R5GC9CDuJP9IbiWm3mQq2"
    "Hg4WzA7ZgPrRYN3EdoDM3vot+vLPoMxMUy4FcxmHvrQfQMq16CfDV4FC/g=="
)


def avif(pixels, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "AVIF", **options)
    return stream.getvalue()


KINDS = {
    "HEIF": pytest.param("HEIF", lambda: HEIC, marks=has_heif),
    "AVIF": pytest.param("AVIF", lambda: avif(gradient(), quality=90), marks=has_avif),
}
each_kind = pytest.mark.parametrize(("kind", "make"), KINDS.values(), ids=KINDS)


@each_kind
def test_it_is_read_as_a_file_and_as_an_upload(kind, make):
    assert kind in UPLOAD_FORMATS
    assert {"HEIF": ".heic", "AVIF": ".avif"}[kind] in FILE_SUFFIXES
    for formats in (UPLOAD_FORMATS, FILE_FORMATS):
        found = preprocess(make(), SPEC, formats=formats)
        assert np.abs(found.astype(int) - gradient()).mean() < 8  # both lose a little


@each_kind
def test_its_sides_and_cost_are_known_before_it_is_decoded(kind, make):
    header, cost = decoding_cost(make(), SPEC)
    # A HEIC is stored in whole blocks and cut when it is shown: its sides are a bound.
    assert (header.format, header.width, header.height) == (kind, *((64, 64) if kind == "HEIF" else (40, 24)))
    assert 10 * 40 * 24 < cost < most_bytes(1000)


def larger(content, side):
    """The same file, which says that it is `side` pixels wide and high."""
    at = content.index(b"ispe") + 8
    return content[:at] + struct.pack(">II", side, side) + content[at + 8 :]


@each_kind
def test_one_that_claims_too_many_pixels_is_refused_before_a_decoder_sees_it(kind, make, monkeypatch):
    monkeypatch.setattr(Image, "open", None)  # it would be called
    with pytest.raises(ImageTooLarge, match="60000 x 60000 pixels"):
        preprocess(larger(make(), 60_000), SPEC)


@each_kind
def test_one_that_was_cut_anywhere_is_an_error_of_its_own(kind, make):
    content = make()
    for end in range(12, len(content) - 1, 23):
        with pytest.raises(ImageError, match="the image"):
            preprocess(content[:end], SPEC)


@pytest.mark.parametrize(
    "content",
    [
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x08meta" * 3000,
        b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + b"\0\0\0\x01meta" + b"\xff" * 8,
        b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + b"\0\0\0\x04meta" + bytes(60),
        b"\0\0\0\0ftypheic",
        b"abcdftyp",
    ],
)
def test_odd_boxes_end(content):
    header = read_header(content)
    assert header is None or (header.width, header.height) == (0, 0)


def test_the_largest_image_of_a_file_counts():
    small, large = (struct.pack(">I4sIII", 20, b"ispe", 0, *size) for size in ((64, 64), (4032, 3024)))
    inner = small + large + small
    ipco = struct.pack(">I4s", 8 + len(inner), b"ipco") + inner
    iprp = struct.pack(">I4s", 8 + len(ipco), b"iprp") + ipco
    meta = struct.pack(">I4sI", 12 + len(iprp), b"meta", 0) + iprp
    assert boxed.boxed_size(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + meta) == (4032, 3024)


def test_without_its_package_heic_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    assert "HEIF" not in boxed.boxed_formats()
    from PIL import UnidentifiedImageError

    with pytest.raises(UnknownFormat, match=r"is HEIC.*catseye\[heif\]"), naming("the image", HEIC, ("JPEG",), 0):
        raise UnidentifiedImageError
