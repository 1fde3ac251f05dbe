"""Which kind of source DATA is: built-in name, folder, zip or list.

Called through the room: `from catseye.data.sources import open_source`.
"""

from pathlib import Path

import numpy as np

from catseye.data import builtin
from catseye.data.sources.archive import ZipReader, list_zip, read_zip_head
from catseye.data.sources.corrections import apply_corrections
from catseye.data.sources.folder import FolderReader, walk_files
from catseye.data.sources.image_set import ArrayReader, ImageSet, printable_name
from catseye.data.sources.labelled import LIST_SUFFIXES, label_by_folder
from catseye.data.sources.table import read_table
from catseye.errors import DataError
from catseye.settings.schema import DataSettings

_HEAD_BYTES = 1024
_TABLES = {
    ".xlsx": "a spreadsheet",
    ".xls": "a spreadsheet",
    ".ods": "a spreadsheet",
    ".parquet": "a Parquet table",
    ".json": "a JSON file",
    ".jsonl": "a JSON file",
    ".txt": "a text file",
}


def open_source(source: str | Path, *, data_dir: Path | None = None, settings: DataSettings | None = None) -> ImageSet:
    """List the images of a folder, a zip, a CSV file or a built-in set.

    `settings` choose the layout of folders and the columns of a list, both guessed without them, and may name
    corrections, which are applied.

    Raises:
        DataError: there is nothing there, no image in it, no class to be read from it, or two ways to read it.

    """
    chosen = settings or DataSettings()
    images = _list_source(source, data_dir, chosen)
    return apply_corrections(images, Path(chosen.corrections)) if chosen.corrections else images


def _list_source(source: str | Path, data_dir: Path | None, chosen: DataSettings) -> ImageSet:
    path = Path(source)
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
        files, folders = walk_files(path)
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
