"""What the user calls DATA becomes one `ImageSet`: names, labels, splits and a way to read each image.

Folders, zips and CSV files are only listed here, never moved, copied or rewritten; the built-in sets
live in `builtin.py`. Called by `prepare.py`.
"""

import csv
import lzma
import os
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from catseye.data import builtin
from catseye.data.names import Names
from catseye.errors import DataError, ImageError
from catseye.preprocess import FILE_SUFFIXES, Pixels, read_file

TRAIN, VAL, TEST, NOT_SPLIT = 0, 1, 2, -1
SPLIT_NAMES = {"train": TRAIN, "training": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST}
SPLIT_LABELS = ("train", "val", "test")
MAX_ZIP_ENTRIES = 5_000_000
MAX_FILE_BYTES = 500_000_000


class Reader(Protocol):
    """Reads one image by its number."""

    def __call__(self, index: int) -> bytes | Pixels:
        """The file's bytes, or the pixels where there is no file. Raises ImageError."""
        ...

    def size_bytes(self, index: int) -> int:
        """The size of what `__call__` will return. Raises ImageError."""
        ...


@dataclass(frozen=True)
class ImageSet:
    """Labelled images, listed but not yet read.

    `labels` (N,) int64 index `classes`; `splits` (N,) int8 hold TRAIN, VAL, TEST or NOT_SPLIT.
    """

    source: str
    classes: tuple[str, ...]
    names: Sequence[str]
    labels: NDArray[np.int64]
    splits: NDArray[np.int8]
    read: Reader
    mirror_safe: bool = True  # False where a mirrored image is another class or none (digits)
    notes: tuple[str, ...] = ()
    published: bool = False  # the split is part of a well-known data set: its score is reported, whatever it holds

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class FolderReader:
    """Reads files below one folder."""

    root: Path
    names: Sequence[str]

    def __call__(self, index: int) -> bytes:
        """The file's bytes."""
        return read_file(self.root / self.names[index])

    def size_bytes(self, index: int) -> int:
        """The file's size."""
        try:
            return os.stat(f"{self.root}/{self.names[index]}").st_size  # noqa: PTH116  (a Path per file is slow)
        except (OSError, ValueError) as error:
            raise ImageError(f"{self.root / self.names[index]} cannot be read ({error})") from None


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
            if archive.getinfo(name).file_size > MAX_FILE_BYTES:
                raise ImageError(f"{self.path}:{name} unpacks to more than {MAX_FILE_BYTES:,} bytes")
            return archive.read(name)
        except (
            zipfile.BadZipFile,
            OSError,
            EOFError,
            RuntimeError,
            NotImplementedError,
            ValueError,
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
            self._archives[key] = zipfile.ZipFile(self.path)
        return self._archives[key]

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "names": self.names, "_archives": {}}


@dataclass(frozen=True)
class ArrayReader:
    """Images that are already pixels: (N, H, W, C) uint8."""

    pixels: Pixels

    def __call__(self, index: int) -> Pixels:
        """The pixels."""
        image: Pixels = self.pixels[index]
        return image

    def size_bytes(self, index: int) -> int:
        """The size of the pixels."""
        return int(self.pixels[index].nbytes)


def open_source(source: str | Path, *, data_dir: Path | None = None) -> ImageSet:
    """List the images of a folder, a zip, a CSV file or a built-in set.

    Raises:
        DataError: there is nothing there, no image in it, or no class to be read from it.

    """
    path = Path(source)
    if str(source) in builtin.NAMES and not path.exists():
        return _from_builtin(builtin.load_builtin(str(source), data_dir), str(source))
    if not path.exists():
        raise DataError(
            f"{path} does not exist; DATA is a folder of class folders, a .zip of one, "
            f"a .csv with path,label, or one of: {', '.join(builtin.NAMES)}"
        )
    path = path.resolve()
    if path.is_dir():
        if batches := builtin.cifar_folder(path):
            return _from_builtin(batches, str(path))
        files, folders = _walk(path)
        return _from_names(str(path), files, folders, lambda names: FolderReader(path, names))
    if path.suffix.lower() == ".csv":
        return _from_csv(path)
    if zipfile.is_zipfile(path):
        files, folders = _zip_entries(path)
        return _from_names(str(path), files, folders, lambda names: ZipReader(path, names))
    raise DataError(f"{path} is neither a folder nor a .zip nor a .csv; DATA is one of these or a built-in name")


