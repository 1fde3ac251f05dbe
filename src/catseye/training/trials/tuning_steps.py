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

JUDGED_SHARE = 0.75  # of the training images trained what a fold of them judged
TIMED_STEPS = 3  # the first of them does not count
BATCH = 32
LEAST_S = 0.1  # late or not, a step is taken


@dataclass(frozen=True)
class TuningPlan:
    """One way to tune. `stages` 0: all. `rate` is the peak rate of the last stage."""

    stages: int
    px: int
    rate: float
    learns_norms: bool = True  # the statistics of batch norm; a few stages of few images keep those they have
    layer_decay: float = 0.9

    def name(self, epochs: int) -> str:
        """What the trial is called."""
        what = f"last {self.stages} stages" if self.stages else "all stages"
        return f"{what} tuned, {self.px} px, rate {self.rate:g}, {epochs} epochs"


def settle_norms(model: nn.Module, *, learn: bool, num_steps: int) -> None:
    """Batch norms either keep their statistics, or take in those of a short training fast enough to have them right."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            if learn:
                layer.momentum = max(0.1, min(0.5, 5 / max(1, num_steps)))
            else:
                layer.train = MethodType(stay_in_evaluation_mode, layer)  # type: ignore[method-assign]


def make_state(chosen: Settings, session: RunSession, model: nn.Module, loader: Loader) -> TrainState:
    """What a training step needs for a network that is tuned."""
    groups = transfer_groups(model, chosen, loader.num_batches)
    groups = [group for group in groups if group.parameters]
    network = RunNetwork(model, groups, {"train": loader}, Architecture(name=session.settings.model.name))
    place, prepared = session.place, session.prepared
    return TrainState(
        model=model,
        optimizer=make_optimizer(groups, chosen.training),
        groups=groups,
        schedule=make_schedule(chosen.training, loader.num_batches),
        criterion=make_criterion(chosen.training, prepared.class_counts, place.device),
        augment=chosen.augment,
        spec=prepared.spec,
        num_classes=len(prepared.images.classes),
        seed=chosen.seed,
        clip_norm=chosen.training.clip_norm,
        precision=choose_precision(chosen.training.precision, place.device),
        num_parts=1 if isinstance(loader, FeatureLoader) else parts_for_memory(quiet(session), network),
    )


def run_epochs(
    search: Search, state: TrainState, loader: Loader, epochs: int, limit_s: float,
    after_epoch: Callable[[], None] | None = None,
) -> None:  # fmt: skip
    """Train for so many epochs; where the machine has become slower, the schedule hastens to its end at `limit_s`.

    Raises:
        SearchOver: a signal came. Diverged: the loss is no number.

    """
    limit_s = max(limit_s, LEAST_S)
    total, begun, planned = epochs * loader.num_batches, time.perf_counter(), state.schedule
    state.schedule = lambda step: planned(_hastened(step, total, time.perf_counter() - begun, limit_s))
    state.model.train()
    for epoch in range(epochs):
        for batch in loader.epoch(epoch):
            train_step(state, batch)
            if search.stop.asked() is not None:
                raise SearchOver
            if time.perf_counter() - begun >= limit_s:
                return
        if after_epoch is not None:
            after_epoch()


def _hastened(step: int, total: int, spent_s: float, limit_s: float) -> int:
    """The step that the schedule is at: the real one, or the one that the time spent asks for.

    >>> _hastened(10, 100, spent_s=1.0, limit_s=50.0), _hastened(10, 100, spent_s=40.0, limit_s=50.0)
    (10, 80)
    """
    return min(total - 1, max(step, int(total * spent_s / limit_s)))


def time_steps(state: TrainState, loader: Loader) -> float:
    """Seconds per image of a training step, the first of a few not counted; the network is spoilt for anything else."""
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
    """The same session, saying nothing: trials are told in one line each."""
    return replace(session, place=replace(session.place, console=Console(quiet=True)))


def tuning_settings(plan: TuningPlan, epochs: int, session: RunSession) -> Settings:
    """The settings of `transfer` with the plan's own, whatever recipe the session had."""
    chosen = session.settings
    size = session.prepared.spec.height_px
    augment = AugmentSettings(
        hflip=0.5 if session.prepared.images.mirror_safe else 0.0, crop_padding_px=max(1, size // 16)
    )
    training = chosen.training.model_copy(
        update={"epochs": epochs, "batch_size": BATCH, "optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-2,
                "schedule": "onecycle", "clip_norm": 1.0, "label_smoothing": 0.0}
    )  # fmt: skip
    transfer = chosen.transfer.model_copy(update={"backbone_lr": plan.rate, "layer_decay": plan.layer_decay})
    return chosen.model_copy(update={"augment": augment, "training": training, "transfer": transfer})


def judging_loader(session: RunSession, asked: Indices) -> Loader:
    """The judges as they are evaluated, from whichever side they are of."""
    for side in ("val", "train"):
        loader = session.prepared.loaders[side]
        if np.isin(asked, loader.indices).all():
            return replace(loader.subset(np.sort(asked)), shuffle=False)  # type: ignore[type-var]
    raise AssertionError("the judges are of one side")
