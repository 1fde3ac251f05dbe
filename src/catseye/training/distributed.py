"""Several processes train one network: which process this is, what they exchange.

Enters: torchrun's environment variables. Leaves: `Processes`; in an ordinary run it is a single one, so that one
process and many run the same code. `session.py` joins through it, `fit.py` gathers, `step.py` sums.
`share` of the loaders (data/loaders.py) divides the data; `launch.py` starts the processes.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from catseye.counting import count
from catseye.data.loaders import Loader
from catseye.data.prepare import Prepared
from catseye.errors import CatseyeError, DataError, Interrupted, TrainingError, UsageError
from catseye.evaluation.predict import Outputs, collect_logits
from catseye.machine.devices import choose_device
from catseye.models.registry import training_outputs
from catseye.preprocess import Preprocessing
from catseye.settings.schema import Settings

P = ParamSpec("P")
T = TypeVar("T")
LATER_S = 3.0  # the first process reports an error; the others wait this long and report theirs if it has not ended
LOST_S = 6.0  # if a connection is lost, the message of the process that ended comes first


@dataclass(frozen=True)
class Processes:
    """The place of this process among those that train together.

    `per_node` of them share a machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    per_node: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, on each of them."""
        if self.world_size == 1:
            return value
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total

    def largest(self, value: int) -> int:
        """The largest value of any process.

        It is exchanged over the CPU, so that nothing waits for a GPU.
        """
        if self.world_size == 1:
            return value
        shared = torch.tensor(value)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX)
        return int(shared)

    def wait(self) -> None:
        """Wait until all processes have arrived here."""
        self.largest(0)

    def broadcast(self, value: T) -> T:
        """The first process's value, on all of them."""
        if self.world_size == 1:
            return value
        shared = [value]
        distributed.broadcast_object_list(shared, src=0)
        return shared[0]

    def part(self, loader: Loader) -> Loader:
        """The evaluation loader on this process's contiguous part of the images.

        No image is doubled or dropped.
        """
        return loader.subset(np.array_split(loader.indices, self.world_size)[self.rank])

    def collect(
        self,
        model: nn.Module,
        loader: Loader,
        spec: Preprocessing,
        precision: torch.dtype | None = None,
        *,
        after_batch: Callable[[], None] | None = None,
    ) -> Outputs:
        """Every image's logits in the original order; each process computes its part.

        `after_batch` works only for a single process: several have unequal numbers of batches.

        Raises:
            DataError: no image of any part can be read.

        """
        if self.world_size == 1:
            return collect_logits(model, loader, spec, precision=precision, after_batch=after_batch)
        self._align(model)
        gathered: list[Outputs | None] = [None] * self.world_size
        distributed.all_gather_object(gathered, self._collect_part(model, loader, spec, precision))
        parts = [part for part in gathered if part is not None]
        if not parts:
            raise DataError(f"none of {count(len(loader.indices), 'image')} can be read")
        return Outputs(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.indices for part in parts]),
        )

    def _collect_part(
        self, model: nn.Module, loader: Loader, spec: Preprocessing, precision: torch.dtype | None
    ) -> Outputs | None:
        try:
            return collect_logits(model, self.part(loader), spec, precision=precision)
        except DataError:  # no readable image in this part; others may have some
            return None

    @torch.no_grad()
    def _align(self, model: nn.Module) -> None:
        """Give all processes the first one's batch-norm statistics; weights are equal."""
        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)


ALONE = Processes()


def join(device: str) -> tuple[Processes, torch.device]:
    """Join the processes that torchrun started, if any, and choose a device.

    Raises:
        UsageError: more processes than GPUs, or a device of which there cannot be one per process.

    """
    environment = os.environ
    world_size = int(environment.get("WORLD_SIZE", "1"))
    if world_size == 1 or "RANK" not in environment:
        return ALONE, choose_device(device)
    mine = Processes(
        int(environment["RANK"]),
        world_size,
        int(environment.get("LOCAL_RANK", 0)),
        int(environment.get("LOCAL_WORLD_SIZE", 1)),
    )
    if restarts_allowed() and environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise UsageError(
            "torchrun's shared store would give a restarted process the addresses of dead ones (pytorch issue 135712); "
            "set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 and --rdzv-backend=c10d, or leave --max-restarts out"
        )
    own_device = _own_device(device, mine)
    if not distributed.is_initialized():
        # Small messages go over the CPU, not NCCL: reading them must not wait for the GPU.
        distributed.init_process_group("cpu:gloo,cuda:nccl" if own_device.type == "cuda" else "gloo")
    return mine, own_device