def _from_builtin(arrays: builtin.Arrays, source: str) -> ImageSet:
    return ImageSet(
        source=source,
        classes=arrays.classes,
        names=[f"{index:06d}" for index in range(len(arrays.labels))],
        labels=arrays.labels.astype(np.int64),
        splits=arrays.splits.astype(np.int8),
        read=ArrayReader(arrays.pixels),
        mirror_safe=arrays.mirror_safe,
        published=True,
    )


def _walk(root: Path) -> tuple[list[str], list[str]]:
    """All files and all folders below `root` as POSIX names relative to it; hidden ones are left out."""
    files: list[str] = []
    folders: list[str] = []
    stack: list[tuple[str, tuple[Path, ...]]] = [("", (root.resolve(),))]  # folder, and the real paths above it
    while stack:
        prefix, above = stack.pop()
        try:
            with os.scandir(root / prefix) as entries:  # read as it goes: a folder may hold a million
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    name = f"{prefix}{entry.name}"
                    if entry.is_dir():
                        folders.append(name)
                        real = Path(entry.path).resolve() if entry.is_symlink() else above[-1] / entry.name
                        if real not in above:
                            stack.append((f"{name}/", (*above, real)))
                    elif entry.is_file() or entry.is_symlink():
                        files.append(name)
        except OSError as error:
            raise DataError(f"folder {root / prefix} cannot be listed ({error.strerror})") from None
    return files, folders


