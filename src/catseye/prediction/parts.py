"""One part: its images in, one Parquet file out, complete or absent.

Enters: a classifier, a plan, the number of a part. Leaves: OUT/part-NNNNNN.parquet with a row per image, in the order
of the list; its columns are those of `predict --csv`. Called by ray_engine.py; no engine is imported here.
"""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catseye.classifier import Classifier
from catseye.errors import MissingDependency
from catseye.files import write_atomically
from catseye.prediction.paths import PredictionRow, predict_files
from catseye.prediction.plan import PredictionPlan

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY = b"catseye"


def part_path(out: Path, part: int) -> Path:
    """The file of a part."""
    return out / f"part-{part:06d}.parquet"


def do_part(classifier: Classifier, out: Path, plan: PredictionPlan, part: int) -> dict[str, int]:
    """Classify one part and write it.

    Returns its number, its images and how many of them could not be read.
    """
    rows = list(predict_files(classifier, plan.images(out, part), top=plan.top))
    num_failed = sum(row.error is not None for row in rows)
    record = {"part": part, "images": len(rows), "failed": num_failed, "model_sha256": plan.model_sha256}
    table = to_table(rows, min(plan.top, len(classifier.classes)))
    stream = io.BytesIO()
    _parquet().write_table(
        table.replace_schema_metadata({METADATA_KEY: json.dumps(record)}), stream, compression="zstd"
    )
    write_atomically(part_path(out, part), stream.getvalue())
    return {"part": part, "images": len(rows), "failed": num_failed}


def to_table(rows: Iterable[PredictionRow], top: int) -> "pa.Table":
    r"""A table of path, class, probability (0 to 1), …, unknown, error.

    More classes are class_2, probability_2, …; a missing value is null. Bytes of a name that are not UTF-8 are written
    as \xNN.
    """
    import pyarrow as pa

    columns: dict[str, list[Any]] = {"path": []}
    types: dict[str, Any] = {"path": pa.string()}
    for number in range(1, top + 1):
        suffix = "" if number == 1 else f"_{number}"
        columns |= {f"class{suffix}": [], f"probability{suffix}": []}
        types |= {f"class{suffix}": pa.string(), f"probability{suffix}": pa.float64()}
    columns |= {"unknown": [], "error": []}
    types |= {"unknown": pa.bool_(), "error": pa.string()}
    for row in rows:
        answers: list[Any] = [value for pair in row.top for value in pair] or [None] * (2 * top)
        error = None if row.error is None else _printable_path(row.error)
        cells = [_printable_path(row.path), *answers, row.unknown if error is None else None, error]
        for column, cell in zip(columns.values(), cells, strict=True):
            column.append(cell)
    return pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})


def finished(out: Path, plan: PredictionPlan) -> dict[int, int]:
    """The complete parts, with the number of images in each that could not be read."""
    return {part: failed for part in range(plan.num_parts) if (failed := _failed(out, plan, part)) is not None}


def _failed(out: Path, plan: PredictionPlan, part: int) -> int | None:
    path = part_path(out, part)
    if not path.exists():
        return None
    import pyarrow as pa

    try:
        facts = _parquet().read_metadata(path)  # reads only the end of the file
        record = json.loads(facts.metadata[METADATA_KEY])
        mine = record["part"] == part and record["model_sha256"] == plan.model_sha256
        return int(record["failed"]) if mine and facts.num_rows == plan.length(part) else None
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None  # truncated or foreign: it is computed again


def _printable_path(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _parquet() -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        raise MissingDependency("pyarrow") from None
    return parquet
