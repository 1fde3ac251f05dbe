"""One pass over a loader: every image's logits, computed once.

Everything else is derived from them. Enters: a network and a loader. Leaves: `Outputs` on the CPU. Called by
`evaluate.py` and, through `training/distributed.py`, after every epoch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from catseye.counting import count
from catseye.data.augment import normalise_batch, to_unit
from catseye.data.loaders import Batch, Loader
from catseye.errors import DataError
from catseye.machine.devices import free_cached_memory, is_out_of_memory
from catseye.machine.memory import split_for_inference
from catseye.machine.waiting import Waiting
from catseye.preprocess import Preprocessing
from catseye.runtimes.model_file import OpenedModel


@dataclass(frozen=True)
class Outputs:
    """Logits (N, K) float32, labels (N,) int64 and the images' numbers (N,)."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]


@torch.inference_mode()
def collect_logits(
    model: nn.Module,
    loader: Loader,
    spec: Preprocessing,
    *,
    precision: torch.dtype | None = None,
    after_batch: Callable[[], None] | None = None,
    what: str = "",
) -> Outputs:
    """Run the network in evaluation mode on all images of a loader.

    The last, smaller batch is included. The model's training mode is restored. `after_batch` may end the pass with an
    error. `what` names the work for a progress line; empty: none.

    Raises:
        DataError: no image can be read.

    """
    training = model.training
    model.eval()
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    indices: list[Tensor] = []
    for batch in _with_progress(loader, what):
        cached = batch.pixels.is_floating_point()  # features of a frozen backbone, for its head alone
        x = batch.pixels if cached else normalise_batch(to_unit(batch.pixels), spec)
        with torch.autocast(x.device.type, dtype=precision, enabled=precision is not None):
            logits += [_forward_logits(model, part).float() for part in split_for_inference(x)]
        labels.append(batch.labels)
        indices.append(batch.indices)
        if after_batch is not None:
            after_batch()
    model.train(training)
    if not labels:
        raise DataError(f"none of {count(len(loader.indices), 'image')} can be read")
    return Outputs(torch.cat(logits).cpu().numpy(), torch.cat(labels).cpu().numpy(), torch.cat(indices).numpy())


def _forward_logits(model: nn.Module, x: Tensor) -> Tensor:
    """The logits, computed in halves if memory does not allow the whole batch."""
    try:
        answers: Tensor = model(x)
        return answers
    except (RuntimeError, MemoryError) as error:
        if len(x) == 1 or not is_out_of_memory(error):
            raise
    free_cached_memory(x.device)
    return torch.cat([_forward_logits(model, half) for half in x.tensor_split(2)])


def _with_progress(loader: Loader, what: str) -> Iterator[Batch]:
    """The batches of a pass, with a progress line if `what` names the work."""
    if not what:
        yield from loader.epoch(0)
        return
    with Waiting(what, len(loader.indices)) as waiting:
        for batch in loader.epoch(0):
            yield batch
            waiting.step(len(batch.indices))


@torch.inference_mode()
def collect_features(
    model: nn.Module, loader: Loader, spec: Preprocessing
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pooled features (N, F) and labels (N,) of all images of a loader.

    Features that are already in the loader are used as they are. The model's training mode is restored.

    Raises:
        DataError: no image can be read.

    """
    training = model.training
    model.eval()
    backbone = model.get_submodule("features")
    features: list[Tensor] = []
    labels: list[Tensor] = []
    for batch in _with_progress(loader, "computing features"):
        cached = batch.pixels.is_floating_point()
        maps = batch.pixels if cached else _forward_logits(backbone, normalise_batch(to_unit(batch.pixels), spec))
        features.append(maps.float().mean((2, 3)))
        labels.append(batch.labels)
    model.train(training)
    if not labels:
        raise DataError(f"none of {count(len(loader.indices), 'image')} can be read")
    return torch.cat(features).cpu().numpy(), torch.cat(labels).cpu().numpy()


def collect_answers(model: OpenedModel, loader: Loader, what: str = "asking the model") -> Outputs:
    """The same pass with an exported file, which computes from pixels without torch."""
    logits: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.int64]] = []
    indices: list[NDArray[np.int64]] = []
    for batch in _with_progress(loader, what):
        logits.append(model.logits(np.ascontiguousarray(batch.pixels.permute(0, 2, 3, 1).cpu().numpy())))
        labels.append(batch.labels.cpu().numpy())
        indices.append(batch.indices.numpy())
    if not labels:
        raise DataError(f"none of {count(len(loader.indices), 'image')} can be read")
    return Outputs(np.concatenate(logits), np.concatenate(labels), np.concatenate(indices))
