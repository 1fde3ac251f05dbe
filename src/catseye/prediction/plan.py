"""The images to classify: a list on disk, divided into parts.

Enters: paths, one at a time. Leaves: OUT/images.jsonl, OUT/plan.json and a `PredictionPlan`, which a second call must
match; memory does not grow with the number of images. Called by predict.py and, in each worker, by ray_engine.py.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import file_digest, sha256
from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

import catseye
from catseye.errors import DataError, ModelFileError, SaveError, UsageError
from catseye.files import make_folder, write_atomically

PLAN_FILE = "plan.json"
LIST_FILE = "images.jsonl"  # one JSON string per line: a name may contain a line break, or bytes that are not UTF-8


@dataclass(frozen=True)
class PredictionPlan:
    """The parts of a list of images, and the model they are classified with.

    `offsets[i]` is the byte of the list where part i begins; the last part may be shorter than `part_size`.
    """

    model_sha256: str
    images_sha256: str
    num_images: NonNegativeInt
    part_size: PositiveInt
    top: int
    offsets: tuple[NonNegativeInt, ...]

    @property
    def num_parts(self) -> int:
        """The number of parts; each becomes one file."""
        return len(self.offsets)

    def length(self, part: int) -> int:
        """The number of images in a part."""
        return min(self.part_size, self.num_images - part * self.part_size)

    def images(self, out: Path, part: int) -> list[str]:
        """The paths of one part, read from the list alone."""
        with (out / LIST_FILE).open("rb") as stream:
            stream.seek(self.offsets[part])
            return [json.loads(stream.readline()) for _ in range(self.length(part))]


def make_plan(paths: Iterable[str], out: Path, *, model_sha256: str, part_size: int, top: int) -> PredictionPlan:
    """Write the list, or check that it equals that of an earlier call.

    Raises:
        UsageError: the folder holds something else, or answers of another model or for other images.
        DataError: there are no images.
        SaveError: the list cannot be written.

    """
    begun = out / PLAN_FILE
    if out.is_dir() and not begun.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise UsageError(f"{out} holds something else; --out takes a new folder, or one that an earlier call began")
    beside = out / f".{LIST_FILE}.{os.getpid()}.new"
    try:
        make_folder(out)
        with beside.open("wb") as stream:
            digest, num_images, position = sha256(), 0, 0
            offsets: list[int] = []
            for path in paths:
                if num_images % part_size == 0:
                    offsets.append(position)
                line = json.dumps(path).encode() + b"\n"
                digest.update(line)
                position += stream.write(line)
                num_images += 1
            stream.flush()
            os.fsync(stream.fileno())
        if not num_images:
            raise DataError("nothing to classify: the list is empty")
        plan = PredictionPlan(model_sha256, digest.hexdigest(), num_images, part_size, top, tuple(offsets))
        if begun.exists():
            _require_same(plan, read_plan(out), out)
        beside.replace(out / LIST_FILE)
        if not begun.exists():
            write_atomically(begun, json.dumps({**asdict(plan), "catseye": catseye.__version__}, indent=1) + "\n")
    except OSError as error:
        raise SaveError(f"--out {out} cannot be written ({error.strerror})") from None
    finally:
        with suppress(OSError):
            beside.unlink()
    return plan


def read_plan(out: Path) -> PredictionPlan:
    """The plan of a folder.

    Raises:
        UsageError: it is damaged.

    """
    try:
        content = json.loads((out / PLAN_FILE).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
        content = {
            key.replace("pictures", "images"): value for key, value in content.items()
        }  # written by an older version
        return TypeAdapter(PredictionPlan).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error)
    raise UsageError(f"{out / PLAN_FILE} is damaged ({reason}); choose another --out")


def _require_same(wanted: PredictionPlan, begun: PredictionPlan, out: Path) -> None:
    differences = {
        "of another model": wanted.model_sha256 != begun.model_sha256,
        f"for {begun.num_images:,} images, and now there are {wanted.num_images:,}, or others": (
            wanted.images_sha256 != begun.images_sha256
        ),
        f"in parts of {begun.part_size:,}, and now --part-size is {wanted.part_size:,}": (
            wanted.part_size != begun.part_size
        ),
        f"with --top {begun.top}, and now it is {wanted.top}": wanted.top != begun.top,
    }
    for what, differs in differences.items():
        if differs:
            raise UsageError(
                f"{out} holds answers {what}; repeat the same command to continue, or choose another --out"
            )


def digest_of_model(path: Path) -> str:
    """One SHA-256 of the exported file or the run's weights.

    It changes when the model does.

    Raises:
        ModelFileError: it cannot be read.

    """
    files = [path / "model.safetensors"] if path.is_dir() else [path]
    if path.suffix.lower() == ".xml":
        files.append(path.with_suffix(".bin"))  # OpenVINO keeps its weights there
    parts = []
    for file in files:
        try:
            with file.open("rb") as stream:
                parts.append(file_digest(stream, "sha256").hexdigest())
        except OSError as error:
            raise ModelFileError(f"{file} cannot be read ({error.strerror})") from None
    return parts[0] if len(parts) == 1 else sha256("".join(parts).encode()).hexdigest()


def read_list(path: Path) -> Iterator[str]:
    """Paths from a text file, one per line; empty lines are skipped.

    Raises:
        DataError: it cannot be read.

    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as stream:
            for line in stream:
                if name := line.rstrip("\r\n"):
                    yield name
    except OSError as error:
        raise DataError(f"--list {path} cannot be read ({error.strerror})") from None
