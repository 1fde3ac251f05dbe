"""One variant of training, timed in a fresh process; called by train_speed.py.

Prints one line of JSON.

    python benchmarks/train_variants.py classic+bf16 FOLDER --seconds 20

A variant is a base, `article` (baselines/article_loop.py) or `classic` (catseye's recipe through its own loader,
`assemble` and `train_step`), followed by the switches that are changed against it. Switches that are environment
variables (`ENVIRONMENT`) have to be set before the process starts; train_speed.py does that. `catseye train` itself
keeps freed memory, so `classic+malloc` is what its users get.
"""

import argparse
import json
import math
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from pathlib import Path

import torch
from baselines import article_loop
from rich.console import Console
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from catseye.data.augment import augment_batch
from catseye.data.prepare import Prepared
from catseye.machine.devices import keep_freed_memory
from catseye.settings.merge import load_settings
from catseye.settings.schema import Settings
from catseye.training.assemble import assemble
from catseye.training.request import RunRequest
from catseye.training.session import RunSession, Workplace, open_session
from catseye.training.step import TrainState, train_step

CPU = torch.device("cpu")
EPOCHS = 50
WARM_UP_STEPS = 4
LEAST_STEPS = 5

# Switch -> what is set before the process starts.
ENVIRONMENT = {
    "1-thread": {"OMP_NUM_THREADS": "1"},
    "2-threads": {"OMP_NUM_THREADS": "2"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "active": {"OMP_WAIT_POLICY": "ACTIVE"},
    "malloc-env": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2000000000"},
    "hugepages": {"THP_MEM_ALLOC_ENABLE": "1"},
}
# Switch -> changed setting of the recipe.
SETTINGS = {
    "bf16": {"training.precision": "bf16"},
    "batch-256": {"training.batch_size": 256},
    "batch-512": {"training.batch_size": 512},
    "24px": {"data.input_px": 24},
}
# Other switches.
OTHERS = {"memory", "channels_last", "contiguous", "compile", "fused", "malloc", "bf16-math"}
SWITCHES = {
    "article": {*ENVIRONMENT, "memory", "channels_last", "bf16", "bf16-math", "compile", "fused", "malloc"},
    "classic": {*ENVIRONMENT, *SETTINGS, *(OTHERS - {"memory", "channels_last"})},
}


class Changed(nn.Module):
    """A network that gets its input in another layout or computes in another type."""

    def __init__(self, model: nn.Module, *, layout: torch.memory_format | None = None, bf16: bool = False) -> None:
        super().__init__()
        self.model, self.layout, self.bf16 = model, layout, bf16

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, C, H, W) -> (N, K) float32."""
        if self.layout is not None:
            x = x.contiguous(memory_format=self.layout)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            logits: Tensor = self.model(x)
        return logits.float()


class MemoryBatches:
    """Catseye's batches from memory for the article's loop.

    With catseye's batched augmentation, in the default layout, as floats.
    """

    def __init__(self, prepared: Prepared, settings: Settings) -> None:
        self.prepared, self.settings, self.epoch = prepared, settings, count()

    def __len__(self) -> int:
        return self.prepared.loaders["train"].num_batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        number = next(self.epoch)
        generator = torch.Generator().manual_seed(number)
        for batch in self.prepared.loaders["train"].epoch(number):
            x = augment_batch(batch.pixels, self.settings.augment, self.prepared.spec, generator)
            yield x.contiguous(), batch.labels


def parse(variant: str) -> tuple[str, set[str]]:
    base, *switches = variant.split("+")
    unknown = set(switches) - SWITCHES.get(base, set())
    if base not in SWITCHES or unknown:
        known = "; ".join(f"{base} with {', '.join(sorted(switches))}" for base, switches in SWITCHES.items())
        raise SystemExit(f"a variant must be a base and its switches, joined by +; got {variant!r}; known: {known}")
    return base, set(switches)


def set_process(switches: set[str]) -> None:
    if "malloc" in switches:
        keep_freed_memory()
    if "bf16-math" in switches:
        torch.backends.mkldnn.conv.fp32_precision = "bf16"
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"


def make_steps(variant: str, folder: Path) -> Iterator[int]:
    """Trains while it is iterated; yields the number of images of every step."""
    base, switches = parse(variant)
    return (article_steps if base == "article" else classic_steps)(folder, switches)


def article_steps(folder: Path, switches: set[str]) -> Iterator[int]:
    loader = article_loop.make_loader(folder)
    if "memory" in switches:
        settings = load_settings("classic")
        loader = MemoryBatches(session_of(folder, settings).prepared, settings)
    torch.manual_seed(0)
    model = article_loop.make_model()
    layout = torch.channels_last if "channels_last" in switches else None
    if layout is not None:
        model = model.to(memory_format=layout)
    optimizer = change_optimizer(article_loop.make_optimizer(model), switches)
    if layout is not None or "bf16" in switches:
        model = Changed(model, layout=layout, bf16="bf16" in switches)
    if "compile" in switches:
        model = torch.compile(model)
    return article_loop.steps(loader, model, optimizer, EPOCHS)


def classic_steps(folder: Path, switches: set[str]) -> Iterator[int]:
    values = {key: value for switch in switches for key, value in SETTINGS.get(switch, {}).items()}
    built = assemble(session_of(folder, load_settings("classic", values=values)))
    state = built.state
    state.optimizer = change_optimizer(state.optimizer, switches)
    if "contiguous" in switches:
        state.model.to(memory_format=torch.contiguous_format)
        state.model = Changed(state.model, layout=torch.contiguous_format)
    if "compile" in switches:
        state.model = torch.compile(state.model)
    state.model.train()
    return whole_steps(state, lambda epoch: built.loaders["train"].epoch(epoch))


def session_of(folder: Path, settings: Settings) -> RunSession:
    return open_session(RunRequest(folder), settings, Workplace(CPU, Console(stderr=True)))


def whole_steps(state: TrainState, epoch: Callable[[int], Iterator]) -> Iterator[int]:
    for number in count():
        for batch in epoch(number):
            yield train_step(state, batch).num_images


def change_optimizer(optimizer: Optimizer, switches: set[str]) -> Optimizer:
    if "fused" not in switches:
        return optimizer
    groups = [{**group, "fused": True, "foreach": False} for group in optimizer.param_groups]
    return SGD(groups, lr=article_loop.LR, momentum=article_loop.MOMENTUM, fused=True)


def measure(steps: Iterator[int], seconds: float) -> dict[str, float | int]:
    """Warm up, then run complete steps for `seconds`, at least LEAST_STEPS."""
    begun = time.perf_counter()
    for _ in range(WARM_UP_STEPS):
        next(steps)
    warm_s = time.perf_counter() - begun
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    images, times = 0, [time.perf_counter()]
    while times[-1] - times[0] < seconds or len(times) <= LEAST_STEPS:
        images += next(steps)
        times.append(time.perf_counter())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    num_steps = len(times) - 1
    return {
        "images_per_s": images / (times[-1] - times[0]),
        "steps": num_steps,
        "median_step_s": statistics.median(b - a for a, b in pairwise(times)),
        "warm_up_s": warm_s,
        "page_faults_per_step": (usage.ru_minflt - faults) / num_steps,
        "peak_memory_mb": usage.ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    set_process(parse(options.variant)[1])
    measured = measure(make_steps(options.variant, options.folder), options.seconds)
    assert math.isfinite(measured["images_per_s"])
    print(json.dumps({"variant": options.variant, "threads": torch.get_num_threads(), **measured}))


if __name__ == "__main__":
    main()
