"""One training step, complete.

It augments, mixes, runs forward and backward, checks, clips, updates and averages.

Enters: a `Batch` and the objects of a run. Leaves: changed weights and a `StepResult`. Called by `fit.py`.
`train_step` is one long function on purpose: everything that happens to a batch reads from top to bottom.
Everything random is drawn from (seed, step), so step k is the same in a resumed run. On a GPU `captured.py` launches
the same step as one graph.

A batch may be divided twice: among the processes, and into `num_parts` parts computed one after the other. Loss and
gradients are still those of the whole batch: every part is weighted by its share of the mean's denominator. Only batch
normalisation is affected: its statistics are those of a part.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from catseye.data.augment import RowGenerator, augment_batch, resize_batch
from catseye.data.loaders import Batch
from catseye.data.mixing import mix_batch
from catseye.errors import Diverged
from catseye.models.registry import AUXILIARY_WEIGHT, training_outputs
from catseye.preprocess import Preprocessing
from catseye.seeds import derive
from catseye.settings.schema import AugmentSettings
from catseye.training.distillation import Teacher
from catseye.training.distributed import ALONE, Processes, gradients_wait
from catseye.training.ema import EMA
from catseye.training.losses import Criterion
from catseye.training.optimizers import ParameterGroup
from catseye.training.own_code import OwnAugment
from catseye.training.own_steps import seeded_augment
from catseye.training.parts import SMALLEST_PART, Buffers, forget_attempt, twice_the_parts, why_out_of_memory
from catseye.training.schedules import Schedule


@dataclass
class TrainState:
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
    num_parts: int = 1  # parts in which a batch is computed; doubled if memory runs out
    processes: Processes = ALONE
    parallel: DistributedDataParallel | None = None  # around `model` if several processes train
    own_augment: OwnAugment | None = None
    groups: Sequence[ParameterGroup] = ()  # of the optimizer, in its order; empty: all at the scheduled rate

    def __post_init__(self) -> None:
        if not self.groups:
            self.groups = [ParameterGroup(group["params"]) for group in self.optimizer.param_groups]

    def whole_state(self, scored: nn.Module) -> dict[str, Tensor]:
        """The state of the whole network, even if only its head is being trained."""
        if not self.frozen_state:
            return scored.state_dict()
        return {**self.frozen_state, **{f"head.{name}": value for name, value in scored.state_dict().items()}}


@dataclass(frozen=True)
class StepResult:
    """Mean loss of the batch, correct answers, number of images.

    They are those of the augmented images, over all processes.

    The first two are still on the device. `place` is the batch's number in its epoch, `step` the steps done so far.
    """

    loss: Tensor
    num_correct: Tensor
    num_images: int
    place: int = 0
    step: int = 0


def train_step(state: TrainState, batch: Batch) -> StepResult:
    """Learn from one batch.

    Shape: batch.pixels (N, C, H, W) uint8, batch.labels (N,) int64.

    Raises:
        Diverged: loss or gradient is not finite; the state is unchanged. TrainingError: memory is too short.

    """
    s, device = state, batch.pixels.device
    generator = RowGenerator(device)
    generator.manual_seed(derive(s.seed, "augment", s.step))
    generator.first, generator.total = batch.first, batch.total

    x = batch.pixels  # (N, C, H, W)
    if x.dtype == torch.uint8:  # cached features arrive as floats, augmented when they were computed
        own = seeded_augment(s.own_augment, derive(s.seed, "own augment", s.step) + s.processes.rank)
        x = augment_batch(x, s.augment, s.spec, generator, indices=batch.indices, epoch=batch.epoch, own=own)
        if s.step < s.small_until:
            x = resize_batch(x, s.small_px)
    x, targets = mix_batch(x, batch.labels, s.augment, s.num_classes, generator)  # (N,) or (N, K)

    scheduled_rate, momentum = s.schedule(s.step)
    for group, its in zip(s.optimizer.param_groups, s.groups, strict=True):
        group["lr"] = its.rate(scheduled_rate, s.step)
        if "momentum" in group:
            group["momentum"] = momentum

    mass = s.criterion.mass(targets)
    whole_mass, num_rows = s.processes.sum(torch.stack([mass, torch.full_like(mass, len(targets))])).unbind()

    # The whole batch at once if memory allows it, else in parts, the same number in all processes.
    buffers = Buffers(s.model)
    most_parts = max(1, batch.num_images // s.processes.world_size // SMALLEST_PART)
    tried_parts, shortage = s.num_parts, ""
    while True:
        num_parts = min(tried_parts, most_parts)
        x_parts, target_parts = x.tensor_split(num_parts), targets.tensor_split(num_parts)
        loss = num_correct = torch.zeros((), device=device)
        s.optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(derive(s.seed, "dropout", s.step) + s.processes.rank)
        try:
            for part in range(num_parts):
                with gradients_wait(s.parallel, last=part == num_parts - 1):
                    part_loss, part_correct = learn_part(s, x_parts[part], target_parts[part], whole_mass, num_rows)
                loss, num_correct = loss + part_loss, num_correct + part_correct
            break
        except (RuntimeError, MemoryError) as error:
            shortage = why_out_of_memory(error)
        # Not inside the handler, where the error still holds the tensors of the failed attempt.
        forget_attempt(buffers, device)
        tried_parts = twice_the_parts(num_parts, len(x), most_parts, shortage, alone=s.parallel is None)
    s.num_parts = tried_parts
    loss, num_correct = s.processes.sum(torch.stack([loss, num_correct])).unbind()

    norm = nn.utils.get_total_norm([each.grad for each in s.model.parameters() if each.grad is not None])
    if not (loss + norm).isfinite():
        buffers.restore()
        raise why_diverged(loss.item(), norm.item(), s.step, scheduled_rate)
    if s.clip_norm:
        nn.utils.clip_grads_with_norm_(s.model.parameters(), s.clip_norm, norm)
    s.optimizer.step()
    if s.ema is not None:
        s.ema.update(s.model, s.step)
    s.step += 1
    num_right = (num_correct * batch.num_images / num_rows).round().long()
    return StepResult(loss, num_right, batch.num_images, batch.place, s.step)


def why_diverged(loss: float, norm: float, step: int, rate: float) -> Diverged:
    """The error of a step whose loss or gradient is not finite."""
    what = f"gradient became {norm}" if math.isfinite(loss) else f"loss became {loss}"
    return Diverged(
        f"the {what} at step {step} (learning rate {rate:.3g}); try a smaller training.lr or training.clip_norm=1"
    )


def learn_part(
    s: TrainState, x: Tensor, targets: Tensor, whole_mass: Tensor, num_rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Add the gradients of some images.

    Returns their part of the batch's mean loss, and their correct answers.

    A function of its own, so that after a failed attempt nothing holds its tensors.

    Shape: x (n, C, H, W), targets (n,) or (n, K); mass and rows of the whole batch, scalars -> scalar, scalar.
    """
    with torch.autocast(x.device.type, dtype=s.precision, enabled=s.precision is not None):
        # (n, K), and those of heads that only training uses
        logits, auxiliary = training_outputs(s.model, x) if s.parallel is None else s.parallel(x)
        loss = s.criterion(logits.float(), targets)
        for side in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * s.criterion(side.float(), targets)
    loss = loss * (s.criterion.mass(targets) / whole_mass)
    if s.teacher is not None:
        loss = s.teacher.blend(loss, logits.float(), x, len(x) / num_rows)
    truth = targets if targets.ndim == 1 else targets.argmax(1)
    # The gradients are averaged over the processes.
    (loss * s.processes.world_size).backward()  # type: ignore[no-untyped-call]
    return loss.detach(), (logits.detach().argmax(1) == truth).sum()
