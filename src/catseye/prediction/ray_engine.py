"""The missing parts, distributed by Ray Data to workers.

Enters: a folder with its plan. Leaves: the missing Parquet files, written by the workers themselves, each of which
holds the model once; only a few numbers per part pass through Ray, so neither its object store nor this process grows
with the images. RAY_ADDRESS names a cluster; without it Ray is started here, for this call. Called by predict.py.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catseye.classifier import Classifier
from catseye.errors import CatseyeError, MissingDependency, ModelFileError, UsageError, WorkerError
from catseye.machine.cores import num_cores
from catseye.prediction.parts import do_part
from catseye.prediction.plan import digest_of_model, read_plan
from catseye.runtimes.loading import open_model

STORE_BYTES = 80_000_000  # the minimum of Ray; only a few numbers per part pass through it
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no usage statistics are sent
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the future default, without its warning
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}


@dataclass(frozen=True)
class RayWorkers:
    """The workers: `num` processes on `device`.

    `num` 0 means one per core; `trust`: the model file may run code.
    """

    num: int = 0
    device: str = "auto"
    trust: bool = False


class RayWorker:
    """One process: opens the model once, then computes one part after the other."""

    def __init__(self, model: str, out: str, device: str, trust: bool) -> None:
        self.out, self.plan = Path(out), read_plan(Path(out))
        if digest_of_model(Path(model)) != self.plan.model_sha256:
            raise ModelFileError(f"{model} changed after this call began; start again with another --out")
        self.classifier = open_classifier(Path(model), device, trust)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row with the number of a part -> its result."""
        return do_part(self.classifier, self.out, self.plan, int(row["item"]))


def open_classifier(model: Path, device: str, trust: bool) -> Classifier:
    """The model as `predict` opens it, with one thread: each worker uses one core."""
    return open_model(model, device=device, trust=trust, threads=1).classifier()


def run_parts(model: Path, out: Path, parts: Sequence[int], workers: RayWorkers) -> Iterator[dict[str, Any]]:
    """Compute these parts; yields each result once it is on disk, in any order.

    Raises:
        MissingDependency: Ray is not installed. WorkerError: a worker failed permanently; finished parts are kept.

    """
    os.environ.update(QUIET)
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingDependency("ray") from None
    here = {"num_cpus": workers.num or num_cores(), "object_store_memory": STORE_BYTES, "include_dashboard": False}
    elsewhere = bool(os.environ.get("RAY_ADDRESS"))
    connection = {} if elsewhere else {"address": "local", **here}
    with nullcontext() if elsewhere else _home_of_ray():
        yield from _run_in_ray(ray, connection, model, out, parts, workers)


@contextmanager
def _home_of_ray() -> Iterator[None]:
    """A home folder for the processes that Ray starts here.

    They store a token in it. An empty cluster configuration in it stops them from contacting cloud metadata addresses
    (ray._common.usage.usage_lib, Ray 2.60), which they do even with usage statistics switched off.
    """
    before = os.environ.get("HOME")
    with tempfile.TemporaryDirectory(prefix="catseye-ray-") as home:
        (Path(home) / "ray_bootstrap_config.yaml").write_text("{}\n")
        os.environ["HOME"] = home
        try:
            yield
        finally:
            if before is None:
                del os.environ["HOME"]
            else:
                os.environ["HOME"] = before


def _run_in_ray(
    ray: Any,
    connection: dict[str, Any],
    model: Path,
    out: Path,
    parts: Sequence[int],
    workers: RayWorkers,
) -> Iterator[dict[str, Any]]:
    ray.init(**connection, logging_level="ERROR", log_to_driver=False)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        num, gpus = _share_out(ray.cluster_resources(), workers.num, len(parts), workers.device)
        done = ray.data.from_items(list(parts), override_num_blocks=len(parts)).map(
            RayWorker,
            fn_constructor_args=(str(model.absolute()), str(out.absolute()), workers.device, workers.trust),
            # One part at a time each: a part queued at a slow worker would leave a fast one idle.
            compute=ray.data.ActorPoolStrategy(size=num, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            num_gpus=gpus,
        )
        yield from done.iter_rows()
    except Exception as error:
        raise _in_words(error) from error
    finally:
        ray.shutdown()


def _share_out(there: dict[str, float], workers: int, num_parts: int, device: str) -> tuple[int, float | None]:
    """The number of workers, and the share of a GPU for each.

    Ray would wait forever for missing resources.

    Raises:
        UsageError: there are fewer cores or no GPU.

    """
    cores, gpus = int(there.get("CPU", 0)), there.get("GPU", 0.0)
    if workers > cores:
        raise UsageError(f"--workers is at most the cores that Ray has, {cores}; got {workers}")
    workers = min(workers or cores, num_parts)
    if not device.startswith("cuda"):
        return workers, None
    if not gpus:
        raise UsageError(f"--device {device} needs a GPU that Ray knows of; it has none; leave --device out")
    return workers, min(1.0, gpus / workers)


def _in_words(error: BaseException) -> CatseyeError:
    """The error that a worker raised on purpose, or one line about an unexpected one."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__module__ == "catseye.errors" and isinstance(cause, CatseyeError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    lines = [line for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    return WorkerError(
        f"a worker failed ({lines[-1].strip()[:300]}); finished parts are kept; repeat the same command to continue"
    )
