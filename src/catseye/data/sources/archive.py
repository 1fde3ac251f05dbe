"""A zip is read in place, whoever wrote it: PowerShell's backslashes, `./`, leftovers, odd methods; bombs are refused.

Enters: a path. Leaves: names of files and folders, and `ZipReader`. Called by `open_data.py`. Nothing is unpacked to
disk, and no name in a zip leads out of it.
"""

import lzma
import os
import shutil
import threading
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from catseye.data.sources.image_names import image_names
from catseye.data.sources.image_set import MAX_FILE_BYTES, so_many
from catseye.data.sources.leftovers import is_leftover
from catseye.errors import DataError, ImageError

MAX_ZIP_ENTRIES = 5_000_000
MAX_UNPACKED_BYTES = 4_000_000_000_000
MAX_RATIO = 20  # of the whole: images are packed already, even uncompressed drawings seldom shrink further
SMALL_BYTES = 1_000_000_000  # a zip that unpacks to less may shrink as it likes
MAX_ENTRY_RATIO = 100
LARGE_ENTRY_BYTES = 64_000_000
_LOCAL_HEADER_BYTES = 30
_READABLE = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})
# Source: PKWARE, APPNOTE.TXT, section 4.4.5.
_METHODS = {
    1: "Shrink",
    6: "Implode",
    9: "Deflate64",
    20: "Zstandard",
    93: "Zstandard",
    94: "MP3",
    95: "XZ",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
    99: "AES encryption",
}


@dataclass
class ZipReader:
    """Reads entries of a zip in place; nothing is unpacked to disk."""

    path: Path
    names: Sequence[str]
    _archives: dict[tuple[int, int], zipfile.ZipFile] = field(default_factory=dict, repr=False)

    def __call__(self, index: int) -> bytes:
        """The entry's bytes."""
        name = self.names[index]
        archive = self._archive()
        try:
            entry = archive.getinfo(name)
            if reason := _why_unreadable(entry):
                raise ImageError(f"{self.path}:{name} {reason}")
            with archive.open(entry) as stream:
                content = stream.read(entry.file_size)  # not read(): that unpacks all there is, whatever the size says
            if len(content) != entry.file_size:
                raise EOFError(f"{len(content):,} of {entry.file_size:,} bytes are there")
            return content
        except (
            zipfile.BadZipFile,
            OSError,
            EOFError,
            RuntimeError,
            NotImplementedError,
            ValueError,
            KeyError,
            zlib.error,
            lzma.LZMAError,
        ) as error:
            raise ImageError(f"{self.path}:{name} cannot be unpacked ({error})") from None

    def size_bytes(self, index: int) -> int:
        """The size after unpacking."""
        return self._archive().getinfo(self.names[index]).file_size

    def _archive(self) -> zipfile.ZipFile:
        # One handle per process and thread: a handle's file position must not be shared with a forked loader worker.
        key = (os.getpid(), threading.get_ident())
        if key not in self._archives:
            archive = zipfile.ZipFile(self.path)
            for entry in archive.infolist():  # found by the name under which it is listed
                name = plain_entry_name(entry.filename)
                if name != entry.filename:
                    archive.NameToInfo.setdefault(name, entry)
            self._archives[key] = archive
        return self._archives[key]

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "names": self.names, "_archives": {}}


def plain_entry_name(name: str) -> str:
    r"""An entry's name with slashes, as in any other zip.

    >>> plain_entry_name("cat\\1.png"), plain_entry_name("./cat//1.png")
    ('cat/1.png', 'cat/1.png')
    """
    if "\\" not in name and "./" not in name and "//" not in name:
        return name
    name = name.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/" * name.startswith("/") + "/".join(parts) + "/" * name.endswith("/")


def list_zip(path: Path) -> tuple[list[str], list[str]]:
    """All files and all folders of a zip, leftovers left out.

    Raises:
        DataError: it is cut off, damaged, a bomb, encrypted, packed by a method that is not read, or leads outside.

    """
    try:
        if not zipfile.is_zipfile(path):
            raise DataError(_why_no_zip(path))
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(
            f"{path} cannot be opened as a zip ({error}); it may be cut off or damaged: fetch or copy it again"
        ) from None
    if len(entries) > MAX_ZIP_ENTRIES:
        raise DataError(f"a zip has at most {MAX_ZIP_ENTRIES:,} entries; {path} has {len(entries):,}")
    _refuse_bomb(path, entries)
    files: dict[str, zipfile.ZipInfo] = {}
    folders: set[str] = set()
    for entry in entries:
        name = plain_entry_name(entry.filename)
        parts = name.rstrip("/").split("/")
        if name.startswith("/") or ".." in parts or (len(parts[0]) == 2 and parts[0][1] == ":"):
            raise DataError(f"{path}: entry {entry.filename!r} points outside the zip; such a file is not opened")
        if any(map(is_leftover, parts)) or not parts[0]:
            continue
        is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
        if name.endswith("/"):
            folders.add(name.rstrip("/"))
        elif not is_link:
            files[name] = entry
            parent = name.rpartition("/")[0]
            while parent and parent not in folders:
                folders.add(parent)
                parent = parent.rpartition("/")[0]
    _refuse_all_unreadable(path, files)
    return list(files), sorted(folders)


