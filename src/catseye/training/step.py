"""One training step, whole: augment, mix, forward, loss, backward, check, clip, update, average.

Enters: a `Batch` and the objects of a run. Leaves: changed weights and a `StepResult`. Called by `fit.py`.
Everything random is drawn from (seed, step), so step k is the same in a resumed run.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from catseye.config import AugmentSettings
from catseye.data.augment import augment_batch, resize_batch
from catseye.data.loaders import Batch
from catseye.data.mixing import mix_batch
from catseye.errors import TrainingError
from catseye.models.registry import AUXILIARY_WEIGHT, training_outputs
from catseye.preprocess import Preprocessing
from catseye.seeds import derive
from catseye.training.distillation import Teacher
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
    small_px: int = 0  # side of the input in the steps before `small_until`
    small_until: int = 0
    precision: torch.dtype | None = None  # autocast type; None: fp32
    ema: EMA | None = None
    teacher: Teacher | None = None
    frozen_state: dict[str, Tensor] = field(default_factory=dict)  # the rest of the network where `model` is its head
    step: int = 0

    def whole_state(self, scored: nn.Module) -> dict[str, Tensor]:
        """The state of the whole network, also where only its head is being trained."""
        if not self.frozen_state:
            return scored.state_dict()
        return {**self.frozen_state, **{f"head.{name}": value for name, value in scored.state_dict().items()}}


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

    x = batch.pixels  # (N, C, H, W)
    if x.dtype == torch.uint8:  # cached features arrive as floats, augmented when they were computed
        x = augment_batch(x, t.augment, t.spec, generator, indices=batch.indices, epoch=batch.epoch)
        if t.step < t.small_until:
            x = resize_batch(x, t.small_px)
    x, targets = mix_batch(x, batch.labels, t.augment, t.num_classes, generator)  # (N,) or (N, K)

    rate, momentum = t.schedule(t.step)
    for group in t.optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0) * (t.step >= group.get("from_step", 0))
        if "momentum" in group:
            group["momentum"] = momentum

    with torch.autocast(device.type, dtype=t.precision, enabled=t.precision is not None):
        logits, auxiliary = training_outputs(t.model, x)  # (N, K), and those of heads that only training uses
        loss = t.criterion(logits.float(), targets)
        for side in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * t.criterion(side.float(), targets)
    if t.teacher is not None:
        loss = t.teacher.blend(loss, logits.float(), x)
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
