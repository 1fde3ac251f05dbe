"""One thread for a network so small that more are slower, measured before the first step.

Enters: what a run trains. Leaves: torch's number of threads while it does, and threads.json, so that a resumed run
computes with as many: sums depend on it in their last digits. Called by train.py.

Threads that wait for each other lose most where other programs use the cores too, and the steps of a small network are
over before they have gained anything. More threads are taken only where they are clearly faster. Nothing here touches
the run: it computes with a copy, and the random generators are as before.
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
SMALL_STEP_S = 0.25  # processor time; where a step takes more of it, threads have enough to do


@dataclass(frozen=True)
class StepTimes:
    """Seconds of a step with one thread and with all, the fastest of some rounds; and the processor's, with one.

    What else the machine does lengthens the first two and leaves the third as it is.
    """

    one_s: float
    all_s: float
    processor_s: float


@contextmanager
def measured_threads(run: Run, built: Assembled) -> Iterator[int]:
    """As many threads as the run is best trained with; the number before is set again afterwards."""
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
    """A forward and backward pass with one thread and with all, in turn; a large network is not measured to the end."""
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
                if number:  # the first round prepares memory and kernels
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
    """A grey batch of the run's size; of features where a frozen backbone was run once."""
    loader, spec = built.loaders["train"], built.state.spec
    num = max(2, min(loader.batch_size, len(loader.indices)))
    if isinstance(loader, FeatureLoader):
        return torch.full((num, loader.features.shape[2], 1, 1), 0.5)
    return torch.full((num, spec.channels, spec.height_px, spec.width_px), 0.5)


def _may_choose(built: Assembled) -> bool:
    """Whether there is a choice: on a CPU, alone, with several threads that nobody has asked for."""
    device = next((parameter.device.type for parameter in built.state.model.parameters()), "cpu")
    is_set = "OMP_NUM_THREADS" in os.environ
    return device == "cpu" and torch.get_num_threads() > 1 and built.state.processes.world_size == 1 and not is_set


def _recorded(run: Run) -> int | None:
    try:
        return int(json.loads((run.path / THREADS_FILE).read_text())["threads"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
