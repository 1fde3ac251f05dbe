"""Files of features: memory-mapped .npz, or .parquet for other programs.

Enters: vectors with the names, labels, splits and content digests of their images. Leaves: a file, or `Features`.
Called by embed.py and search.py. An .npz is stored without compression, so that its vectors can be memory-mapped.
"""

import json
import os
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from catseye.errors import DataError, MissingDependency, SaveError, UsageError
from catseye.files import sync_folder

FEATURE_SUFFIXES = (".npz", ".parquet")
WRITTEN_ROWS = 16_384
_LOCAL_HEADER = 30  # bytes of a zip entry's header before its name


@dataclass(frozen=True)
class Features:
    """One row per image.

    `labels` index `classes`, -1 if an image has none; `splits` are as in `ImageSet`; `digests` are those of the
    contents, in hexadecimal. `origin` says what made them: `source`, `backbone`, its `sha256` and `preprocessing`.

    Shape: values (N, F) float32, perhaps memory-mapped; norms, labels, splits (N,).
    """

    values: NDArray[np.float32] = field(repr=False)
    norms: NDArray[np.float32] = field(repr=False)
    names: Sequence[str] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    splits: NDArray[np.int8] = field(repr=False)
    digests: Sequence[str] = field(repr=False)
    classes: tuple[str, ...]
    origin: dict[str, Any]


def write_features(path: Path, features: Features) -> None:
    """Write a file completely or not at all; mapped vectors are copied in portions.

    Raises:
        UsageError: the suffix is neither .npz nor .parquet. SaveError: the disk is full.
        MissingDependency: .parquet needs pyarrow.

    """
    writer = {".npz": _write_npz, ".parquet": _write_parquet}.get(path.suffix.lower())
    if writer is None:
        raise UsageError(f"features are written to .npz or .parquet; got {path.name}; choose one of these suffixes")
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        writer(beside, features)
        with beside.open("rb") as stream:
            os.fsync(stream.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise SaveError(f"{path} cannot be written ({error.strerror}); choose another file") from None
    finally:
        beside.unlink(missing_ok=True)


def read_features(path: str | Path) -> Features:
    """Open a file that `write_features` wrote.

    Raises:
        DataError: it is not a file of features, or damaged.

    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} does not exist; catseye embed DATA --out {file.name} makes it")
    try:
        if file.suffix.lower() == ".parquet":
            return _read_parquet(file)
        return _read_npz(file)
    except (OSError, ValueError, KeyError, EOFError, struct.error, zipfile.BadZipFile) as error:
        raise DataError(
            f"{file} is not a file of features, or damaged ({error}); catseye embed DATA --out {file.name} makes one"
        ) from None


def _write_npz(path: Path, features: Features) -> None:
    about = json.dumps({"classes": list(features.classes), "origin": features.origin})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open("features.npy", "w", force_zip64=True) as stream:
            head = {"descr": "<f4", "fortran_order": False, "shape": features.values.shape}
            npy.write_array_header_1_0(stream, head)
            for start in range(0, len(features.values), WRITTEN_ROWS):
                part = features.values[start : start + WRITTEN_ROWS]
                stream.write(np.ascontiguousarray(part, "<f4").tobytes())
        small = {
            "norms": features.norms,
            "names": np.array([_storable(name) for name in features.names], dtype=np.str_),
            "labels": features.labels,
            "splits": features.splits,
            "digests": np.array(list(features.digests), dtype=np.str_),
            "about": np.array(about),
        }
        for name, array in small.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                npy.write_array(stream, array, allow_pickle=False)


def _storable(name: str) -> str:
    """NumPy drops trailing zeros of a string, so an empty one would be lost."""
    return name or "?"


def _read_npz(path: Path) -> Features:
    # np.load does not close a file that it opened and cannot read, so it gets an open stream.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        about = json.loads(str(archive["about"]))
        norms, names = archive["norms"], archive["names"]
        labels, splits, digests = archive["labels"], archive["splits"], archive["digests"]
    values = _map_member(path, "features.npy")
    if not len(values) == len(norms) == len(names) == len(labels) == len(splits) == len(digests):
        raise ValueError("its columns have different lengths")
    return Features(
        values, norms, names.tolist(), labels, splits, digests.tolist(), tuple(about["classes"]), about["origin"]
    )


def _map_member(path: Path, name: str) -> NDArray[np.float32]:
    """Memory-map the array of an uncompressed zip entry."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
        entry = archive.getinfo(name)
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError("its vectors are compressed, which catseye never does")
        stream.seek(entry.header_offset)
        head = stream.read(_LOCAL_HEADER)
        name_length, extra_length = struct.unpack("<HH", head[26:30])
        stream.seek(entry.header_offset + _LOCAL_HEADER + name_length + extra_length)
        shape, dtype = _array_head(stream)
        begin = stream.tell()
    if shape[0] * shape[1] * dtype.itemsize > path.stat().st_size - begin:
        raise ValueError("it is cut off")
    if not shape[0]:
        return np.empty(shape, np.float32)
    mapped: NDArray[np.float32] = np.memmap(path, dtype, "r", begin, shape)
    return mapped


def _array_head(stream: IO[bytes]) -> tuple[tuple[int, int], np.dtype[Any]]:
    version = npy.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"its vectors are in version {version} of NumPy's format")
    shape, fortran, dtype = npy.read_array_header_1_0(stream)
    if fortran or dtype != np.dtype("<f4") or len(shape) != 2:
        raise ValueError(f"its vectors are {dtype} {shape}, not rows of 32-bit floating-point numbers")
    return shape, dtype


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependency("pyarrow") from None
    return pyarrow


def _write_parquet(path: Path, features: Features) -> None:
    arrow, width = _arrow(), features.values.shape[1]
    kind = arrow.list_(arrow.float32(), width)
    fields = [
        arrow.field("name", arrow.string()),
        arrow.field("label", arrow.string()),
        arrow.field("split", arrow.int8()),
        arrow.field("digest", arrow.string()),
        arrow.field("features", kind),
    ]
    about = json.dumps({"classes": list(features.classes), "origin": features.origin})
    schema = arrow.schema(fields, metadata={"catseye": about})
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, len(features.values), WRITTEN_ROWS):
            rows = slice(start, start + WRITTEN_ROWS)
            flat = arrow.array(np.ascontiguousarray(features.values[rows]).reshape(-1))
            labels = [features.classes[label] if label >= 0 else None for label in features.labels[rows].tolist()]
            names = [name.encode("utf-8", "backslashreplace").decode() for name in features.names[rows]]
            columns = [names, labels, features.splits[rows].tolist(), list(features.digests[rows])]
            arrays = [arrow.array(column, fields[place].type) for place, column in enumerate(columns)]
            arrays.append(arrow.FixedSizeListArray.from_arrays(flat, width))
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def _read_parquet(path: Path) -> Features:
    from catseye.embedding.neighbours import norms_of

    arrow = _arrow()
    try:
        table = arrow.parquet.read_table(path)
    except arrow.ArrowException as error:
        raise ValueError(str(error).splitlines()[0]) from None
    about = json.loads((table.schema.metadata or {})[b"catseye"])
    classes = tuple(about["classes"])
    number = {name: index for index, name in enumerate(classes)}
    column = table.column("features").combine_chunks()
    width = column.type.list_size
    values = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    labels = np.array([number.get(name, -1) for name in table.column("label").to_pylist()], np.int64)
    splits = np.array(table.column("split").to_pylist(), np.int8)
    names, digests = table.column("name").to_pylist(), table.column("digest").to_pylist()
    return Features(values, norms_of(values), names, labels, splits, digests, classes, about["origin"])
