"""A zip, read in place: nothing is unpacked to disk.

Enters: a path. Leaves: names of files and folders, and `ZipReader`. Called by `open_data.py`. Zips of any program
are read (backslashes from PowerShell, `./`, leftovers); bombs and entries that point outside are refused.
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

from catseye.counting import count
from catseye.data.sources.image_names import image_names
from catseye.data.sources.image_set import MAX_FILE_BYTES
from catseye.data.sources.leftovers import is_leftover
from catseye.errors import DataError, ImageError

MAX_ZIP_ENTRIES = 5_000_000
MAX_UNPACKED_BYTES = 4_000_000_000_000
MAX_RATIO = 20  # unpacked / zip: images are compressed already, and even uncompressed drawings seldom shrink more
SMALL_BYTES = 1_000_000_000  # a zip that unpacks to less may have any ratio
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
    """Reads entries of a zip."""

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
                content = stream.read(entry.file_size)  # read() would unpack everything, whatever the header says
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
            for entry in archive.infolist():  # so that list_zip's names lead to their entries
                name = plain_entry_name(entry.filename)
                if name != entry.filename:
                    archive.NameToInfo.setdefault(name, entry)
            self._archives[key] = archive
        return self._archives[key]

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "names": self.names, "_archives": {}}


def plain_entry_name(name: str) -> str:
    r"""An entry's name with forward slashes and no empty parts.

    >>> plain_entry_name("cat\\1.png"), plain_entry_name("./cat//1.png")
    ('cat/1.png', 'cat/1.png')
    """
    if "\\" not in name and "./" not in name and "//" not in name:
        return name
    name = name.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/" * name.startswith("/") + "/".join(parts) + "/" * name.endswith("/")


def list_zip(path: Path) -> tuple[list[str], list[str]]:
    """All files and folders of a zip, without leftovers.

    Raises:
        DataError: it is cut off, damaged, encrypted or a bomb, its compression is not supported, or an entry
            points outside.

    """
    try:
        if not zipfile.is_zipfile(path):
            raise DataError(_why_not_a_zip(path))
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(
            f"{path} cannot be opened as a zip ({error}); it may be cut off or damaged: download or copy it again"
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


def read_zip_head(path: Path, name: str, num_bytes: int) -> bytes:
    """The first bytes of an entry; none if it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            entry = next(each for each in archive.infolist() if plain_entry_name(each.filename) == name)
            with archive.open(entry) as stream:
                return stream.read(num_bytes)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError, StopIteration, zlib.error):
        return b""


def _why_unreadable(entry: zipfile.ZipInfo) -> str:
    if entry.flag_bits & 0x1:
        return "is encrypted; unpack the zip with its password and use the folder as DATA"
    if entry.compress_type not in _READABLE:
        method = _METHODS.get(entry.compress_type, "an unknown method")
        return (
            f"is compressed with {method} (method {entry.compress_type}), which is not supported; unpack the zip and "
            "use the folder as DATA, or compress it again with Deflate"
        )
    if entry.file_size > MAX_FILE_BYTES:
        return f"unpacks to more than {MAX_FILE_BYTES:,} bytes"
    if entry.file_size > LARGE_ENTRY_BYTES and entry.file_size > MAX_ENTRY_RATIO * entry.compress_size:
        return f"unpacks to {entry.file_size:,} bytes from {entry.compress_size:,}: no image compresses that well"
    return ""


def _refuse_all_unreadable(path: Path, files: dict[str, zipfile.ZipInfo]) -> None:
    """Refuse a zip in which no image can be read; a few such are errors of images."""
    images = image_names(files)
    reason = ""
    for name in images:
        reason = _why_unreadable(files[name])
        if not reason:
            return
    if reason:
        raise DataError(f"{path}: none of {count(len(images), 'image')} can be read; {images[-1]!r} {reason}")


def _refuse_bomb(path: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse entries that share bytes, and a total size that images cannot have.

    Source: Fifield 2019, A better zip bomb: a small zip unpacks to petabytes because its files overlap.
    """
    size = path.stat().st_size
    total = sum(entry.file_size for entry in entries)
    free = shutil.disk_usage(path.parent).free
    limit = min(MAX_UNPACKED_BYTES, max(MAX_RATIO * size, min(SMALL_BYTES, free)))
    if total > limit:
        raise DataError(
            f"{path}: a zip of {size:,} bytes may unpack to {limit:,} bytes here; this one would unpack to {total:,}; "
            "images do not compress that well: it is damaged or malicious, and is not opened"
        )
    end = 0
    last = ""
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise DataError(
                f"{path}: the entries {last!r} and {entry.filename!r} overlap, which no zip program writes; the zip "
                "is damaged or malicious, and is not opened"
            )
        end = entry.header_offset + _LOCAL_HEADER_BYTES + entry.compress_size
        last = entry.filename


def _why_not_a_zip(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(512)
    if head.startswith((b"PK\3\4", b"PK\7\x08")):
        return (
            f"{path}: the zip is cut off: the list of its contents, at the end of the file, is missing "
            f"({path.stat().st_size:,} bytes are there); download or copy it again"
        )
    kinds = {b"7z\xbc\xaf\x27\x1c": "a 7z file", b"Rar!": "a RAR file", b"\x1f\x8b": "a gzip file (.tar.gz, .tgz)"}
    kinds |= {b"\xfd7zXZ": "an xz file", b"BZh": "a bzip2 file", b"\x28\xb5\x2f\xfd": "a Zstandard file"}
    kind = next((name for magic, name in kinds.items() if head.startswith(magic)), "")
    kind = "a tar file" if head[257:262] == b"ustar" else kind
    if kind:
        return f"{path} is {kind}; DATA is a folder, a .zip or a .csv: unpack it and use the folder"
    if path.suffix.lower() == ".zip":
        content = "it is empty" if not head else "it begins with " + repr(head[:16])
        return f"{path} is not a zip ({content}); download it again: the server may have sent an error page instead"
    return f"{path} is neither a folder nor a .zip nor a .csv; DATA is one of these or a built-in name"
