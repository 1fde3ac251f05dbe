"""Training steps of trials: a network, its state, and epochs that end in time.

Enters: a session, a plan, a network. Leaves: a trained network. Called by tuning_rungs.py and fresh_rungs.py.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MethodType

import numpy as np
from rich.console import Console
from torch import nn

from catseye.data.loaders import Indices, Loader
from catseye.machine.devices import choose_precision
from catseye.manifest import Architecture
from catseye.settings.schema import AugmentSettings, Settings
from catseye.training.cached_features import FeatureLoader
from catseye.training.losses import make_criterion
from catseye.training.network import RunNetwork, parts_for_memory
from catseye.training.optimizers import make_optimizer
from catseye.training.schedules import make_schedule
from catseye.training.session import RunSession
from catseye.training.step import TrainState, train_step
from catseye.training.transfer import stay_in_evaluation_mode, transfer_groups
from catseye.training.trials.search import Search, SearchOver

JUDGED_SHARE = 0.75  # of the training images: the others are the fold that judges
TIMED_STEPS = 3  # the first of them does not count
BATCH = 32
LEAST_S = 0.1  # so that at least one step is taken


@dataclass(frozen=True)
class TuningPlan:
    """One way to tune: the last `stages` (0: all), at the peak rate of the last."""

    stages: int
    px: int
    rate: float
    learns_norms: bool = True  # the statistics of batch norm; if few stages are tuned, they keep theirs
    layer_decay: float = 0.9

    def name(self, epochs: int) -> str:
        """The name of the trial."""
        what = f"last {self.stages} stages" if self.stages else "all stages"
        return f"{what} tuned, {self.px} px, rate {self.rate:g}, {epochs} epochs"


def settle_norms(model: nn.Module, *, learn: bool, num_steps: int) -> None:
    """Let batch norms keep their statistics, or learn new ones quickly."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            if learn:
                layer.momentum = max(0.1, min(0.5, 5 / max(1, num_steps)))
            else:
                layer.train = MethodType(stay_in_evaluation_mode, layer)  # type: ignore[method-assign]


def make_state(settings: Settings, session: RunSession, model: nn.Module, loader: Loader) -> TrainState:
    """The state that training steps of a network need."""
    groups = transfer_groups(model, settings, loader.num_batches)
    groups = [group for group in groups if group.parameters]
    network = RunNetwork(model, groups, {"train": loader}, Architecture(name=session.settings.model.name))
    place, prepared = session.place, session.prepared
    return TrainState(
        model=model,
        optimizer=make_optimizer(groups, settings.training),
        groups=groups,
        schedule=make_schedule(settings.training, loader.num_batches),
        criterion=make_criterion(settings.training, prepared.class_counts, place.device),
        augment=settings.augment,
        spec=prepared.spec,
        num_classes=len(prepared.images.classes),
        seed=settings.seed,
        clip_norm=settings.training.clip_norm,
        precision=choose_precision(settings.training.precision, place.device),
        num_parts=1 if isinstance(loader, FeatureLoader) else parts_for_memory(quiet(session), network),
    )


def run_epochs(
    search: Search, state: TrainState, loader: Loader, epochs: int, limit_s: float,
    after_epoch: Callable[[], None] | None = None,
) -> None:  # fmt: skip
    """Train for `epochs`; on a slower machine the schedule ends early, at `limit_s`.

    Raises:
        SearchOver: a signal came. Diverged: the loss is NaN.

    """
    limit_s = max(limit_s, LEAST_S)
    total, begun, planned = epochs * loader.num_batches, time.perf_counter(), state.schedule
    state.schedule = lambda step: planned(_schedule_step(step, total, time.perf_counter() - begun, limit_s))
    state.model.train()
    for epoch in range(epochs):
        for batch in loader.epoch(epoch):
            train_step(state, batch)
            if search.stop.agree() is not None:
                raise SearchOver
            if time.perf_counter() - begun >= limit_s:
                return
        if after_epoch is not None:
            after_epoch()


def _schedule_step(step: int, total: int, spent_s: float, limit_s: float) -> int:
    """The step of the schedule: the real one, or a later one if the time runs out.

    >>> _schedule_step(10, 100, spent_s=1.0, limit_s=50.0), _schedule_step(10, 100, spent_s=40.0, limit_s=50.0)
    (10, 80)
    """
    return min(total - 1, max(step, int(total * spent_s / limit_s)))


def time_steps(state: TrainState, loader: Loader) -> float:
    """Seconds per image of a training step, without the first; changes weights."""
    state.model.train()
    seconds, images = 0.0, 0
    for number, batch in enumerate(loader.epoch(0)):
        begun = time.perf_counter()
        float(train_step(state, batch).loss)  # waits for a GPU
        if number or loader.num_batches == 1:
            seconds, images = seconds + time.perf_counter() - begun, images + len(batch.labels)
        if number + 1 == TIMED_STEPS:
            break
    return seconds / max(1, images)


def quiet(session: RunSession) -> RunSession:
    """The same session without its messages: a trial shows one line only."""
    return replace(session, place=replace(session.place, console=Console(quiet=True)))


def tuning_settings(plan: TuningPlan, epochs: int, session: RunSession) -> Settings:
    """The session's settings with those of transfer learning and of the plan."""
    settings = session.settings
    size = session.prepared.spec.height_px
    augment = AugmentSettings(
        hflip=0.5 if session.prepared.images.mirror_safe else 0.0, crop_padding_px=max(1, size // 16)
    )
    training = settings.training.model_copy(
        update={"epochs": epochs, "batch_size": BATCH, "optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-2,
                "schedule": "onecycle", "clip_norm": 1.0, "label_smoothing": 0.0}
    )  # fmt: skip
    transfer = settings.transfer.model_copy(update={"backbone_lr": plan.rate, "layer_decay": plan.layer_decay})
    return settings.model_copy(update={"augment": augment, "training": training, "transfer": transfer})


def judging_loader(session: RunSession, judges: Indices) -> Loader:
    """A loader of the judges, without augmentation, from their split."""
    for side in ("val", "train"):
        loader = session.prepared.loaders[side]
        if np.isin(judges, loader.indices).all():
            return replace(loader.subset(np.sort(judges)), shuffle=False)  # type: ignore[type-var]
    raise AssertionError("all judges belong to one split")
