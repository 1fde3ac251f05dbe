"""One training step, whole: augment, mix, forward, loss, backward, check, clip, update, average.

Enters: a `Batch` and the objects of a run. Leaves: changed weights and a `StepResult`. Called by `fit.py`.
Everything random is drawn from (seed, step), so step k is the same in a resumed run.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from catseye.config import AugmentSettings
from catseye.data.augment import augment_batch
from catseye.data.loaders import Batch
from catseye.data.mixing import mix_batch
from catseye.errors import TrainingError
from catseye.preprocess import Preprocessing
from catseye.seeds import derive
from catseye.training.ema import EMA
from catseye.training.losses import Criterion
from catseye.training.schedules import Schedule


@dataclass
class Trainer:
    """The objects that a step works with, and the number of steps done."""

    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    criterion: Criterion
    augment: AugmentSettings
    spec: Preprocessing
    num_classes: int
    seed: int
    clip_norm: float = 0.0
    precision: torch.dtype | None = None  # autocast type; None: fp32
    ema: EMA | None = None
    step: int = 0


@dataclass(frozen=True)
class StepResult:
    """Mean loss of the batch, right answers on the augmented pictures, pictures; the first two still on the device."""

    loss: Tensor
    num_correct: Tensor
    num_pictures: int


def train_step(trainer: Trainer, batch: Batch) -> StepResult:
    """Learn from one batch.

    Shape: batch.pixels (N, C, H, W) uint8, batch.labels (N,) int64.

    Raises:
        TrainingError: the loss is not finite; the weights are still those of the step before.

    """
    t = trainer
    device = batch.pixels.device
    torch.manual_seed(derive(t.seed, "dropout", t.step))
    generator = torch.Generator(device).manual_seed(derive(t.seed, "augment", t.step))

    x = augment_batch(batch.pixels, t.augment, t.spec, generator)  # (N, C, H, W) float
    x, targets = mix_batch(x, batch.labels, t.augment, t.num_classes, generator)  # (N,) or (N, K)

    rate, momentum = t.schedule(t.step)
    for group in t.optimizer.param_groups:
        group["lr"] = rate
        if "momentum" in group:
            group["momentum"] = momentum

    with torch.autocast(device.type, dtype=t.precision, enabled=t.precision is not None):
        logits = t.model(x)  # (N, K)
        loss = t.criterion(logits.float(), targets)
    if not loss.isfinite():
        raise TrainingError(
            f"the loss became {loss.item()} at step {t.step} (learning rate {rate:.3g}); "
            "try a smaller training.lr or training.clip_norm=1"
        )
    t.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if t.clip_norm:
        nn.utils.clip_grad_norm_(t.model.parameters(), t.clip_norm)
    t.optimizer.step()
    if t.ema is not None:
        t.ema.update(t.model, t.step)
    t.step += 1

    truth = targets if targets.ndim == 1 else targets.argmax(1)
    return StepResult(loss.detach(), (logits.detach().argmax(1) == truth).sum(), len(truth))
