"""Zips as other systems write them, cut, locked, oddly packed, and made to do harm."""

import io
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from catseye.data.check.check import check
from catseye.data.sources import TEST, TRAIN, open_source
from catseye.data.sources.archives import archive
from catseye.data.sources.archives.archive import MAX_RATIO, plain_entry_name
from catseye.errors import DataError, ImageError
from tests.conftest import encode, random_pixels

PNG = [encode(random_pixels(seed)) for seed in range(4)]
PLAIN = ["fox/0.png", "fox/1.png", "hare/0.png", "hare/1.png"]


def write(path: Path, names: list[str], compression: int = zipfile.ZIP_STORED) -> Path:
    """A zip whose entries have exactly these names; those that end with a slash are folders."""
    with zipfile.ZipFile(path, "w", compression) as packed:
        for number, name in enumerate(names):
            entry = zipfile.ZipInfo("x", (2025, 1, 1, 0, 0, 0))
            entry.filename = name
            entry.compress_type = compression
            packed.writestr(entry, b"" if name.endswith(("/", "\\")) else PNG[number % 4])
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name.replace("/", "\\"),
        lambda name: "my photos\\" + name.replace("/", "\\"),
        lambda name: "./" + name,
        lambda name: ".\\" + name.replace("/", "\\"),
        lambda name: name.replace("/", "//"),
        lambda name: "a/./b/" + name,
    ],
    ids=["backslashes", "backslashes below a folder", "dot", "dot and backslash", "two slashes", "dot inside"],
)
def test_entries_as_other_packers_name_them(change, tmp_path):
    found = open_source(write(tmp_path / "data.zip", [change(name) for name in PLAIN]))
    assert found.classes == ("fox", "hare")
    assert [name[-len(plain) :] for name, plain in zip(found.names, PLAIN, strict=True)] == PLAIN
    assert not [name for name in found.names if "\\" in name or "./" in name or "//" in name]
    assert [found.read(index) for index in range(4)] == PNG
    assert [found.read.size_bytes(index) for index in range(4)] == list(map(len, PNG))


def test_splits_and_folders_with_backslashes(tmp_path):
    names = [f"Train\\{name}" for name in ("fox\\", "hare\\", "fox\\0.png", "hare\\1.png")] + ["Test\\fox\\2.png"]
    found = open_source(write(tmp_path / "data.zip", names))
    assert found.splits.tolist() == [TEST, TRAIN, TRAIN]
    assert found.remarks == ()


@pytest.mark.parametrize(
    "name", ["..\\a.png", "\\a.png", "C:\\pets\\a.png", "./../a.png", "fox/..\\..\\a.png", "D:/a.png"]
)
def test_no_way_of_writing_it_leads_out_of_the_zip(name, tmp_path):
    with pytest.raises(DataError, match="points outside the zip"):
        open_source(write(tmp_path / "data.zip", [*PLAIN, name]))


def test_one_name_twice_counts_once(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        found = open_source(write(tmp_path / "data.zip", [*PLAIN, "fox/0.png"]))
    assert found.names == PLAIN


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.99])
def test_a_zip_that_is_cut_off_is_called_so(keep, tmp_path):
    path = write(tmp_path / "data.zip", PLAIN)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(DataError, match="the zip is cut off"):
        open_source(path)


def read_all(path: Path) -> None:
    found = open_source(path)
    for index in range(len(found)):
        found.read(index)


def test_a_zip_whose_beginning_is_missing_is_damaged(tmp_path):
    path = write(tmp_path / "data.zip", PLAIN)
    path.write_bytes(path.read_bytes()[100:])
    with pytest.raises(DataError, match=r"data\.zip"):
        read_all(path)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"7z\xbc\xaf\x27\x1c", "is a 7z file"),
        (b"Rar!\x1a\x07", "is a RAR file"),
        (b"\x1f\x8b\x08", "is a gzip file"),
        (b"a.png".ljust(257, b"\0") + b"ustar", "is a tar file"),
        (b"<!doctype html>", "is not a zip .* error page"),
        (b"", "it is empty"),
    ],
)
def test_other_archives_are_named(head, kind, tmp_path):
    (tmp_path / "data.zip").write_bytes(head)
    with pytest.raises(DataError, match=kind):
        open_source(tmp_path / "data.zip")


# --- what cannot be unpacked --------------------------------------------------------------------------------------


def patch(
    path: Path, name: str, *, method: int | None = None, flags: int | None = None, size: int | None = None
) -> None:
    """Change an entry's method, flags or size after unpacking, in its own header and in the list of contents."""
    content = bytearray(path.read_bytes())
    for magic, start, length in ((b"PK\3\4", 6, 30), (b"PK\1\2", 8, 46)):
        place = content.find(magic)
        while place >= 0:
            if content[place + length : place + length + len(name)] == name.encode():
                for value, where, kind in ((flags, start, "<H"), (method, start + 2, "<H"), (size, start + 16, "<I")):
                    if value is not None:
                        struct.pack_into(kind, content, place + where, value)
            place = content.find(magic, place + 1)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("method", "name"), [(9, "Deflate64"), (93, "Zstandard"), (95, "XZ"), (98, "PPMd"), (77, "unknown method")]
)
def test_a_packing_method_that_is_not_read_is_named(method, name, tmp_path):
    path = write(tmp_path / "data.zip", PLAIN)
    patch(path, "fox/1.png", method=method)
    found = open_source(path)
    with pytest.raises(ImageError, match=rf"fox/1\.png is compressed with (an )?{name} \(method {method}\)"):
        found.read(1)
    assert found.read(0) == PNG[0]
    unreadable = {found.names[case.images[0]] for one in check(path).findings if one.severity == "error"
                  for case in one.examples}  # fmt: skip
    assert unreadable == {"fox/1.png"}
    for other in PLAIN:
        patch(path, other, method=method)
    with pytest.raises(DataError, match=rf"none of 4 images can be read; .*{name}"):
        open_source(path)


