"""How many calls side by side, and how many images per call at most: measured on this machine with this file.

Enters: the model. Leaves: a `ServingPlan`. A fraction of a second, because a server that starts slowly is a server that
scales slowly. Called by `server.py` before it listens.
"""

import threading
import time
from dataclasses import dataclass

import numpy as np

from catseye.machine.cores import num_cores
from catseye.serving.served_model import ServedModel

BATCH_SIZES = (1, 4, 16)
GPU_BATCH_SIZES = (1, 8, 32, 64)
LARGEST_BATCH = GPU_BATCH_SIZES[-1]
# What a queue that fills and empties hands over, as shares of the largest batch; in this order a shape seldom comes
# twice in a row, which is what a measurement of one shape would miss.
TRAFFIC = (1.0, 0.0, 0.5, 1.0, 0.25, 0.75)
LONGEST_CALL_S = 0.05  # a longer call keeps every other image waiting
BUDGET_S = 0.02  # per question
LEAST_CALLS = 2
TRIES = 3
WORTH_IT = 1.08  # a second core has to win by more than such a short measurement can be wrong
# A larger batch costs nothing while requests come slowly, and under load it saves more than is measured here: fewer
# hand-overs between threads. So it has to win only just.
BATCH_WORTH_IT = 1.02


@dataclass(frozen=True)
class ServingPlan:
    """The choice, and what was measured: images per second by (concurrency, batch size)."""

    concurrency: int
    batch_size: int
    measured: dict[tuple[int, int], float]

    @property
    def images_per_s(self) -> float:
        """What this plan was measured to do; 0 where nothing was measured."""
        return self.measured.get((self.concurrency, self.batch_size), 0.0)

    def __str__(self) -> str:
        """The choice in words, for the log."""
        speed = f", about {self.images_per_s:,.0f} images/s" if self.images_per_s else ""
        return f"{self.concurrency} call(s) side by side, up to {self.batch_size} image(s) each{speed}"


def choose(model: ServedModel, *, concurrency: int = 0, batch_size: int = 0) -> ServingPlan:
    """Measure what was left open (0): the smallest batch about as fast as the best, and one call or one per core.

    A GPU is asked by one thread: its calls would only wait for each other.
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
    """A wrong 1 would halve the server for as long as it lives, so it has to win every time."""
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
    """Batches as traffic has them where at most so many images wait.

    >>> traffic_sizes(16), traffic_sizes(1)
    ([16, 1, 8, 16, 4, 12], [1])
    """
    sizes = [max(1, round(share * batch_size)) for share in TRAFFIC]
    return sizes if batch_size > 1 else [1]


def mixed_speed(model: ServedModel, concurrency: int, batch_size: int) -> tuple[float, float]:
    """Images per second with so many threads and batches of mixed sizes, and the seconds of the fastest largest one."""
    sizes = traffic_sizes(batch_size)
    batches = {size: np.zeros((size, *model.row_shape), model.row_type) for size in sizes}
    counts, fastest = [0] * concurrency, [float("inf")] * concurrency
    ends = [0.0] * concurrency
    together = threading.Barrier(concurrency)

    def call(number: int) -> None:
        try:
            for rows in batches.values():
                model.compute(rows, False)  # what the first call of a shape or thread allocates is no part of its speed
        except BaseException:
            together.abort()  # or the others would wait for ever
            raise
        together.wait()
        begun = before = time.perf_counter()
        while before < begun + BUDGET_S or counts[number] < LEAST_CALLS * batch_size:
            for size in sizes:  # always all of them: else the threads would count unlike batches
                model.compute(batches[size], False)
                counts[number] += size
                now = time.perf_counter()
                fastest[number] = min(fastest[number], now - before if size == batch_size else float("inf"))
                before = now
        ends[number] = before - begun

    threads = [threading.Thread(target=call, args=(number,)) for number in range(1, concurrency)]
    for thread in threads:
        thread.start()
    call(0)
    for thread in threads:
        thread.join()
    return sum(count / took for count, took in zip(counts, ends, strict=True)), min(fastest)
