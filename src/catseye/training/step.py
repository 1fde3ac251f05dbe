"""One training step, whole: augment, mix, forward, loss, backward, check, clip, update, average.

Enters: a `Batch` and the objects of a run. Leaves: changed weights and a `StepResult`. Called by `fit.py`.
Everything random is drawn from (seed, step), so step k is the same in a resumed run.

A batch may be cut twice: over the processes, and into `num_parts` parts that follow each other. Loss and
gradients are those of the whole batch all the same: every part counts by its share of what the mean is divided by.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from catseye.data.augment import RowGenerator, augment_batch, resize_batch
from catseye.data.loaders import Batch
from catseye.data.mixing import mix_batch
from catseye.errors import TrainingError
from catseye.models.registry import AUXILIARY_WEIGHT, training_outputs
from catseye.preprocess import Preprocessing
from catseye.seeds import derive
from catseye.settings.schema import AugmentSettings
from catseye.training.distillation import Teacher
from catseye.training.distributed import ALONE, Processes, gradients_wait
from catseye.training.ema import EMA
from catseye.training.losses import Criterion
from catseye.training.parts import Buffers, in_parts
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
    num_parts: int = 1  # a batch is computed in so many parts; it doubles where memory runs out
    processes: Processes = ALONE
    parallel: DistributedDataParallel | None = None  # around `model` where several processes train

    def whole_state(self, scored: nn.Module) -> dict[str, Tensor]:
        """The state of the whole network, also where only its head is being trained."""
        if not self.frozen_state:
            return scored.state_dict()
        return {**self.frozen_state, **{f"head.{name}": value for name, value in scored.state_dict().items()}}


@dataclass(frozen=True)
class StepResult:
    """Mean loss of the batch, right answers on the augmented images, images, over all processes.

    The first two are still on the device.
    """

    loss: Tensor
    num_correct: Tensor
    num_images: int


def train_step(trainer: Trainer, batch: Batch) -> StepResult:
    """Learn from one batch.

    Shape: batch.pixels (N, C, H, W) uint8, batch.labels (N,) int64.

    Raises:
        TrainingError: loss or gradient is not finite, or memory is too short; all is as after the step before.

    """
    t = trainer
    device = batch.pixels.device
    generator = RowGenerator(device)
    generator.manual_seed(derive(t.seed, "augment", t.step))
    generator.first, generator.total = batch.first, batch.total

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
    buffers = Buffers(t.model)

    mass = t.criterion.mass(targets)
    whole = t.processes.sum(torch.stack([mass, torch.full_like(mass, len(targets))]))  # mass and rows of all

    def begin() -> None:
        t.optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(derive(t.seed, "dropout", t.step) + t.processes.rank)

    def backward(x: Tensor, targets: Tensor, *, last: bool) -> Tensor:
        with gradients_wait(t.parallel, last=last):
            loss, num_correct = _forward(t, x, targets, whole)
            # The gradients are averaged over the processes.
            (loss * t.processes.world_size).backward()  # type: ignore[no-untyped-call]
        return torch.stack([loss.detach(), num_correct])

    # The whole batch at once, as long as memory allows it. The same number of parts in all processes.
    smallest, alone = batch.num_images // t.processes.world_size, t.parallel is None
    sums, t.num_parts = in_parts(begin, backward, buffers, x, targets, t.num_parts, smallest, alone=alone)
    loss, num_correct = t.processes.sum(sums)

    norm = nn.utils.get_total_norm([each.grad for each in t.model.parameters() if each.grad is not None])
    if not (loss + norm).isfinite():
        buffers.restore()
        what = f"gradient became {norm.item()}" if loss.isfinite() else f"loss became {loss.item()}"
        raise TrainingError(
            f"the {what} at step {t.step} (learning rate {rate:.3g}); try a smaller training.lr or training.clip_norm=1"
        )
    if t.clip_norm:
        nn.utils.clip_grads_with_norm_(t.model.parameters(), t.clip_norm, norm)
    t.optimizer.step()
    if t.ema is not None:
        t.ema.update(t.model, t.step)
    t.step += 1
    return StepResult(loss, (num_correct * batch.num_images / whole[1]).round().long(), batch.num_images)


def _forward(t: Trainer, x: Tensor, targets: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of some images as their part of the whole batch's mean, and the right answers among them.

    Shape: x (N, C, H, W), targets (N,) or (N, K), whole (2,) -> scalar, scalar.
    """
    with torch.autocast(x.device.type, dtype=t.precision, enabled=t.precision is not None):
        # (N, K), and those of heads that only training uses
        logits, auxiliary = training_outputs(t.model, x) if t.parallel is None else t.parallel(x)
        loss = t.criterion(logits.float(), targets)
        for side in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * t.criterion(side.float(), targets)
    loss = loss * (t.criterion.mass(targets) / whole[0])
    if t.teacher is not None:
        loss = t.teacher.blend(loss, logits.float(), x, len(x) / whole[1])
    truth = targets if targets.ndim == 1 else targets.argmax(1)
    return loss, (logits.detach().argmax(1) == truth).sum()
