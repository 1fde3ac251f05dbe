"""Which kind of source DATA is: built-in name, folder, zip, tar, list, data set on disk, address, or an object.

Called through the room: `from catseye.data.sources import open_source`.
"""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from catseye.data import builtin
from catseye.data.sources.archive import ZipReader, list_zip, read_zip_head
from catseye.data.sources.corrections import apply_corrections
from catseye.data.sources.folder import FolderReader, walk_files
from catseye.data.sources.frames import is_frame, read_frame
from catseye.data.sources.given import PREFIX, in_use, is_place, kept, list_given
from catseye.data.sources.image_set import ArrayReader, ImageSet, printable_name
from catseye.data.sources.labelled import LIST_SUFFIXES, label_by_folder
from catseye.data.sources.parquet_files import LocalFiles, read_parquet
from catseye.data.sources.remote import is_address, read_remote
from catseye.data.sources.saved_datasets import is_saved_dataset, read_saved_dataset
from catseye.data.sources.table import read_table
from catseye.data.sources.tars import is_webdataset, list_tar, read_entry, read_shards, reader_of
from catseye.errors import DataError
from catseye.preprocess import FILE_SUFFIXES
from catseye.settings.schema import DataSettings

_HEAD_BYTES = 1024
_TABLES = {
    ".xlsx": "a spreadsheet",
    ".xls": "a spreadsheet",
    ".ods": "a spreadsheet",
    ".json": "a JSON file",
    ".txt": "a text file",
}


Images = Any
"""DATA: a path or an address, a built-in name, or an object that holds labelled images (given.py)."""


def open_source(source: Images, *, data_dir: Path | None = None, settings: DataSettings | None = None) -> ImageSet:
    """List the images of a folder, a zip, a tar, a list, a data set on disk, a built-in set, or of an object.

    `settings` choose the layout of folders and the columns of a list, both guessed without them, and may name
    corrections, which are applied.

    Raises:
        DataError: there is nothing there, no image in it, no class to be read from it, or two ways to read it.

    """
    chosen = settings or DataSettings()
    images = _list_source(source, data_dir, chosen)
    return apply_corrections(images, Path(chosen.corrections)) if chosen.corrections else images


def _list_source(source: Images, data_dir: Path | None, chosen: DataSettings) -> ImageSet:
    if not is_place(source):
        return kept(read_frame(source, chosen)) if is_frame(source) else list_given(source)
    if str(source).startswith(PREFIX):
        return in_use(str(source))
    if is_address(source):
        return read_remote(str(source), chosen)
    path = Path(source)
    if not path.exists() and (shards := _expand_shards(str(source))):
        return read_shards(str(source), [list_tar(each) for each in shards])
    if str(source) in builtin.NAMES and not path.exists():
        return _from_builtin(builtin.load_builtin(str(source), data_dir), str(source))
    if not path.exists():
        raise DataError(
            f"{printable_name(str(path))} does not exist; DATA is a folder of class folders, a .zip of one, "
            f"a .csv with path,label, or one of: {', '.join(builtin.NAMES)}"
        )
    path = _absolute(path)
    if path.is_dir():
        if batches := builtin.cifar_folder(path):
            return _from_builtin(batches, str(path))
        if is_saved_dataset(path):
            return read_saved_dataset(path, chosen)
        files, folders = walk_files(path)
        if (found := _of_one_kind(path, files, chosen)) is not None:
            return found
        return label_by_folder(
            str(path),
            files,
            folders,
            lambda names: FolderReader(path, names),
            layout=chosen.layout,
            read_head=lambda name: _read_head(path / name),
        )
    if path.suffix.lower() in LIST_SUFFIXES:
        return read_table(path, chosen)
    if path.suffix.lower() == ".parquet":
        return _from_parquet(str(path), [path], chosen)
    if path.suffix.lower() == ".tar":
        return _from_tar(path, chosen)
    if kind := _TABLES.get(path.suffix.lower()):
        raise DataError(f"{path} is {kind}; DATA is a folder, a .zip or a .csv: save it as a .csv with path,label")
    files, folders = list_zip(path)
    return label_by_folder(
        str(path),
        files,
        folders,
        lambda names: ZipReader(path, names),
        layout=chosen.layout,
        read_head=lambda name: read_zip_head(path, name),
    )


def _of_one_kind(path: Path, files: list[str], chosen: DataSettings) -> ImageSet | None:
    """A folder whose data are Parquet files, or WebDataset's shards; None where it is a folder of images."""
    kinds = Counter(os.path.splitext(name)[1].lower() for name in files)  # noqa: PTH122
    if any(kinds[suffix] for suffix in FILE_SUFFIXES):
        return None
    if kinds[".parquet"]:
        return _from_parquet(str(path), [path / name for name in sorted(files) if name.endswith(".parquet")], chosen)
    if kinds[".tar"]:
        shards = [list_tar(path / name) for name in sorted(files) if name.endswith(".tar")]
        if any(map(is_webdataset, shards)):
            return read_shards(str(path), shards)
        raise DataError(
            f"{path} holds tar files that are no shards of WebDataset (KEY.jpg beside KEY.cls); give one tar of class "
            "folders as DATA, or unpack them"
        )
    return None


def is_there(source: str) -> bool:
    """Whether a path, or the shards that a pattern names, are there."""
    if Path(source).exists():
        return True
    try:
        return bool(_expand_shards(source))
    except DataError:
        return False


def _expand_shards(source: str) -> list[Path]:
    """The files that `train-{0000..0012}.tar` means, as WebDataset writes it."""
    found = re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}(.*\.tar)", source)
    if not found:
        return []
    before, first, last, after = found.groups()
    names = [f"{before}{number:0{len(first)}d}{after}" for number in range(int(first), int(last) + 1)]
    missing = [name for name in names if not Path(name).is_file()]
    if missing:
        raise DataError(f"{source} names {len(names):,} shards; {missing[0]} does not exist")
    return [_absolute(Path(name)) for name in names]


def _from_parquet(source: str, paths: list[Path], chosen: DataSettings) -> ImageSet:
    names = [path.name for path in paths]
    return read_parquet(source, LocalFiles(paths), chosen, names=names, folder=paths[0].parent)


def _from_tar(path: Path, chosen: DataSettings) -> ImageSet:
    entries = list_tar(path)
    if is_webdataset(entries):
        return read_shards(str(path), [entries])
    files = list(entries.names)
    folders = sorted({parent for name in set(map(_parent, files)) for parent in _with_parents(name)})
    return label_by_folder(
        str(path),
        list(dict.fromkeys(files)),
        folders,
        lambda names: reader_of(entries, names),
        layout=chosen.layout,
        read_head=lambda name: read_entry(entries, name, _HEAD_BYTES),
    )


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _with_parents(folder: str) -> list[str]:
    found = []
    while folder:
        found.append(folder)
        folder = _parent(folder)
    return found


def _absolute(path: Path) -> Path:
    """Where DATA really lies; a run's files and its model card name that place, and they are UTF-8.

    Raises:
        DataError: its name is not UTF-8, and no link with a plain name leads there.

    """
    for place in (path.resolve(), path.absolute()):
        try:
            str(place).encode("utf-8")
        except UnicodeEncodeError:
            continue
        return place
    raise DataError(
        f"the path {printable_name(str(path.absolute()))} is not UTF-8, and the files of a run name it; rename the "
        "folder, or make a link to it with a plain name and give that as DATA"
    )


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_HEAD_BYTES)
    except OSError:
        return b""


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
