"""Files as people have them: the right pixels, or a refusal that names the cause; and what decoding them takes."""

import io
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from catseye.decoding import jpegs
from catseye.decoding.costs import MAX_RUN_LENGTH_PIXELS, MAX_SIDE_PX, most_bytes
from catseye.decoding.headers import Header, read_header
from catseye.errors import ImageCutOff, ImageError, ImageTooLarge, OutOfMemory, UnknownFormat, UnsupportedPixels
from catseye.http.refusals import of_failure
from catseye.preprocess import UPLOAD_FORMATS, Preprocessing, decoding_cost, open_image, preprocess
from tests.unit.test_reduced_decoding import photo

SPEC = Preprocessing(height_px=32, width_px=32, mean=(0.5,) * 3, std=(0.5,) * 3)
END = b"\xff\xd9"


def saved(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


# --- JPEGs that were cut ---------------------------------------------------------------------------------------------

KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "full colour": {"subsampling": 0},
    "restarts": {"restart_marker_rows": 1},
    "optimised": {"optimize": True},
}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_cut_anywhere_and_closed_with_an_end_marker_is_refused(kind, mode):
    content = saved(photo(200, 152).convert(mode), "JPEG", quality=85, **KINDS[kind])
    begin = read_header(content).starts_at + 14
    for end in [*range(begin, len(content) - 64, 1 + len(content) // 60), len(content) - 64]:
        for tail in (END, END + bytes(512), END + END):
            with pytest.raises(ImageError, match="the image"):
                preprocess(content[:end] + tail, SPEC)
    got = preprocess(content, SPEC)
    assert (preprocess(content + bytes(512), SPEC) == got).all()  # a padded sector behind the end is no harm


def test_the_refusal_says_cut_off_and_is_the_same_for_upload_and_file(tmp_path):
    content = saved(photo(200, 150), "JPEG")
    cut = content[: len(content) // 2] + END
    path = tmp_path / "cat.jpg"
    path.write_bytes(cut)
    for read in (lambda: preprocess(path, SPEC), lambda: open_image(path)):
        with pytest.raises(ImageCutOff, match=r"cat\.jpg is cut off: pixels are missing at its end"):
            read()
    with pytest.raises(ImageCutOff):
        preprocess(cut, SPEC, formats=UPLOAD_FORMATS)


@given(st.integers(0, 10**9), st.sampled_from(sorted(KINDS)), st.integers(8, 90), st.integers(8, 90))
def test_whole_jpegs_pass_and_have_pillows_pixels(seed, kind, width, height):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    content = saved(Image.fromarray(pixels), "JPEG", quality=1 + seed % 99, **KINDS[kind])
    expected = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(np.asarray(open_image(content)), expected)


def test_a_jpeg_that_ends_in_the_grey_of_missing_pixels_is_whole():
    image = photo(160, 120)
    image.paste((128, 128, 128), (0, 60, 160, 120))
    for options in KINDS.values():
        assert open_image(saved(image, "JPEG", quality=95, **options)).size == (160, 120)


def test_scans_that_are_missing_are_noticed():
    content = saved(photo(160, 120), "JPEG", progressive=True)
    starts = [at for at in range(len(content) - 1) if content[at : at + 2] == b"\xff\xda"]
    for at in starts[1:]:
        before = content.rfind(b"\xff\xc4", 0, at)  # the table that comes before the scan
        with pytest.raises(ImageCutOff, match="scans are missing"):
            preprocess(content[: before if before > starts[0] else at] + END, SPEC)


def test_a_jpeg_of_thousands_of_scans_is_refused_unread():
    content = saved(photo(64, 48), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    bomb = content[:start] + content[start:-2] * (jpegs.MAX_SCANS + 1) + END
    with pytest.raises(ImageError, match="too many scans; at most 100"):
        preprocess(bomb, SPEC)


# --- other files -----------------------------------------------------------------------------------------------------


def test_a_file_that_is_something_else_is_called_so():
    for content, words in (
        (b"\n<!DOCTYPE html><title>404</title>", r"a web page \(HTML\), which cannot be read here"),
        (b"%PDF-1.7 ...", "is a PDF, which cannot be read here"),
        (b"<svg xmlns='x'/>", "is an SVG, which cannot be read here"),
    ):
        with pytest.raises(UnknownFormat, match=words):
            preprocess(content, SPEC)
    with pytest.raises(ImageError, match=r"is empty \(0 bytes\)"):
        preprocess(b"", SPEC)
    with pytest.raises(ImageCutOff, match="is cut off and cannot be decoded"):
        preprocess(saved(photo(9, 9), "PNG")[:20], SPEC)
    with pytest.raises(ImageCutOff, match="begins as PNG, but its header is cut off or damaged"):
        preprocess(b"\x89PNG" + bytes(60), SPEC)


def test_too_many_pixels_are_never_called_cut_off():
    for kind in ("JPEG", "PNG"):
        content = saved(Image.new("L", (12_000, 10_000)), kind)
        with pytest.raises(ImageTooLarge, match="has 12000 x 10000 pixels; at most 100,000,000"):
            preprocess(content, SPEC)


def test_a_tiff_of_pixels_that_are_not_read_is_called_so():
    content = bytearray(saved(Image.new("F", (4, 4), 0.5), "TIFF"))
    at = content.index(struct.pack("<HHIH", 258, 3, 1, 32)) + 8
    content[at : at + 2] = struct.pack("<H", 64)  # double precision
    with pytest.raises(UnsupportedPixels, match="is a TIFF with a kind of pixels that is not read"):
        preprocess(bytes(content), SPEC)


@pytest.mark.parametrize("kind", ["BMP", "PNG", "WEBP"])
def test_an_alpha_channel_that_hides_a_whole_image_counts_as_none(kind):
    image = photo(24, 16).convert("RGBA")
    image.putalpha(0)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    content = with_alpha_mask(image) if kind == "BMP" else saved(image, kind, **options)
    assert Image.open(io.BytesIO(content)).mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(open_image(content)), np.asarray(photo(24, 16)))


def test_an_empty_layer_is_white_but_a_bmp_is_what_it_says():
    empty = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert open_image(saved(empty, "PNG")).getpixel((0, 0)) == (255, 255, 255)
    assert open_image(with_alpha_mask(empty)).getpixel((0, 0)) == (0, 0, 0)
    empty.putpixel((1, 1), (9, 8, 7, 255))  # one visible pixel: the channel means something
    assert open_image(with_alpha_mask(empty)).getpixel((0, 0)) == (255, 255, 255)


def with_alpha_mask(image: Image.Image) -> bytes:
    """A BMP of 32 bits with masks (BITMAPV4HEADER), as Windows programs write it."""
    body = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", "BGRA")
    head = struct.pack("<IiiHHIIiiII", 108, image.width, image.height, 1, 32, 3, len(body), 0, 0, 0, 0)
    head += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(108 - 56)
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(body), 0, 0, 14 + len(head)) + head + body


def test_pages_frames_and_pictures_of_a_phone_give_the_first():
    red, blue = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
    for kind, options in (
        ("TIFF", {}),
        ("GIF", {}),
        ("WEBP", {"lossless": True}),
        ("PNG", {}),
        ("MPO", {"quality": 100}),
    ):
        content = saved(red, kind, save_all=True, append_images=[blue], **options)
        np.testing.assert_allclose(open_image(content).convert("RGB").getpixel((8, 8)), (255, 0, 0), atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_phones_jpegs_are_turned(orientation, options):
    upright = photo(64, 48)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's numbers of the transpositions that undo the camera's
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    got = np.asarray(open_image(saved(stored, "JPEG", quality=100, subsampling=0, exif=exif, **options)))
    assert np.abs(got.astype(int) - np.asarray(upright)).mean() < 2


def test_a_bmp_of_four_bits_and_a_tiff_of_one():
    image = photo(20, 10).quantize(16)
    rows = np.asarray(image)
    packed = b"".join(bytes((r[i] << 4) | r[i + 1] for i in range(0, 20, 2)) + bytes(2) for r in rows[::-1])
    palette = b"".join(bytes((b, g, r, 0)) for r, g, b in np.array(image.getpalette()[:48]).reshape(-1, 3).tolist())
    head = struct.pack("<IiiHHIIiiII", 40, 20, 10, 1, 4, 0, len(packed), 0, 0, 16, 0)
    offset = 14 + 40 + len(palette)
    content = b"BM" + struct.pack("<IHHI", offset + len(packed), 0, 0, offset) + head + palette + packed
    np.testing.assert_array_equal(np.asarray(open_image(content)), np.asarray(image.convert("RGB")))
    bits = photo(20, 10).convert("1")
    for compression in ("group4", "raw"):
        got = open_image(saved(bits, "TIFF", compression=compression))
        np.testing.assert_array_equal(np.asarray(got), np.asarray(bits.convert("L")))


# --- what decoding takes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (300, 7), (13, 200)])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_the_header_says_what_pillow_says(kind, mode, size):
    try:
        content = saved(Image.new(mode, size), kind)
    except (OSError, ValueError):
        return  # the format has no such mode
    header = read_header(content)
    assert (header.format, header.width, header.height) == (kind, *size)


@given(st.binary(max_size=200), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"BM", b"GIF89a"]))
def test_made_up_headers_are_read_without_a_fault(rest, beginning):
    assert isinstance(read_header(beginning + rest), Header)


def test_a_header_of_millions_of_parts_is_given_up_early():
    for content in (b"\xff\xd8" + b"\xff\xe0\0\2" * 10**6, b"GIF89a" + bytes(7) + b"!\xfe" + b"\1x" * 10**6):
        assert not read_header(content).width


def test_two_sizes_in_one_file_are_refused():
    content = bytearray(saved(photo(8, 8), "PNG"))
    second = struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + second + struct.pack(">I", zlib.crc32(b"IHDR" + second))
    content[33:33] = chunk
    with pytest.raises(ImageError, match=r"says two sizes, 8 x 8 and 9000 x 9000|cannot be decoded"):
        preprocess(bytes(content), SPEC)
    # The last one counts for Pillow, the first one for limits and costs: a sound image of 9 x 9 behind a head of 8 x 8.
    sound = saved(photo(9, 9), "PNG")
    first = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + first + struct.pack(">I", zlib.crc32(b"IHDR" + first))
    preprocess(sound, SPEC)
    with pytest.raises(ImageError, match="says two sizes, 8 x 8 and 9 x 9"):
        preprocess(sound[:8] + chunk + sound[8:], SPEC)


def test_long_sides_and_run_lengths_have_limits_of_their_own():
    with pytest.raises(ImageTooLarge, match="a side has at most 65,535"):
        preprocess(saved(Image.new("1", (1, MAX_SIDE_PX + 1)), "PNG"), SPEC)
    assert preprocess(saved(Image.new("1", (1, MAX_SIDE_PX)), "PNG"), SPEC).shape == (32, 32, 3)
    side = int(MAX_RUN_LENGTH_PIXELS**0.5) + 1
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0)
    with pytest.raises(ImageTooLarge, match="run-length BMP"):
        preprocess(b"BM" + bytes(8) + struct.pack("<I", 54 + 1024) + head + bytes(1024), SPEC)