def _zip_entries(path: Path) -> tuple[list[str], list[str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be opened as a zip ({error})") from None
    if len(entries) > MAX_ZIP_ENTRIES:
        raise DataError(f"a zip has at most {MAX_ZIP_ENTRIES:,} entries; {path} has {len(entries):,}")
    files: list[str] = []
    folders: set[str] = set()
    for entry in entries:
        name = entry.filename
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\\" in name:
            raise DataError(f"{path}: entry {name!r} points outside the zip; such a file is not opened")
        if any(part.startswith(".") for part in parts) or "__MACOSX" in parts:
            continue
        is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
        if entry.is_dir():
            folders.add(name.rstrip("/"))
        elif not is_link:
            files.append(name)
            folders.update(str(parent) for parent in PurePosixPath(name).parents if str(parent) != ".")
    return files, sorted(folders)


def _from_names(source: str, files: list[str], folders: list[str], reader: "_MakeReader") -> ImageSet:
    """Read class and split from where a file lies: [one folder for all/][split/]class/[anything/]file."""
    names = sorted(name for name in files if os.path.splitext(name)[1].lower() in FILE_SUFFIXES)  # noqa: PTH122
    if not names:
        raise DataError(f"{source} holds no images (looked for {', '.join(sorted(FILE_SUFFIXES))})")
    skip = len(_wrapping_folders(names))
    # Names are split anew in every pass: the parts of a million, kept, would take several times the names' memory.
    tops = {name.split("/", skip + 1)[skip].lower() for name in names if name.count("/") > skip}
    depth = 1 if tops & {"train", "training"} and tops <= SPLIT_NAMES.keys() else 0
    inside = [name for name in names if name.count("/") > skip + depth]
    if not inside:
        raise DataError(f"{source} has images but no class folders; put each class into a folder of its own")
    notes = []
    if len(inside) < len(names):
        stray = next(name for name in names if name.count("/") <= skip + depth)
        notes.append(f"{len(names) - len(inside)} images lie outside the class folders and are left out, e.g. {stray}")
    if len(names) < len(files):
        notes.append(f"{len(files) - len(names)} files are no images by their suffix and are left out")
    place = skip + depth
    class_names = sorted({name.split("/", place + 1)[place] for name in inside})
    _refuse_empty_classes(source, [folder.split("/")[skip:] for folder in folders], depth, class_names)
    number = {name: index for index, name in enumerate(class_names)}
    side = (SPLIT_NAMES[name.split("/", skip + 1)[skip].lower()] if depth else NOT_SPLIT for name in inside)
    kept = Names(inside)
    return ImageSet(
        source=source,
        classes=tuple(class_names),
        names=kept,
        labels=np.fromiter((number[name.split("/", place + 1)[place]] for name in inside), np.int64, len(inside)),
        splits=np.fromiter(side, np.int8, len(inside)),
        read=reader(kept),
        notes=tuple(notes),
    )


class _MakeReader(Protocol):
    def __call__(self, names: Sequence[str]) -> Reader: ...


def _wrapping_folders(names: Sequence[str]) -> list[str]:
    """The leading folders that hold everything, as a zip of one folder has; never a split or a class folder."""
    shortest = min(name.count("/") for name in names)
    wrapping: list[str] = []
    first = names[0].split("/")
    for level in range(shortest - 1):
        part = first[level]
        prefix = "/".join([*wrapping, part]) + "/"
        if part.lower() in SPLIT_NAMES or not all(name.startswith(prefix) for name in names):
            break
        wrapping.append(part)
    return wrapping


def _refuse_empty_classes(source: str, folders: list[list[str]], depth: int, classes: list[str]) -> None:
    empty = sorted({folder[depth] for folder in folders if len(folder) == depth + 1} - set(classes))
    if empty:
        raise DataError(f"{source}: class folder {empty[0]!r} holds no images; add some or remove the folder")


def _from_csv(path: Path) -> ImageSet:
    """Read `path,label[,split]`; paths are relative to the CSV file's folder."""
    names: list[str] = []
    labels: list[str] = []
    splits: list[int] = []
    lines: list[int] = []
    for line, row in _csv_rows(path):
        name, label, split = (
            (row.get("path") or "").strip(),
            (row.get("label") or "").strip(),
            (row.get("split") or "").strip().lower(),
        )
        lines.append(line)
        if None in row:
            raise DataError(f"{path} line {line}: more cells than columns; a path with a comma needs quotes")
        if not name or not label:
            raise DataError(f"{path} line {line}: path and label must not be empty; got {name!r}, {label!r}")
        if split and split not in SPLIT_NAMES:
            raise DataError(f"{path} line {line}: split is train, val or test; got {split!r}")
        names.append(name)
        labels.append(label)
        splits.append(SPLIT_NAMES[split] if split else NOT_SPLIT)
    if not names:
        raise DataError(f"{path} lists no images; it needs one line per image below path,label[,split]")
    if NOT_SPLIT in splits and len(set(splits)) > 1:
        line = lines[splits.index(NOT_SPLIT)]
        raise DataError(f"{path} line {line}: a split for some images but not for this one; fill in all or none")
    classes = sorted(set(labels))
    number = {name: index for index, name in enumerate(classes)}
    return ImageSet(
        source=str(path),
        classes=tuple(classes),
        names=names,
        labels=np.array([number[label] for label in labels], dtype=np.int64),
        splits=np.array(splits, dtype=np.int8),
        read=FolderReader(path.parent, names),
    )


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            columns = [column.strip().lower() for column in reader.fieldnames or []]
            if not {"path", "label"} <= set(columns):
                raise DataError(f"{path}: the first line must name the columns path,label[,split]; got {columns}")
            reader.fieldnames = columns
            for row in reader:
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as UTF-8 CSV ({error})") from None
