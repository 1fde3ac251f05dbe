"""Opens DATA, whatever it is: a built-in name, a path, an address or an object.

Enters: DATA. Leaves: `ImageSet`. Called through the room: `from catseye.data.sources import open_source`.
"""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from catseye.data import builtin
from catseye.data.sources.addresses.remote import is_address, read_remote
from catseye.data.sources.archives.archive import ZipReader, list_zip, read_zip_head
from catseye.data.sources.archives.tars import list_tar, read_entry, reader_of
from catseye.data.sources.archives.webdataset import is_webdataset, read_shards
from catseye.data.sources.corrections import apply_corrections
from catseye.data.sources.folder import FolderReader, walk_files
from catseye.data.sources.folders.labelled import label_by_folder
from catseye.data.sources.given import is_place, list_given
from catseye.data.sources.image_set import ArrayReader, ImageSet, printable_name
from catseye.data.sources.lists.frames import is_frame, read_frame
from catseye.data.sources.lists.split_lists import find_split_lists, read_split_lists
from catseye.data.sources.lists.table import LIST_SUFFIXES, read_table
from catseye.data.sources.memory_names import PREFIX, images_in_use, name_in_memory
from catseye.data.sources.parquet.parquet_files import LocalFiles, read_parquet
from catseye.data.sources.parquet.saved_datasets import is_saved_dataset, read_saved_dataset
from catseye.errors import DataError
from catseye.preprocess import FILE_SUFFIXES
from catseye.settings.schema import DataSettings

_TABLES = {
    ".xlsx": "a spreadsheet",
    ".xls": "a spreadsheet",
    ".ods": "a spreadsheet",
    ".json": "a JSON file",
}
_ARRAYS = {".npz", ".npy", ".mat", ".h5", ".hdf5", ".pkl", ".pickle", ".pt", ".pth"}


Images = Any
"""DATA: a path or an address, a built-in name, or an object that holds labelled images (given.py)."""


def open_source(source: Images, *, data_dir: Path | None = None, settings: DataSettings | None = None) -> ImageSet:
    """List the labelled images of DATA.

    `settings` choose the layout of folders and the columns of a list, both guessed without them, and may name
    corrections, which are applied.

    Raises:
        DataError: it does not exist, holds no images or no classes, or is ambiguous.

    """
    settings = settings or DataSettings()
    images = _list_source(source, data_dir, settings)
    return apply_corrections(images, Path(settings.corrections)) if settings.corrections else images


def _list_source(source: Images, data_dir: Path | None, settings: DataSettings) -> ImageSet:
    if not is_place(source):
        return name_in_memory(read_frame(source, settings)) if is_frame(source) else list_given(source)
    if str(source).startswith(PREFIX):
        return images_in_use(str(source))
    if is_address(source):
        return read_remote(str(source), settings)
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
    return _from_folder(path, settings) if path.is_dir() else _from_file(path, settings)


def _from_folder(path: Path, settings: DataSettings) -> ImageSet:
    if batches := builtin.cifar_folder(path):
        return _from_builtin(batches, str(path))
    if is_saved_dataset(path):
        return read_saved_dataset(path, settings)
    files, folders = walk_files(path)
    if (images := _from_shards(path, files, settings)) is not None:
        return images
    if settings.layout == "auto" and (lists := find_split_lists(files)):
        return read_split_lists(path, lists, settings)
    return label_by_folder(
        str(path),
        files,
        folders,
        lambda names: FolderReader(path, names),
        layout=settings.layout,
        read_head=lambda name, num_bytes: _read_head(path / name, num_bytes),
    )


def _from_file(path: Path, settings: DataSettings) -> ImageSet:
    if path.suffix.lower() in LIST_SUFFIXES:
        return read_table(path, settings)
    if path.suffix.lower() == ".parquet":
        return _from_parquet(str(path), [path], settings)
    if path.suffix.lower() == ".tar":
        return _from_tar(path, settings)
    if path.suffix.lower() in _ARRAYS:
        raise DataError(
            f"{path} is a file of arrays or objects; DATA is a folder, a .zip or a .csv: load it in Python and use "
            "catseye.train(images, labels)"
        )
    if kind := _TABLES.get(path.suffix.lower()):
        raise DataError(f"{path} is {kind}; DATA is a folder, a .zip or a .csv: save it as a .csv with path,label")
    files, folders = list_zip(path)
    return label_by_folder(
        str(path),
        files,
        folders,
        lambda names: ZipReader(path, names),
        layout=settings.layout,
        read_head=lambda name, num_bytes: read_zip_head(path, name, num_bytes),
    )


def _from_shards(path: Path, files: list[str], settings: DataSettings) -> ImageSet | None:
    """The images of Parquet files or WebDataset's shards; None for other folders."""
    kinds = Counter(os.path.splitext(name)[1].lower() for name in files)  # noqa: PTH122
    if any(kinds[suffix] for suffix in FILE_SUFFIXES):
        return None
    if kinds[".parquet"]:
        return _from_parquet(str(path), [path / name for name in sorted(files) if name.endswith(".parquet")], settings)
    if kinds[".tar"]:
        shards = [list_tar(path / name) for name in sorted(files) if name.endswith(".tar")]
        if any(map(is_webdataset, shards)):
            return read_shards(str(path), shards)
        raise DataError(
            f"{path} holds tar files that are not shards of WebDataset (KEY.jpg beside KEY.cls); use one tar of class "
            "folders as DATA, or unpack them"
        )
    return None


def is_there(source: str) -> bool:
    """Whether a path exists, or all shards of a pattern."""
    if Path(source).exists():
        return True
    try:
        return bool(_expand_shards(source))
    except DataError:
        return False


def _expand_shards(source: str) -> list[Path]:
    """The files of a pattern like `train-{0000..0012}.tar`, as WebDataset writes it."""
    match = re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}(.*\.tar)", source)
    if not match:
        return []
    before, first, last, after = match.groups()
    names = [f"{before}{number:0{len(first)}d}{after}" for number in range(int(first), int(last) + 1)]
    missing = [name for name in names if not Path(name).is_file()]
    if missing:
        raise DataError(f"{source} names {len(names):,} shards; {missing[0]} does not exist")
    return [_absolute(Path(name)) for name in names]


def _from_parquet(source: str, paths: list[Path], settings: DataSettings) -> ImageSet:
    names = [path.name for path in paths]
    return read_parquet(source, LocalFiles(paths), settings, names=names, folder=paths[0].parent)


def _from_tar(path: Path, settings: DataSettings) -> ImageSet:
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
        layout=settings.layout,
        read_head=lambda name, num_bytes: read_entry(entries, name, num_bytes),
    )


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _with_parents(folder: str) -> list[str]:
    folders = []
    while folder:
        folders.append(folder)
        folder = _parent(folder)
    return folders


def _absolute(path: Path) -> Path:
    """The absolute path of DATA, in UTF-8: it is written to the files of a run.

    Raises:
        DataError: neither its real path nor the given one is UTF-8.

    """
    for place in (path.resolve(), path.absolute()):
        try:
            str(place).encode("utf-8")
        except UnicodeEncodeError:
            continue
        return place
    raise DataError(
        f"the path {printable_name(str(path.absolute()))} is not UTF-8, and a run writes it to its files; rename the "
        "folder, or make a link with a plain name and use that as DATA"
    )


def _read_head(path: Path, num_bytes: int) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(num_bytes)
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
