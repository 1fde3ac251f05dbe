"""Images in tar files, read in place: nothing is unpacked to disk.

Enters: a .tar. Leaves: the names of its files, their positions, and a reader. Called by `open_data.py` and
`webdataset.py`. A tar has no list of its contents, so all headers are read once; the list of a large tar is kept in the
cache folder under a name made of path, size and time.
"""

import io
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catseye.data.names import Names
from catseye.data.sources.image_set import MAX_FILE_BYTES
from catseye.data.sources.leftovers import is_leftover
from catseye.errors import DataError, ImageError
from catseye.files import write_atomically

MAX_TAR_ENTRIES = 20_000_000
KEPT_FROM = 20_000  # entries: listing fewer takes less than a second
_CACHE = Path.home() / ".cache" / "catseye" / "tars"


@dataclass(frozen=True)
class TarEntries:
    """The files in a tar: names, offsets and sizes in bytes; no folders or links."""

    path: Path
    names: Sequence[str]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)


def list_tar(path: Path) -> TarEntries:
    """All files of a tar, without leftovers.

    Raises:
        DataError: it is cut off, damaged or compressed, or an entry points outside.

    """
    status = path.stat()
    key = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    kept = _CACHE / f"{sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.npz"
    if (entries := _kept_entries(path, kept)) is not None:
        return entries
    names: list[str] = []
    offsets: list[int] = []
    sizes: list[int] = []
    try:
        with tarfile.open(path, "r:", ignore_zeros=False) as archive:
            for number, entry in enumerate(archive):
                archive.members = []  # type: ignore[attr-defined]  # or a million entries would stay in memory
                if number >= MAX_TAR_ENTRIES:
                    raise DataError(f"a tar has at most {MAX_TAR_ENTRIES:,} entries; {path} has more")
                name = _plain_name(path, entry.name)
                if not entry.isreg() or entry.issparse() or any(map(is_leftover, name.split("/"))):
                    continue
                if entry.offset_data + entry.size > status.st_size:
                    raise tarfile.ReadError(f"{name} extends beyond the end of the file")
                names.append(name)
                offsets.append(entry.offset_data)
                sizes.append(entry.size)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(_why_not_a_tar(path, error)) from None
    entries = TarEntries(path, Names(names), np.array(offsets, np.int64), np.array(sizes, np.int64))
    if len(names) >= KEPT_FROM:
        _keep_entries(entries, kept)
    return entries


def _plain_name(path: Path, name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise DataError(f"{path}: entry {name!r} points outside the tar; such a file is not opened")
    return "/".join(parts)


def _why_not_a_tar(path: Path, error: Exception) -> str:
    with path.open("rb") as stream:
        head = stream.read(6)
    packed = {b"\x1f\x8b": "gzip -d", b"BZh": "bzip2 -d", b"\xfd7zXZ": "xz -d", b"\x28\xb5\x2f\xfd": "zstd -d"}
    for magic, command in packed.items():
        if head.startswith(magic):
            return (
                f"{path} is a compressed tar, in which an image cannot be read without all those before it; decompress "
                f"it: {command} {path.name}"
            )
    return f"{path} cannot be read as a tar ({error}); it may be cut off or damaged: download or copy it again"


def _kept_entries(path: Path, kept: Path) -> TarEntries | None:
    try:
        with np.load(kept, allow_pickle=False) as arrays:
            names = bytes(arrays["names"]).decode("utf-8", "surrogateescape").split("\0")
            return TarEntries(path, Names(names), arrays["offsets"], arrays["sizes"])
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _keep_entries(entries: TarEntries, kept: Path) -> None:
    stream = io.BytesIO()
    joined = "\0".join(entries.names).encode("utf-8", "surrogateescape")
    np.savez(stream, names=np.frombuffer(joined, np.uint8), offsets=entries.offsets, sizes=entries.sizes)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, stream.getvalue())
    except Exception:  # noqa: BLE001 - listing goes on without a cache
        return


@dataclass
class TarReader:
    """Reads entries of tars in place; one open file per tar and process."""

    paths: Sequence[Path]
    names: Sequence[str]
    shards: NDArray[np.int32]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    _files: dict[tuple[int, int], int] = field(default_factory=dict, repr=False)

    def __call__(self, index: int) -> bytes:
        """The entry's bytes."""
        shard, size = int(self.shards[index]), int(self.sizes[index])
        path = self.paths[shard]
        if size > MAX_FILE_BYTES:
            raise ImageError(f"{path}:{self.names[index]} has more than {MAX_FILE_BYTES:,} bytes")
        try:
            content = os.pread(self._file(shard), size, int(self.offsets[index]))
        except OSError as error:
            raise ImageError(f"{path}:{self.names[index]} cannot be read ({error.strerror})") from None
        if len(content) != size:
            raise ImageError(f"{path}:{self.names[index]} is cut off: {len(content):,} of {size:,} bytes are there")
        return content

    def size_bytes(self, index: int) -> int:
        """The entry's size."""
        return int(self.sizes[index])

    def _file(self, shard: int) -> int:
        key = (os.getpid(), shard)
        if key not in self._files:
            if len(self._files) >= 256:  # thousands of shards would be more open files than a process may have
                for old in [each for each in self._files if each[0] == key[0]]:
                    os.close(self._files.pop(old))
            self._files[key] = os.open(self.paths[shard], os.O_RDONLY | getattr(os, "O_BINARY", 0))
        return self._files[key]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_files": {}}


def reader_of(entries: TarEntries, names: Sequence[str]) -> TarReader:
    """A reader of some entries of one tar."""
    row_of = {name: row for row, name in enumerate(entries.names)}  # of equal names the last one counts, as in tar
    rows = np.array([row_of[name] for name in names], np.int64)
    return TarReader([entries.path], names, np.zeros(len(rows), np.int32), entries.offsets[rows], entries.sizes[rows])


def read_entry(entries: TarEntries, name: str, num_bytes: int | None = None) -> bytes:
    """The bytes of one entry, or the first of them."""
    row = max(index for index, each in enumerate(entries.names) if each == name)
    size = int(entries.sizes[row])
    with entries.path.open("rb") as stream:
        stream.seek(int(entries.offsets[row]))
        return stream.read(size if num_bytes is None else min(size, num_bytes))
