"""Sizes of all files, and a stamp that changes when any of them does.

Enters: `ImageSet`. Leaves: `FileStamps`. Called by survey.py, decode.py and the check. No file is opened.
"""

import os
import stat
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from catseye.data.sources import ImageSet
from catseye.data.sources.archives.archive import ZipReader
from catseye.data.sources.folder import FolderReader
from catseye.errors import ImageError

_64_BITS = 0xFFFFFFFFFFFFFFFF
SETTLED_S = 2.0  # the coarsest clock of a file system (FAT); younger files may change without another time


@dataclass(frozen=True)
class FileStamps:
    """Sizes, unreadable files, and `stamp`: 16 bytes that change with any file.

    The stamp is made of size, mtime, ctime, inode and device of every file. A replaced file may have the old size and
    mtime (`cp -p`, `touch -r`, `rsync -t`), but the kernel sets the ctime, and a new file has another inode. Contents
    are not read: that would take as long as decoding. The stamp is empty if there are no files, or if one is so young
    that it may change within the same tick of the clock.
    """

    sizes: list[int]
    unreadable: dict[int, str] = field(default_factory=dict)
    stamp: bytes = b""


def file_facts(images: ImageSet) -> FileStamps:
    """Look up every file once."""
    reader = images.read
    if type(reader) is FolderReader:
        return _of_folder(images, reader)
    sizes, unreadable = [], {}
    for index in range(len(images)):
        try:
            size = reader.size_bytes(index)
            if size == 0:
                unreadable[index] = _empty(images, index)
        except ImageError as error:
            size, unreadable[index] = -1, str(error)
        sizes.append(size)
    return FileStamps(sizes, unreadable, stamp_files(images))


def stamp_files(images: ImageSet, indices: Sequence[int] | None = None) -> bytes:
    """The stamp of all files, or of some; empty if there is none."""
    reader = images.read
    if type(reader) is ZipReader:
        facts = [os.stat(reader.path)]  # noqa: PTH116 - as below
        names = [images.names[index] for index in indices] if indices is not None else images.names
        return _stamp_of(facts, "\0".join(names))
    if type(reader) is not FolderReader:
        return b""
    names = images.names if indices is None else [images.names[index] for index in indices]
    root = str(reader.root)
    try:
        facts = [os.stat(os.path.join(root, name)) for name in names]  # noqa: PTH116, PTH118  (a Path is slow)
    except (OSError, ValueError):
        return b""
    return _stamp_of(facts, "\0".join(names))


def _of_folder(images: ImageSet, reader: FolderReader) -> FileStamps:
    sizes, unreadable, facts = [], {}, []
    root = str(reader.root)
    for index, name in enumerate(images.names):
        try:
            status = os.stat(os.path.join(root, name))  # noqa: PTH116, PTH118  (a Path is slow)
        except (OSError, ValueError):
            try:
                reader.size_bytes(index)  # raises an error with the reason
            except ImageError as error:
                unreadable[index] = str(error)
            sizes.append(-1)
            continue
        facts.append(status)
        sizes.append(status.st_size)
        if status.st_size == 0:
            unreadable[index] = _empty(images, index)
    return FileStamps(sizes, unreadable, b"" if len(facts) < len(images) else _stamp_of(facts, "\0".join(images.names)))


def _stamp_of(facts: Sequence[os.stat_result], names: str) -> bytes:
    numbers = array("Q")
    newest = 0
    for each in facts:
        if not stat.S_ISREG(each.st_mode):
            return b""
        # Windows has no time of change; its st_ctime is when the file was created.
        newest = max(newest, each.st_ctime_ns if os.name == "posix" else each.st_mtime_ns)
        fields = (each.st_size, each.st_mtime_ns, each.st_ctime_ns, each.st_ino, each.st_dev)
        numbers.extend(number & _64_BITS for number in fields)
    if newest > time.time_ns() - SETTLED_S * 1e9:
        return b""
    return blake2b(numbers.tobytes() + names.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _empty(images: ImageSet, index: int) -> str:
    return f"{images.names[index]} is empty (0 bytes)"