def test_a_locked_entry_is_named_and_a_locked_zip_is_refused(tmp_path):
    path = write(tmp_path / "data.zip", PLAIN)
    patch(path, "hare/0.png", flags=1)
    found = open_source(path)
    with pytest.raises(ImageError, match=r"hare/0\.png is encrypted"):
        found.read(2)
    for other in PLAIN:
        patch(path, other, flags=1)
    with pytest.raises(
        DataError, match=r"none of 4 images can be read.* is encrypted; unpack the zip with its password"
    ):
        open_source(path)


def zeros(path: Path, names: list[str], num_bytes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in names:
            packed.writestr(name, bytes(num_bytes))
    return path


def test_a_zip_that_unpacks_to_far_more_than_images_do_is_not_opened(tmp_path):
    path = zeros(tmp_path / "data.zip", PLAIN, 1000)
    for name in PLAIN:
        patch(path, name, size=900_000_000)
    begun = time.process_time()
    with pytest.raises(DataError, match="would unpack to 3,600,000,000; images do not compress that well"):
        open_source(path)
    assert time.process_time() - begun < 1


def test_the_limit_of_the_sum_is_the_disk_where_that_is_smaller(tmp_path, monkeypatch):
    path = zeros(tmp_path / "data.zip", PLAIN, 1_000_000)
    assert len(open_source(path)) == 4
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000_000))
    with pytest.raises(DataError, match="may unpack to 1,000,000 bytes here; this one would unpack to 4,000,000"):
        open_source(path)
    free = write(tmp_path / "images.zip", PLAIN)  # images hardly shrink: free disk says nothing about them
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    assert len(open_source(free)) == 4
    assert free.stat().st_size * MAX_RATIO > sum(map(len, PNG))


def test_one_entry_that_shrinks_as_no_image_does_is_not_unpacked(tmp_path):
    path = zeros(tmp_path / "data.zip", ["fox/0.png"], 70_000_000)
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr("hare/0.png", PNG[0])
    found = open_source(path)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="no image compresses that well"):
            found.read(0)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_size_that_is_a_lie_costs_no_memory(tmp_path):
    path = zeros(tmp_path / "data.zip", ["fox/0.png", "hare/0.png"], 50_000_000)
    patch(path, "fox/0.png", size=100)
    found = open_source(path)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError):
            found.read(0)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_entries_that_share_bytes_are_refused(tmp_path):
    path = write(tmp_path / "data.zip", PLAIN)
    content = bytearray(path.read_bytes())
    listed = [place for place in range(len(content)) if content[place : place + 4] == b"PK\1\2"]
    first = content[listed[0] + 42 : listed[0] + 46]
    content[listed[3] + 42 : listed[3] + 46] = first  # two names for one local header
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"the entries '(fox/0|hare/1)\.png' and '(fox/0|hare/1)\.png' overlap"):
        open_source(path)
    struct.pack_into("<I", content, listed[3] + 42, struct.unpack("<I", bytes(first))[0] + 40)  # inside another entry
    path.write_bytes(content)
    with pytest.raises(DataError, match="overlap"):
        open_source(path)


def test_52_the_number_of_entries_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_ZIP_ENTRIES", 4)
    assert len(open_source(write(tmp_path / "four.zip", PLAIN))) == 4
    with pytest.raises(DataError, match=r"at most 4 entries; .*five\.zip has 5"):
        open_source(write(tmp_path / "five.zip", [*PLAIN, "fox/2.png"]))


def test_52_zips_in_zips_are_not_unpacked(tmp_path):
    """As 42.zip: five levels of zips, 16 in each, and 4 GB of zeros at the bottom of every one."""
    content = bytes(10_000_000)
    for level in range(5):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
            for number in range(16):
                packed.writestr(f"lib {number:x}{'.zip' if level else ''}", content)
        content = stream.getvalue()
    (tmp_path / "data.zip").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="no image"):
            open_source(tmp_path / "data.zip")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert [path.name for path in tmp_path.iterdir()] == ["data.zip"]


def test_the_limits_let_ordinary_zips_pass(tmp_path):
    """Drawings in BMP shrink much, an empty file and folders take no bytes, an archive may follow other bytes."""
    names = ["fox/", "hare/", "fox/blank.bmp", "hare/blank.bmp", "hare/none.png"]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in names:
            packed.writestr(name, b"" if name.endswith(("/", "none.png")) else b"BM" + bytes(3_000_000))
    (tmp_path / "data.zip").write_bytes(b"#!/bin/sh\n" + stream.getvalue())
    found = open_source(tmp_path / "data.zip")
    assert len(found) == 3
    assert len(found.read(0)) == 3_000_002


def test_names_are_made_plain():
    assert plain_entry_name("a\\b/c.png") == "a/b/c.png"
    assert plain_entry_name("a/b/") == "a/b/"
    assert plain_entry_name("/a/./b.png") == "/a/b.png"
    assert plain_entry_name("a./b.png") == "a./b.png"
