"""The rungs above the frozen features: networks whose last stages, or all of them, are tuned from the best head on.

Enters: a `Search` with a head. Leaves: trials, and a tuned model where one pays. Called by ladder.py. Candidates go
through successive halving: a few epochs for all, more for those that stand. None begins whose forecast, from steps
measured here, does not fit; what is tuned without the judging fold is tuned again on all training images at the end.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MethodType

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from catseye.data.loaders import Indices, Loader
from catseye.errors import Diverged
from catseye.evaluation.calibration import fit_temperature
from catseye.evaluation.predict import Outputs, collect_logits
from catseye.machine.devices import choose_precision
from catseye.machine.memory import free_memory_bytes
from catseye.manifest import Architecture
from catseye.settings.schema import AugmentSettings, Settings
from catseye.training.cached_features import FeatureLoader
from catseye.training.losses import make_criterion
from catseye.training.network import RunNetwork, parts_for_memory
from catseye.training.optimizers import make_optimizer
from catseye.training.run_folder import make_manifest
from catseye.training.schedules import make_schedule
from catseye.training.session import RunSession
from catseye.training.step import TrainState, train_step
from catseye.training.transfer import backbone_units, freeze, stay_in_evaluation_mode, transfer_groups
from catseye.training.trials.activations import cache_activations, split_backbone
from catseye.training.trials.frozen_rungs import FrozenBackbone, at_size, head_state
from catseye.training.trials.halving import halve
from catseye.training.trials.scores import TrialScore, score_answers
from catseye.training.trials.search import Found, Kept, Search, SearchOver

ROUND_EPOCHS = (3, 8, 20)
TIMED_STEPS = 3  # the first of them does not count
JUDGED_SHARE = 0.75  # of the training images trained what a fold of them judged
ACTIVATION_SHARE = 0.2  # of the free memory
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


@dataclass(frozen=True)
class Tuned:
    """What came of a plan: a whole network's state, the judges' answers, and the seconds it took."""

    state: dict[str, Tensor]
    outputs: Outputs
    seconds: float
    num_epochs: int


def choose_plans(base_px: int, num_units: int) -> list[TuningPlan]:
    """The candidates, the likeliest first: far from ImageNet most is gained, and soon, where all stages are tuned."""
    small = min(160, base_px)
    plans = [TuningPlan(0, small, 3e-4)]
    if num_units > 2:
        plans.append(TuningPlan(2, base_px, 2e-4, learns_norms=False))
    plans.append(TuningPlan(0, small, 1e-3))
    if base_px > small:
        plans.append(TuningPlan(0, min(224, base_px), 3e-4))
    return plans


def tuning_rungs(search: Search, backbone: FrozenBackbone) -> None:
    """Try the plans by successive halving; then, if one was kept, tune it on all training images.

    Raises:
        SearchOver: the time is up, or a signal came.

    """
    kept = search.kept
    if kept is None or "best" not in search.heads or not search.may_gain:
        return
    workshop = _Workshop(search, backbone, kept.session.prepared.spec.height_px)
    plans = choose_plans(workshop.base_px, len(backbone_units(backbone.model)))
    try:
        halve(plans, workshop.attempt, len(ROUND_EPOCHS))
    finally:
        workshop.finish_kept()


class _Workshop:
    """Tunes plans, and knows how long a step of each takes."""

    def __init__(self, search: Search, backbone: FrozenBackbone, base_px: int) -> None:
        self.search, self.backbone, self.base_px = search, backbone, base_px
        self._sessions: dict[int, RunSession] = {}
        self._step_s: dict[TuningPlan, float] = {}  # per image
        self._kept_plan: tuple[TuningPlan, int] | None = None

    def attempt(self, plan: TuningPlan, round_number: int) -> float | None:
        """The merit of a plan after the epochs of a round; None where it does not fit, or its loss ran away."""
        search = self.search
        search.look()
        jury, epochs = search.jury, ROUND_EPOCHS[round_number]
        assert jury is not None
        name = plan.name(epochs)
        if search.done_before(name):
            return search.trials[-1].score
        forecast = self.forecast_s(plan, epochs, len(jury.tuned_on), len(jury.asked))
        # It, or what is kept so far, would be tuned once more, on all training images.
        again = 0.0 if jury.by_validation else self.forecast_s(plan, epochs, len(self._training()), 0)
        reserved = max(again, self._reserved_s())
        if not search.budget.fits(forecast + reserved):
            return None
        try:
            limit = search.budget.limit_s(forecast, reserved)
            tuned = self.tune(plan, epochs, jury.tuned_on, jury.asked, limit)
        except Diverged:
            search.session.place.say(f"- {name}: its loss ran away")
            return None
        outputs = tuned.outputs
        score = score_answers(outputs.logits, outputs.labels, outputs.indices, search.weights)
        if search.consider(name, score, tuned.seconds, lambda: self._found(plan, tuned, name, score)):
            self._kept_plan = (plan, epochs)
        return score.accuracy

    def finish_kept(self) -> None:
        """Tune what was kept once more, on all training images, where a fold of them had judged."""
        search = self.search
        jury = search.jury
        if self._kept_plan is None or jury is None or jury.by_validation or search.stop.asked() is not None:
            return
        plan, epochs = self._kept_plan
        everything = self._training()
        forecast = self.forecast_s(plan, epochs, len(everything), 0)
        limit = search.budget.limit_s(forecast)
        if limit < JUDGED_SHARE * forecast:  # as many steps as were judged
            search.session.place.say("- no time to tune once more on all training images; three quarters tuned it")
            return
        tuned = self.tune(plan, epochs, everything, jury.asked[:1], limit)
        assert search.kept is not None
        name = f"{search.kept.name}, on all training images"
        found = self._found(plan, tuned, name, search.kept.score)
        search.keep(found)
        search.session.place.say(f"- tuned once more on all {len(everything):,} training images, {tuned.seconds:.1f} s")

    def forecast_s(self, plan: TuningPlan, epochs: int, num_training: int, num_asked: int) -> float:
        """Seconds, from measured steps."""
        pace = self.search.pace_of(self.backbone.session)
        asked_s = pace.forecast_s(num_asked, plan.px)
        front_s = pace.forecast_s(2 * num_training, plan.px) if plan.stages else 0.0
        return epochs * num_training * self._per_image_s(plan) + asked_s + front_s

    def tune(self, plan: TuningPlan, epochs: int, training: Indices, asked: Indices, limit_s: float) -> Tuned:
        """Train a plan on some images and ask the network about others, all of it in `limit_s` seconds.

        Raises:
            SearchOver: a signal came. Diverged: the loss is no number.

        """
        search, begun = self.search, time.perf_counter()
        session = self._session(plan.px)
        state, loader, asked_loader = self._prepare(plan, epochs, session, training, asked)
        spent = time.perf_counter() - begun + search.pace_of(session).forecast_s(len(asked), plan.px)
        run_epochs(search, state, loader, epochs, limit_s - spent)
        outputs = collect_logits(state.model, asked_loader, session.prepared.spec)
        trained = {name: value.detach().cpu() for name, value in state.model.state_dict().items()}
        whole = {**{name: value.cpu() for name, value in self.backbone.model.state_dict().items()}, **trained}
        return Tuned(whole, outputs, time.perf_counter() - begun, epochs)

    def _prepare(
        self, plan: TuningPlan, epochs: int, session: RunSession, training: Indices, asked: Indices
    ) -> tuple[TrainState, Loader, Loader]:
        """The state, and the loaders of those who learn and of those who judge: images, or a frozen stage's answers."""
        model = copy.deepcopy(self.backbone.model)
        weight, bias = self.search.heads["best"]
        model.load_state_dict(head_state(weight, bias), strict=False)
        model.requires_grad_(True)
        learn = session.prepared.loaders["train"].subset(np.sort(training))
        judge = judging_loader(session, asked)
        if plan.stages:
            for unit in backbone_units(model)[: -plan.stages]:
                for layer in unit:
                    freeze(layer)
            sides = session.prepared.spec
            x = torch.rand(2, sides.channels, sides.height_px, sides.width_px, device=session.place.device)
            halves = split_backbone(model, plan.stages, x)
            room = ACTIVATION_SHARE * free_memory_bytes(session.place.device)
            if halves is not None and halves.bytes_per_image * (2 * len(training) + len(asked)) <= room:
                front, tail = halves.front, halves.tail
                mirrored = session.prepared.images.mirror_safe
                seed = session.settings.seed
                learn = cache_activations(front, learn, session, mirrored=mirrored, seed=seed, look=self._look)
                judge = cache_activations(front, judge, session, mirrored=False, seed=seed, look=self._look)
                model = tail
        settle_norms(model, learn=plan.learns_norms, num_steps=epochs * learn.num_batches)
        state = make_state(_tuning_settings(plan, epochs, session), session, model, learn)
        return state, learn, judge

    def _look(self) -> None:
        if self.search.stop.asked() is not None:
            raise SearchOver

    def _per_image_s(self, plan: TuningPlan) -> float:
        """Seconds of training per image and epoch, from a few steps of a network that is thrown away."""
        if plan not in self._step_s:
            jury = self.search.jury
            assert jury is not None
            few = jury.tuned_on[: BATCH * TIMED_STEPS]
            state, loader, _ = self._prepare(plan, 1, self._session(plan.px), few, jury.asked[:1])
            self._step_s[plan] = time_steps(state, loader)
        return self._step_s[plan]

    def _session(self, px: int) -> RunSession:
        if px not in self._sessions:
            self._sessions = {px: at_size(self.backbone.session, px)}  # one size at a time in memory
        return self._sessions[px]

    def _training(self) -> Indices:
        jury = self.search.jury
        assert jury is not None
        return jury.tuned_on if jury.by_validation else np.union1d(jury.tuned_on, jury.learners)

    def _reserved_s(self) -> float:
        if self._kept_plan is None:
            return 0.0
        plan, epochs = self._kept_plan
        return self.forecast_s(plan, epochs, len(self._training()), 0)

    def _found(self, plan: TuningPlan, tuned: Tuned, name: str, score: TrialScore) -> Found:
        session = self._session(plan.px)
        manifest = make_manifest(session, self.backbone.architecture)
        if len(tuned.outputs.labels) > 1:
            temperature = fit_temperature(tuned.outputs.logits, tuned.outputs.labels)
            manifest = manifest.model_copy(update={"temperature": temperature})
        strategy = "fine-tune" if plan.stages else "full"
        return Found(tuned.state, Kept(name, score, session, session.prepared.loaders, manifest, strategy))


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


def _tuning_settings(plan: TuningPlan, epochs: int, session: RunSession) -> Settings:
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