def restarts_allowed() -> bool:
    """Whether torchrun may restart the processes.

    An unfinished --out is then this command's own.
    """
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def _own_device(device: str, mine: Processes) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise UsageError(f"several processes compute on cuda or cpu, each on its own device; got --device {device}")
    if device == "cpu":
        return choose_device(device)
    num_gpus = torch.cuda.device_count()
    if 0 < num_gpus < mine.per_node:
        raise UsageError(
            f"each process needs a GPU of its own; got {mine.per_node} processes and {num_gpus} GPUs on this machine; "
            f"start {num_gpus}, or use --device cpu"
        )
    gpu = choose_device(f"cuda:{mine.local_rank}")
    torch.cuda.set_device(gpu)
    return gpu


def leaves_the_group(train: Callable[P, T]) -> Callable[P, T]:
    """Decorates a function that joins: leaves the group afterwards.

    An error is reported once, not per process.
    """

    @wraps(train)
    def leaving(*args: P.args, **kwargs: P.kwargs) -> T:
        before = distributed.is_available() and distributed.is_initialized()
        try:
            with _reported_once():
                return train(*args, **kwargs)
        finally:
            if not before and distributed.is_available() and distributed.is_initialized():
                distributed.destroy_process_group()

    return leaving


@contextmanager
def _reported_once() -> Iterator[None]:
    """Let the first process report an error; torchrun then ends the others.

    An error of the others alone they report later.
    """
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as stopped:
        if rank == 0:
            raise
        raise SystemExit(getattr(stopped, "exit_code", 130)) from None
    except CatseyeError as error:
        if rank == 0:
            raise
        time.sleep(LATER_S)
        error.args = (f"process {rank} of {world_size}: {error}",)
        raise
    except RuntimeError as error:
        if world_size == 1 or not _lost(error):
            raise
        time.sleep(LOST_S)
        raise TrainingError(
            f"process {rank} of {world_size} lost the connection to another one "
            f"({str(error).splitlines()[0][:200]}); see the message of the process that ended first"
        ) from None


def _lost(error: RuntimeError) -> bool:
    words = ("Connection closed by peer", "Connection reset by peer", "Connection refused", "Timed out waiting")
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in words)


def check_sizes(settings: Settings, processes: Processes) -> None:
    """Every part of a batch needs two images.

    Raises:
        UsageError: the batch is too small for the number of parts.

    """
    training = settings.training
    parts = processes.world_size * training.accumulate_steps
    if parts > 1 and training.batch_size < 2 * parts:
        raise UsageError(
            f"training.batch_size is the whole batch, in {processes.world_size} process(es) x "
            f"{training.accumulate_steps} step(s) of 2 images or more; got {training.batch_size}; "
            f"use --set training.batch_size={2 * parts}"
        )


def check_same_data(prepared: Prepared, processes: Processes) -> None:
    """All processes must find the same images, and split and store them alike.

    Raises:
        DataError: they did not.

    """
    if processes.world_size == 1:
        return
    facts = (prepared.data_sha256, prepared.splits.tobytes(), prepared.spec.model_dump_json())
    mine = (hashlib.sha256(repr(facts).encode()).hexdigest(), prepared.in_memory)
    gathered: list[Any] = [None] * processes.world_size
    distributed.all_gather_object(gathered, mine)
    if len(set(gathered)) > 1:
        other = next(rank for rank, theirs in enumerate(gathered) if theirs != gathered[0])
        raise DataError(
            f"all processes must see the same images; process 0 and process {other} differ; give every machine "
            "the same DATA; if only the free memory differs, use --set data.storage=stream"
        )


class _Training(nn.Module):
    """The module that DistributedDataParallel wraps: with the auxiliary heads."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Shape: (N, C, H, W) -> (N, K), list of (N, K)."""
        return training_outputs(self.model, x)


def parallel(model: nn.Module, processes: Processes) -> DistributedDataParallel | None:
    """The network in DistributedDataParallel; None for a single process.

    It averages the gradients.
    """
    if processes.world_size == 1:
        return None
    return DistributedDataParallel(_Training(model), gradient_as_bucket_view=True)


def gradients_wait(wrapped: DistributedDataParallel | None, *, last: bool) -> AbstractContextManager[None]:
    """Wraps a part of an accumulated batch; the last part exchanges gradients."""
    return nullcontext() if last or wrapped is None else wrapped.no_sync()