def read_zip_head(path: Path, name: str, num_bytes: int = 1024) -> bytes:
    """The first bytes of an entry, none where it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            entry = next(each for each in archive.infolist() if plain_entry_name(each.filename) == name)
            with archive.open(entry) as stream:
                return stream.read(num_bytes)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError, StopIteration, zlib.error):
        return b""


def _why_unreadable(entry: zipfile.ZipInfo) -> str:
    if entry.flag_bits & 0x1:
        return "is encrypted; unpack the zip with its password and give the folder as DATA"
    if entry.compress_type not in _READABLE:
        method = _METHODS.get(entry.compress_type, "an unknown method")
        return (
            f"is packed with {method} (method {entry.compress_type}), which is not read; unpack the zip and give the "
            "folder as DATA, or pack it again with Deflate"
        )
    if entry.file_size > MAX_FILE_BYTES:
        return f"unpacks to more than {MAX_FILE_BYTES:,} bytes"
    if entry.file_size > LARGE_ENTRY_BYTES and entry.file_size > MAX_ENTRY_RATIO * entry.compress_size:
        return f"unpacks to {entry.file_size:,} bytes from {entry.compress_size:,}: no image shrinks that much"
    return ""


def _refuse_all_unreadable(path: Path, files: dict[str, zipfile.ZipInfo]) -> None:
    """One sentence where not one image can be read; a few such are errors of their own images, later."""
    images = image_names(files)
    reason = ""
    for name in images:
        reason = _why_unreadable(files[name])
        if not reason:
            return
    if reason:
        raise DataError(f"{path}: none of {so_many(len(images), 'image')} can be read; {images[-1]!r} {reason}")


def _refuse_bomb(path: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Entries that share bytes, or a sum of sizes that no images have.

    Source: Fifield 2019, A better zip bomb: overlapping files are what makes a small zip unpack to petabytes.
    """
    size = path.stat().st_size
    total = sum(entry.file_size for entry in entries)
    free = shutil.disk_usage(path.parent).free
    limit = min(MAX_UNPACKED_BYTES, max(MAX_RATIO * size, min(SMALL_BYTES, free)))
    if total > limit:
        raise DataError(
            f"{path}: a zip of {size:,} bytes may unpack to {limit:,} bytes here; this one would unpack to {total:,}; "
            "images do not shrink that much: it is damaged or made to do harm, and it is not opened"
        )
    end = 0
    last = ""
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise DataError(
                f"{path}: the entries {last!r} and {entry.filename!r} overlap, which no packer writes; the zip is "
                "damaged or made to do harm, and it is not opened"
            )
        end = entry.header_offset + _LOCAL_HEADER_BYTES + entry.compress_size
        last = entry.filename


def _why_no_zip(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(512)
    if head.startswith((b"PK\3\4", b"PK\7\x08")):
        return (
            f"{path}: the zip is cut off: its list of contents, which stands at the end, is missing "
            f"({path.stat().st_size:,} bytes are there); fetch or copy it again"
        )
    kinds = {b"7z\xbc\xaf\x27\x1c": "a 7z file", b"Rar!": "a RAR file", b"\x1f\x8b": "a gzip file (.tar.gz, .tgz)"}
    kinds |= {b"\xfd7zXZ": "an xz file", b"BZh": "a bzip2 file", b"\x28\xb5\x2f\xfd": "a Zstandard file"}
    kind = next((name for magic, name in kinds.items() if head.startswith(magic)), "")
    kind = "a tar file" if head[257:262] == b"ustar" else kind
    if kind:
        return f"{path} is {kind}; DATA is a folder, a .zip or a .csv: unpack it and give the folder"
    if path.suffix.lower() == ".zip":
        what = "it is empty" if not head else "it begins with " + repr(head[:16])
        return f"{path} is no zip ({what}); fetch it again: a server may have sent an error page in its place"
    return f"{path} is neither a folder nor a .zip nor a .csv; DATA is one of these or a built-in name"
