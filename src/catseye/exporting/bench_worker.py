"""One process per measured file: it runs the file at full speed and times it.

Enters: a path and the cells. Leaves: images per second and the latency of every call. Called by `bench.py`.
"""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from catseye.errors import CatseyeError, ModelFileError
from catseye.manifest import Manifest
from catseye.preprocess import Pixels
from catseye.runtimes.formats import is_model_file
from catseye.runtimes.loading import open_model

OPENING_S = 600.0
_SPAWNING = threading.Lock()
Call = Callable[[Pixels], Any]


@dataclass(frozen=True)
class Ask:
    """A cell: images per call, threads per call, calls at the same time."""

    batch: int
    threads: int
    calls: int


@dataclass
class BenchWorker:
    """A process that holds one opened file."""

    path: Path
    name: str
    format: str
    num_bytes: int
    manifest: Manifest
    process: Any
    pipe: Connection

    def measure(self, ask: Ask, seconds: float) -> tuple[float, list[float]]:
        """Images per second, and the seconds that each call took.

        Raises:
            ModelFileError: the process died or the file failed.

        """
        self.pipe.send((ask, seconds))
        rate_and_times = _receive(self.pipe, self.path, OPENING_S + 10 * seconds)
        return rate_and_times  # type: ignore[no-any-return]

    def stop(self) -> None:
        """End the process."""
        self.pipe.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()


def start_worker(path: Path, name: str, asks: Sequence[Ask], *, spin: bool, trust: bool) -> BenchWorker:
    """Start a process and wait until it has opened the file.

    It opens the file once for every thread setting; `name` labels the results.

    Raises:
        ModelFileError: the file cannot be opened.

    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    # OpenMP reads this once, when the process loads torch.
    before = os.environ.get("OMP_WAIT_POLICY")
    os.environ["OMP_WAIT_POLICY"] = "active" if spin else "passive"
    try:
        settings = sorted({(ask.threads, ask.calls) for ask in asks})
        process = context.Process(target=_work, args=(theirs, path, settings, spin, trust), daemon=True)
        with _SPAWNING, _without_main():
            process.start()
    finally:
        if before is None:
            del os.environ["OMP_WAIT_POLICY"]
        else:
            os.environ["OMP_WAIT_POLICY"] = before
    theirs.close()
    kind, num_bytes, manifest = _receive(ours, path, OPENING_S)
    return BenchWorker(path, name, kind, num_bytes, Manifest.from_json(manifest, str(path)), process, ours)


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide `__main__`, or a spawned process would run the caller's script again."""
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {name: main.__dict__[name] for name in ("__file__", "__spec__") if name in main.__dict__}
    main.__dict__.pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(hidden)


def _receive(pipe: Connection, path: Path, patience_s: float) -> Any:
    try:
        if not pipe.poll(patience_s):
            raise ModelFileError(f"{path} did not answer within {patience_s:.0f} s")
        message = pipe.recv()
    except (EOFError, OSError):
        raise ModelFileError(f"{path}: its process ended without an answer") from None
    if isinstance(message, Exception):
        raise message
    return message


def _work(pipe: Connection, path: Path, settings: Sequence[tuple[int, int]], spin: bool, trust: bool) -> None:
    """The process: open, report, then measure cells until the other end closes."""
    device = "auto" if is_model_file(path) else "cpu"
    try:
        calls: dict[tuple[int, int], Call] = {}
        for threads, at_once in settings:
            model = open_model(path, device=device, trust=trust, threads=threads, calls=at_once, spin=spin)
            calls[threads, at_once] = model.run
        kind = "eager torch" if model.network is not None else model.format
        pipe.send((kind, model.num_bytes, model.manifest.to_json()))
    except CatseyeError as error:
        pipe.send(ModelFileError(str(error)))
        return
    spec = model.manifest.preprocessing
    rng = np.random.default_rng(0)
    while True:
        try:
            ask, seconds = pipe.recv()
        except (EOFError, OSError):
            return
        shape = (ask.batch, spec.height_px, spec.width_px, spec.channels)
        pixels = rng.integers(0, 256, shape, np.uint8)
        try:
            pipe.send(_measure_file(calls[ask.threads, ask.calls], pixels, ask, seconds))
        except Exception as error:  # noqa: BLE001 - any exception of the runtime goes to the other process
            pipe.send(ModelFileError(f"{path} failed while it was measured ({error})"))


def _measure_file(call: Call, pixels: Pixels, ask: Ask, seconds: float) -> tuple[float, list[float]]:
    def loop(_: int) -> list[float]:
        _set_torch_threads(ask.threads)
        for _ in range(2):
            call(pixels)  # fills caches, and TorchScript specialises
        times: list[float] = []
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            begun = time.perf_counter()
            call(pixels)
            times.append(time.perf_counter() - begun)
        return times

    # The sum of each caller's own rate: they do not begin and end at quite the same time.
    with ThreadPoolExecutor(ask.calls) as pool:
        per_caller = list(pool.map(loop, range(ask.calls)))
    rate = sum(len(times) * ask.batch / sum(times) for times in per_caller)
    return rate, [seconds for times in per_caller for seconds in times]


def _set_torch_threads(threads: int) -> None:
    import sys

    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
