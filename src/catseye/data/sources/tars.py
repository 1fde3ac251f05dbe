"""Images in tar files: a tar of class folders, and WebDataset's shards. Read in place; nothing is unpacked.

Enters: a .tar, or the shards of a data set. Leaves: names with places in the files, a reader, labels. Called by
`open_data.py`. A tar has no list of contents: its headers are walked once, and for large ones what was found is kept in
the cache folder under a name made of path, size and time.
"""

import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catseye.data.names import Names
from catseye.data.sources.image_set import MAX_FILE_BYTES, NOT_SPLIT, ImageSet, so_many
from catseye.data.sources.labels import is_missing
from catseye.data.sources.leftovers import is_leftover
from catseye.data.sources.split_names import side_of
from catseye.errors import DataError, ImageError
from catseye.files import write_atomically
from catseye.preprocess import FILE_SUFFIXES

MAX_TAR_ENTRIES = 20_000_000
KEPT_FROM = 20_000  # entries: listing fewer takes less than a second
LABEL_SUFFIXES = (".cls", ".json")
_LABEL_KEYS = ("label", "class", "cls", "class_name", "category", "target")
_CACHE = Path.home() / ".cache" / "catseye" / "tars"


@dataclass(frozen=True)
class TarEntries:
    """The files in a tar: names, where each begins, and its size in bytes; folders and links are left out."""

    path: Path
    names: Sequence[str]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)


def list_tar(path: Path) -> TarEntries:
    """All files of a tar, leftovers left out.

    Raises:
        DataError: it is cut off, damaged, compressed, or an entry leads outside.

    """
    status = path.stat()
    key = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    kept = _CACHE / f"{sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.npz"
    if (found := _kept_entries(path, kept)) is not None:
        return found
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
                    raise tarfile.ReadError(f"{name} goes on behind the end of the file")
                names.append(name)
                offsets.append(entry.offset_data)
                sizes.append(entry.size)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(_why_no_tar(path, error)) from None
    entries = TarEntries(path, Names(names), np.array(offsets, np.int64), np.array(sizes, np.int64))
    if len(names) >= KEPT_FROM:
        _keep_entries(entries, kept)
    return entries


def _plain_name(path: Path, name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise DataError(f"{path}: entry {name!r} points outside the tar; such a file is not opened")
    return "/".join(parts)


def _why_no_tar(path: Path, error: Exception) -> str:
    with path.open("rb") as stream:
        head = stream.read(6)
    packed = {b"\x1f\x8b": "gzip -d", b"BZh": "bzip2 -d", b"\xfd7zXZ": "xz -d", b"\x28\xb5\x2f\xfd": "zstd -d"}
    for magic, command in packed.items():
        if head.startswith(magic):
            return (
                f"{path} is a compressed tar, in which no image can be reached without those before it; unpack it: "
                f"{command} {path.name}"
            )
    return f"{path} cannot be read as a tar ({error}); it may be cut off or damaged: fetch or copy it again"


def _kept_entries(path: Path, kept: Path) -> TarEntries | None:
    try:
        with np.load(kept, allow_pickle=False) as found:
            names = bytes(found["names"]).decode("utf-8", "surrogateescape").split("\0")
            return TarEntries(path, Names(names), found["offsets"], found["sizes"])
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _keep_entries(entries: TarEntries, kept: Path) -> None:
    import io

    stream = io.BytesIO()
    joined = "\0".join(entries.names).encode("utf-8", "surrogateescape")
    np.savez(stream, names=np.frombuffer(joined, np.uint8), offsets=entries.offsets, sizes=entries.sizes)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, stream.getvalue())
    except Exception:  # noqa: BLE001 - a cache that cannot be written is no reason to stop
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
            if len(self._files) >= 256:  # shards by the thousand: fewer open files than a process may have
                for old in [each for each in self._files if each[0] == key[0]]:
                    os.close(self._files.pop(old))
            self._files[key] = os.open(self.paths[shard], os.O_RDONLY | getattr(os, "O_BINARY", 0))
        return self._files[key]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_files": {}}


def reader_of(entries: TarEntries, names: Sequence[str]) -> TarReader:
    """A reader of some entries of one tar."""
    place = {name: row for row, name in enumerate(entries.names)}  # of equal names the last one counts, as in tar
    rows = np.array([place[name] for name in names], np.int64)
    return TarReader([entries.path], names, np.zeros(len(rows), np.int32), entries.offsets[rows], entries.sizes[rows])


def read_entry(entries: TarEntries, name: str, num_bytes: int | None = None) -> bytes:
    """The bytes of one entry, or the first of them."""
    row = max(index for index, each in enumerate(entries.names) if each == name)
    size = int(entries.sizes[row])
    with entries.path.open("rb") as stream:
        stream.seek(int(entries.offsets[row]))
        return stream.read(size if num_bytes is None else min(size, num_bytes))


