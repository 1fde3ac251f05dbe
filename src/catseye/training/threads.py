"""One thread for small networks on which more threads are slower, by measurement.

Enters: what a run trains. Leaves: torch's number of threads during the run, and threads.json, so that a resumed run
uses the same number: the last digits of sums depend on it. Called by train.py.

Threads that wait for each other lose most time when other programs use the cores too, and the steps of a small network
are too short to gain from them. More threads are used only if they are clearly faster. The measurement does not affect
the run: it uses a copy of the network and restores the random generators.
"""

import copy
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from catseye.models.registry import training_outputs
from catseye.runs import Run, write_json
from catseye.training.assemble import Assembled
from catseye.training.cached_features import FeatureLoader

THREADS_FILE = "threads.json"
CLEARLY_FASTER = 1.2
ROUNDS = 3
SMALL_STEP_S = 0.25  # processor time; a step that takes more gives threads enough to do


@dataclass(frozen=True)
class StepTimes:
    """Seconds of a step with one thread and with all, the fastest of some rounds.

    The processor time is that with one.

    Other programs on the machine lengthen the first two, not the third.
    """

    one_s: float
    all_s: float
    processor_s: float


@contextmanager
def measured_threads(run: Run, built: Assembled) -> Iterator[int]:
    """Set the best number of threads for the run; restore it afterwards."""
    before = torch.get_num_threads()
    threads = _recorded(run) or before
    if threads == before and _may_choose(built) and not (run.path / THREADS_FILE).exists():
        times = measure_steps(built, before)
        threads = 1 if times.one_s < CLEARLY_FASTER * times.all_s and times.processor_s < SMALL_STEP_S else before
        write_json(run.path / THREADS_FILE, {"threads": threads, **asdict(times)})
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(before)


def measure_steps(built: Assembled, num_threads: int) -> StepTimes:
    """Time a forward and backward pass with one thread and with all, in turn.

    Stops early for a large network.
    """
    before = torch.get_num_threads()
    single, every, processor = [math.inf], [math.inf], [math.inf]
    with torch.random.fork_rng(devices=[]):
        model = copy.deepcopy(built.state.model).train()
        x = _batch(built)
        try:
            for number in range(ROUNDS + 1):
                torch.set_num_threads(1)
                wall_s, spent_s = _step_s(model, x)
                if spent_s > 8 * SMALL_STEP_S:
                    return StepTimes(wall_s, wall_s, spent_s)
                torch.set_num_threads(num_threads)
                all_s, _ = _step_s(model, x)
                if number:  # the first round is a warm-up
                    single, every, processor = [*single, wall_s], [*every, all_s], [*processor, spent_s]
        finally:
            torch.set_num_threads(before)
    return StepTimes(min(single), min(every), min(processor))


def _step_s(model: nn.Module, x: Tensor) -> tuple[float, float]:
    begun, spent = time.perf_counter(), time.process_time()
    logits, auxiliary = training_outputs(model, x)
    torch.autograd.backward(torch.cat([logits, *auxiliary]).float().square().mean())
    model.zero_grad(set_to_none=True)
    return time.perf_counter() - begun, time.process_time() - spent


def _batch(built: Assembled) -> Tensor:
    """A grey batch of the run's size, or of features if those are cached."""
    loader, spec = built.loaders["train"], built.state.spec
    num = max(2, min(loader.batch_size, len(loader.indices)))
    if isinstance(loader, FeatureLoader):
        return torch.full((num, loader.features.shape[2], 1, 1), 0.5)
    return torch.full((num, spec.channels, spec.height_px, spec.width_px), 0.5)


def _may_choose(built: Assembled) -> bool:
    """Whether there is a choice of threads.

    There is on a CPU, in a single process, with several threads that the user has not set.
    """
    device = next((parameter.device.type for parameter in built.state.model.parameters()), "cpu")
    is_set = "OMP_NUM_THREADS" in os.environ
    return device == "cpu" and torch.get_num_threads() > 1 and built.state.processes.world_size == 1 and not is_set


def _recorded(run: Run) -> int | None:
    try:
        return int(json.loads((run.path / THREADS_FILE).read_text())["threads"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
