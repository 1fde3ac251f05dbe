"""Measures how many calls at once, and images per call, suit this machine.

Enters: the model. Leaves: a `ServingPlan`. It takes a fraction of a second, because a server that starts slowly also
scales slowly. Called by `server.py` before it listens.
"""

import threading
import time
from dataclasses import dataclass

import numpy as np

from catseye.counting import count
from catseye.machine.cores import num_cores
from catseye.serving.served_model import ServedModel

BATCH_SIZES = (1, 4, 16)
GPU_BATCH_SIZES = (1, 8, 32, 64)
LARGEST_BATCH = GPU_BATCH_SIZES[-1]
# Typical batch sizes, as shares of the largest. In this order a shape seldom comes twice in a row, as in real traffic;
# measuring with a single shape would miss the cost of changing it.
TRAFFIC = (1.0, 0.0, 0.5, 1.0, 0.25, 0.75)
LONGEST_CALL_S = 0.05  # a longer call keeps every other image waiting
BUDGET_S = 0.02  # per measurement
LEAST_CALLS = 2
TRIES = 3
WORTH_IT = 1.08  # more cores must win by more than the error of such a short measurement
# A larger batch costs nothing while requests come slowly, and under load it saves more than is measured here: fewer
# switches between threads. So a small gain is enough.
BATCH_WORTH_IT = 1.02


@dataclass(frozen=True)
class ServingPlan:
    """The plan, and the measured images per second by (concurrency, batch size)."""

    concurrency: int
    batch_size: int
    measured: dict[tuple[int, int], float]

    @property
    def images_per_s(self) -> float:
        """The measured speed of this plan; 0 if nothing was measured."""
        return self.measured.get((self.concurrency, self.batch_size), 0.0)

    def __str__(self) -> str:
        """The plan in words, for the log."""
        speed = f", about {self.images_per_s:,.0f} images/s" if self.images_per_s else ""
        calls, images = count(self.concurrency, "call"), count(self.batch_size, "image")
        return f"{calls} at a time, up to {images} each{speed}"


def choose(model: ServedModel, *, concurrency: int = 0, batch_size: int = 0) -> ServingPlan:
    """Measure and choose what was left open (0).

    That is the smallest batch about as fast as the best, and one call at a time or one per core. A GPU gets one thread:
    more calls would only wait for each other.
    """
    measured: dict[tuple[int, int], float] = {}
    if model.padded and not concurrency:
        concurrency = 1
    if not batch_size:
        batch_size = 1
        for size in GPU_BATCH_SIZES if model.runtime in ("cuda", "tensorrt") else BATCH_SIZES:
            speed, call_s = mixed_speed(model, 1, size)
            measured[1, size] = speed
            if size == 1 or speed > measured[1, batch_size] * BATCH_WORTH_IT:
                batch_size = size
            # The next size takes about four times as long.
            if call_s * 4 > LONGEST_CALL_S:
                break
    if not concurrency:
        concurrency = _concurrency(model, batch_size, measured)
    return ServingPlan(concurrency, batch_size, measured)


def _concurrency(model: ServedModel, batch_size: int, measured: dict[tuple[int, int], float]) -> int:
    """One call at a time, or one per core, by measurement.

    A wrong 1 would halve the speed of the server for good, so 1 must win every time.
    """
    cores = num_cores()
    if (1, batch_size) not in measured:
        measured[1, batch_size] = mixed_speed(model, 1, batch_size)[0]
    for _ in range(TRIES if cores > 1 else 0):
        speed = mixed_speed(model, cores, batch_size)[0]
        measured[cores, batch_size] = max(speed, measured.get((cores, batch_size), 0.0))
        if speed > measured[1, batch_size] * WORTH_IT:
            return cores
    return 1


def traffic_sizes(batch_size: int) -> list[int]:
    """Typical batch sizes if at most `batch_size` images are waiting.

    >>> traffic_sizes(16), traffic_sizes(1)
    ([16, 1, 8, 16, 4, 12], [1])
    """
    sizes = [max(1, round(share * batch_size)) for share in TRAFFIC]
    return sizes if batch_size > 1 else [1]


def mixed_speed(model: ServedModel, concurrency: int, batch_size: int) -> tuple[float, float]:
    """Images per second with mixed batch sizes, and seconds of a full batch.

    `concurrency` threads compute at once; the seconds are those of the fastest full batch.
    """
    sizes = traffic_sizes(batch_size)
    batches = {size: np.zeros((size, *model.row_shape), model.row_type) for size in sizes}
    counts, fastest = [0] * concurrency, [float("inf")] * concurrency
    ends = [0.0] * concurrency
    together = threading.Barrier(concurrency)

    def call(number: int) -> None:
        try:
            for rows in batches.values():
                model.compute(rows, False)  # not timed: the first call of a shape or thread allocates memory
            together.wait()
        except BaseException:
            together.abort()  # or the others would wait forever
            raise
        begun = before = time.perf_counter()
        while before < begun + BUDGET_S or counts[number] < LEAST_CALLS * batch_size:
            for size in sizes:  # always all of them: else the threads would count different batches
                model.compute(batches[size], False)
                counts[number] += size
                now = time.perf_counter()
                fastest[number] = min(fastest[number], now - before if size == batch_size else float("inf"))
                before = now
        ends[number] = before - begun

    threads = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(1, concurrency)]
    for thread in threads:
        thread.start()
    call(0)
    for thread in threads:
        thread.join()
    return sum(count / took for count, took in zip(counts, ends, strict=True)), min(fastest)
