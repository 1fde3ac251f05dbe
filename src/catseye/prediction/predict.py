"""`catseye predict --engine ray`: can be stopped, and continues when repeated.

Enters: a model and paths. Leaves: a folder of Parquet files and a `PredictionSummary`. Finished parts are kept, only
missing ones are computed. Called by cli.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from catseye.errors import Interrupted, MissingDependency, UsageError
from catseye.files import hold_folder, make_folder, remove_leftovers
from catseye.prediction.parts import finished
from catseye.prediction.plan import digest_of_model, make_plan
from catseye.prediction.ray_engine import RayWorkers, open_classifier, run_parts

PART_SIZE = 2000  # seconds of work on one core: little is lost if it is killed, and there are few files
_ONE_PER_CORE = RayWorkers()


@dataclass(frozen=True)
class PredictionSummary:
    """The result of a call.

    `num_failed` counts the rows with an error in the whole folder.
    """

    out: str
    num_images: int
    num_failed: int
    num_parts: int
    num_parts_before: int
    num_images_now: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def predict_in_parts(
    model: Path,
    paths: Iterable[str],
    out: Path,
    *,
    top: int = 1,
    part_size: int = PART_SIZE,
    workers: RayWorkers = _ONE_PER_CORE,
    tell: Callable[[str], object] = lambda line: None,
) -> PredictionSummary:
    """Classify `paths` into `out`, with `workers`, by default one per core.

    Raises:
        UsageError: the folder is another call's, or another process uses it. ModelFileError, DataError, SaveError.
        WorkerError: a worker failed. Interrupted: Ctrl-C; finished parts are kept.

    """
    _require_engine()
    begun = time.perf_counter()
    digest = digest_of_model(model)
    open_classifier(model, workers.device, workers.trust)  # report an unusable model now, from this process
    with _alone(out):
        plan = make_plan(paths, out, model_sha256=digest, part_size=part_size, top=top)
        remove_leftovers(out)
        before = finished(out, plan)
        missing = [part for part in range(plan.num_parts) if part not in before]
        tell(f"{plan.num_images:,} images in {plan.num_parts:,} parts; {len(missing):,} parts to do")
        num_failed, num_now = sum(before.values()), 0
        try:
            results: Iterable[dict[str, Any]] = ()
            if missing:
                results = run_parts(model, out, missing, workers)
            for number, row in enumerate(results, 1):
                num_now += row["images"]
                num_failed += row["failed"]
                rate = num_now / (time.perf_counter() - begun)
                tell(f"part {row['part']} done, {number} of {len(missing)}; {rate:,.0f} images/s")
        except KeyboardInterrupt:
            raise Interrupted(
                f"stopped; finished parts are kept in {out}; repeat the same command to continue", signal.SIGINT
            ) from None
    seconds = round(time.perf_counter() - begun, 2)
    return PredictionSummary(str(out), plan.num_images, num_failed, plan.num_parts, len(before), num_now, seconds)


def _require_engine() -> None:
    from importlib.util import find_spec

    for module in ("ray", "pyarrow"):
        if find_spec(module) is None:
            raise MissingDependency(module)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Lock the folder.

    Two calls at once would compute everything twice. The lock ends with the process.

    Raises:
        UsageError: another process uses this folder, or it is a file.

    """
    if os.name != "posix":
        yield
        return
    import fcntl

    try:
        make_folder(out)
        descriptor = os.open(out / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written to ({error.strerror})") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with hold_folder(out):  # the lock file may have been deleted since
                yield
        except BlockingIOError:
            raise UsageError(f"another process is writing to {out}; wait for it, or choose another --out") from None
    finally:
        os.close(descriptor)