# --- WebDataset -------------------------------------------------------------------------------------------------------


def is_webdataset(entries: TarEntries) -> bool:
    """Whether the files come in groups of one key: an image and, beside it, a file with its label."""
    keys = {key for key, suffix in map(_key_of, entries.names[:2000]) if suffix in LABEL_SUFFIXES}
    return any(key in keys for key, suffix in map(_key_of, entries.names[:2000]) if suffix in FILE_SUFFIXES)


def _key_of(name: str) -> tuple[str, str]:
    """The key, up to the first dot of the file's name, and the rest in lower case.

    >>> _key_of("cat/1.seg.png"), _key_of("a.b/2.cls")
    (('cat/1', '.seg.png'), ('a.b/2', '.cls'))
    """
    folder, slash, last = name.rpartition("/")
    stem, dot, rest = last.partition(".")
    return folder + slash + stem, f"{dot}{rest}".lower()


def read_shards(source: str, shards: Sequence[TarEntries]) -> ImageSet:
    """WebDataset's tars as one set: an image and its label share a key. A shard's name may name its side.

    The label is the text of KEY.cls, or `label` or `class` of KEY.json. A sample without one is left out, and said.

    Raises:
        DataError: there is no image with a label, or a label cannot be read.

    """
    names: list[str] = []
    labels: list[str] = []
    sides: list[int] = []
    places: list[tuple[int, int]] = []
    unlabelled = 0
    for number, shard in enumerate(shards):
        side, _ = side_of(shard.path.stem)
        for image, text in _samples(shard):
            if is_missing(text):
                unlabelled += 1
                continue
            names.append(shard.names[image])
            labels.append(text)
            sides.append(NOT_SPLIT if side is None else side)
            places.append((number, image))
    if not names:
        raise DataError(f"{source}: no image with a label; a sample is KEY.jpg with KEY.cls, or KEY.json with a label")
    if NOT_SPLIT in sides and len(set(sides)) > 1:
        sides = [NOT_SPLIT] * len(sides)
    order = sorted(range(len(names)), key=names.__getitem__) if len(set(names)) == len(names) else range(len(names))
    if len(set(names)) < len(names):  # keys that repeat from shard to shard
        names = [f"{shards[shard].path.stem}/{name}" for name, (shard, _) in zip(names, places, strict=True)]
    classes = sorted(set(labels), key=_by_number)
    number_of = {name: index for index, name in enumerate(classes)}
    kept = Names(names[row] for row in order)
    where = np.array([places[row] for row in order], np.int64).reshape(-1, 2)
    reader = TarReader(
        [shard.path for shard in shards],
        kept,
        where[:, 0].astype(np.int32),
        np.array([shards[s].offsets[i] for s, i in where.tolist()], np.int64),
        np.array([shards[s].sizes[i] for s, i in where.tolist()], np.int64),
    )
    notes = (f"{so_many(unlabelled, 'sample')} without a label left out",) if unlabelled else ()
    return ImageSet(
        source=source,
        classes=tuple(classes),
        names=kept,
        labels=np.array([number_of[labels[row]] for row in order], np.int64),
        splits=np.array([sides[row] for row in order], np.int8),
        read=reader,
        notes=notes,
        remarks=(f"WebDataset: {so_many(len(shards), 'shard')}",),
    )


def _by_number(name: str) -> tuple[bool, int, str]:
    return not name.isdigit(), int(name) if name.isdigit() else 0, name


def _samples(shard: TarEntries) -> Iterator[tuple[int, str]]:
    """Number of the image and text of the label, sample by sample; those of a key lie together."""
    with shard.path.open("rb") as stream:
        key, image, label = "", -1, ""
        for row, name in enumerate(shard.names):
            own, suffix = _key_of(name)
            if own != key:
                if image >= 0:
                    yield image, label
                key, image, label = own, -1, ""
            if suffix in FILE_SUFFIXES and image < 0:
                image = row
            elif suffix in LABEL_SUFFIXES and not (label and suffix == ".json"):
                stream.seek(int(shard.offsets[row]))
                content = stream.read(min(int(shard.sizes[row]), 1_000_000))
                label = _label_in(f"{shard.path}:{name}", suffix, content) or label
        if image >= 0:
            yield image, label


def _label_in(name: str, suffix: str, content: bytes) -> str:
    try:
        text = content.decode("utf-8")
        if suffix == ".cls":
            return text.strip()
        found = json.loads(text)
    except (UnicodeError, ValueError, RecursionError) as error:
        raise DataError(f"{name} holds no label ({error})") from None
    if isinstance(found, Mapping):
        found = next((found[key] for key in _LABEL_KEYS if key in found), "")
    return str(found) if isinstance(found, str | int) else ""