def test_an_image_that_takes_too_much_is_refused_with_the_number():
    webp = saved(Image.new("RGB", (8, 8)), "WEBP", lossless=True)
    bits = 7070 | 7070 << 14
    bomb = webp[:21] + struct.pack("<I", bits) + webp[25:]
    assert decoding_cost(bomb, SPEC)[1] == pytest.approx(16 * 7071**2, rel=0.02)
    with pytest.raises(
        ImageTooLarge, match=r"is a WEBP of 7071 x 7071 pixels, which takes 8\d\d MB to dec.* at most 800"
    ):
        preprocess(bomb, SPEC)
    assert most_bytes(50_000_000) == 400_000_000


CHILD = """
import sys
from pathlib import Path
from catseye.decoding.headers import Header, read_header
from catseye.preprocess import FILE_FORMATS, Preprocessing, _bytes_for, preprocess
import io
from PIL import Image
def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))
spec = Preprocessing(height_px=224, width_px=224, mean=(0.5,) * 3, std=(0.5,) * 3, value_range=(0, 4095))
for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000"):
    stream = io.BytesIO()
    Image.new("RGB", (64, 64)).save(stream, kind)
    preprocess(stream.getvalue(), spec)
for path in map(Path, sys.argv[1:]):
    content = path.read_bytes()
    header = read_header(content)
    if header is None:
        with Image.open(path) as image:
            header = Header(image.format, *image.size, image.mode)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    preprocess(content, spec)
    print(path.name, status("VmHWM") - before, _bytes_for(header, len(content), spec))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
def test_no_image_takes_more_than_its_header_says(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    lossless = {"lossless": True, "method": 0}
    two = {"save_all": True, "append_images": [Image.new("RGBA", (3000, 3000), (5, 6, 7, 8))]}
    kinds = [
        *[("PNG", mode, {}) for mode in ("1", "L", "LA", "RGB", "RGBA", "I;16")],
        ("PNG", "RGBA", {"exif": turned}), ("PNG", "RGBA", two), ("PNG", "L", {"transparency": 0}),
        ("PNG", "RGB", {"transparency": (0, 0, 0), "exif": turned}), ("PNG", "P", {"transparency": 0, "exif": turned}),
        *[("JPEG", mode, {"progressive": each}) for mode in ("L", "RGB", "CMYK") for each in (True, False)],
        ("JPEG", "RGB", {"progressive": True, "subsampling": 0, "exif": turned}),
        ("WEBP", "RGB", lossless), ("WEBP", "RGBA", {"exif": turned, **lossless}),
        ("WEBP", "RGBA", {**two, **lossless}),
        ("GIF", "P", {"transparency": 0}), ("GIF", "L", {}), ("BMP", "RGBA", {}), ("BMP", "P", {}),
        ("TIFF", "RGBA", {"compression": "tiff_lzw"}), ("TIFF", "F", {}), ("TIFF", "I;16", {}), ("PPM", "RGB", {}),
        ("JPEG2000", "RGBA", {}),
    ]  # fmt: skip
    for number, (kind, mode, options) in enumerate(kinds):
        colour = (200, 30, 9, 99) if mode == "RGBA" else 0
        image = Image.new(mode, (3000, 3000), colour)
        (tmp_path / f"{number:02d} {kind} {mode}".replace(";", "-")).write_bytes(saved(image, kind, **options))
    paths = sorted(str(path) for path in tmp_path.iterdir())
    out = subprocess.run([sys.executable, "-c", CHILD, *paths], capture_output=True, text=True, check=True)
    lines = out.stdout.splitlines()
    assert len(lines) == len(kinds)
    for line in lines:
        name, peak, said = line.rsplit(" ", 2)
        assert int(peak) <= int(said), f"{name}: {int(peak):,} of {int(said):,}"


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of address space is Linux's")
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG", "GIF", "BMP"])
def test_out_of_memory_says_nothing_about_the_image(tmp_path, kind):
    options = {"WEBP": {"lossless": True, "method": 0}, "JPEG": {"progressive": True}}.get(kind, {})
    path = tmp_path / "good"
    path.write_bytes(saved(Image.new("P" if kind == "GIF" else "RGB", (4900, 4900)), kind, **options))
    code = """
        import resource, sys
        from catseye.errors import ImageError, OutOfMemory
        from catseye.preprocess import Preprocessing, preprocess
        from PIL import Image
        Image.preinit()
        spec = Preprocessing(height_px=32, width_px=32, mean=(0.5,) * 3, std=(0.5,) * 3)
        content = open(sys.argv[1], "rb").read()
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 20_000_000,) * 2)
        try:
            preprocess(content, spec)
        except OutOfMemory as error:
            assert not isinstance(error, ImageError)
            print("memory:", error)
    """
    out = subprocess.run([sys.executable, "-c", textwrap.dedent(code), path], capture_output=True, text=True)
    assert "memory: decoding the image takes about" in out.stdout, out.stderr


def test_a_caller_is_told_503_where_memory_ran_out():
    refusal = of_failure(OutOfMemory("decoding the image takes about 9 MB; that much is not free"), 10)
    assert (refusal.status, refusal.code, refusal.retry_after_s) == (503, "out-of-memory", 5)
