"""What the file system says of every image before one is opened: its size, and what changes when the file does.

Enters: `ImageSet`. Leaves: `FileStamps`. Called by survey.py, the check and cache.py. Nothing is read but directories.
"""

import os
import stat
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from catseye.data.sources import ImageSet
from catseye.data.sources.archive import ZipReader
from catseye.data.sources.folder import FolderReader
from catseye.errors import ImageError

_64_BITS = 0xFFFFFFFFFFFFFFFF
SETTLED_S = 2.0  # the coarsest clock of a file system (FAT); a file younger than that may change without a trace


@dataclass(frozen=True)
class FileStamps:
    """Sizes, what cannot be read, and `stamp`: 16 bytes that differ as soon as any file is another one.

    The stamp is made of size, time of writing, time of change, number and device of every file. A size and a time of
    writing can be kept by whoever replaces a file (`cp -p`, `touch -r`, `rsync -t`); the time of change is the
    kernel's own, and an exchanged file has another number. Contents are not read: that would take as long as decoding.
    Empty where there are no files, or where one is so young that it may change within the same tick of the clock.
    """

    sizes: list[int]
    unreadable: dict[int, str] = field(default_factory=dict)
    stamp: bytes = b""


def file_facts(images: ImageSet) -> FileStamps:
    """Ask for every image once."""
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
    """The stamp of all files, or of some; empty where there is none."""
    reader = images.read
    if type(reader) is ZipReader:
        facts = [os.stat(reader.path)]  # noqa: PTH116 - as below
        chosen = [images.names[index] for index in indices] if indices is not None else images.names
        return _stamp_of(facts, "\0".join(chosen))
    if type(reader) is not FolderReader:
        return b""
    chosen = images.names if indices is None else [images.names[index] for index in indices]
    root = str(reader.root)
    try:
        facts = [os.stat(os.path.join(root, name)) for name in chosen]  # noqa: PTH116, PTH118  (a Path is slow)
    except (OSError, ValueError):
        return b""
    return _stamp_of(facts, "\0".join(chosen))


def _of_folder(images: ImageSet, reader: FolderReader) -> FileStamps:
    sizes, unreadable, facts = [], {}, []
    root = str(reader.root)
    for index, name in enumerate(images.names):
        try:
            found = os.stat(os.path.join(root, name))  # noqa: PTH116, PTH118  (a Path is slow)
        except (OSError, ValueError):
            try:
                reader.size_bytes(index)  # says why
            except ImageError as error:
                unreadable[index] = str(error)
            sizes.append(-1)
            continue
        facts.append(found)
        sizes.append(found.st_size)
        if found.st_size == 0:
            unreadable[index] = _empty(images, index)
    return FileStamps(sizes, unreadable, b"" if len(facts) < len(images) else _stamp_of(facts, "\0".join(images.names)))


def _stamp_of(facts: Sequence[os.stat_result], names: str) -> bytes:
    numbers = array("Q")
    newest = 0
    for each in facts:
        if not stat.S_ISREG(each.st_mode):
            return b""
        # Windows keeps no time of change; its st_ctime is when the file was made.
        newest = max(newest, each.st_ctime_ns if os.name == "posix" else each.st_mtime_ns)
        told = (each.st_size, each.st_mtime_ns, each.st_ctime_ns, each.st_ino, each.st_dev)
        numbers.extend(number & _64_BITS for number in told)
    if newest > time.time_ns() - SETTLED_S * 1e9:
        return b""
    return blake2b(numbers.tobytes() + names.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _empty(images: ImageSet, index: int) -> str:
    return f"{images.names[index]} is empty (0 bytes)"
