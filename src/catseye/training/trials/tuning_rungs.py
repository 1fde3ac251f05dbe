"""The rungs of tuned networks: some or all stages train, from the best head on.

Enters: a `Search` with a head. Leaves: trials, and a tuned model if one pays. Called by ladder.py. Candidates go
through successive halving: a few epochs for all, more for the better half. None starts unless its forecast, from
measured steps, fits. What was tuned without the judging fold is tuned again on all training images at the end.
"""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from catseye.data.loaders import Indices, Loader
from catseye.errors import Diverged
from catseye.evaluation.calibration import fit_temperature
from catseye.evaluation.predict import Outputs, collect_logits
from catseye.machine.memory import free_memory_bytes
from catseye.training.run_folder import make_manifest
from catseye.training.session import RunSession
from catseye.training.step import TrainState
from catseye.training.transfer import backbone_units, freeze
from catseye.training.trials.activations import cache_activations, split_backbone
from catseye.training.trials.frozen_rungs import head_state
from catseye.training.trials.halving import halve
from catseye.training.trials.scores import TrialScore, score_answers
from catseye.training.trials.search import HeadStart, Kept, Search, SearchOver, TrialModel
from catseye.training.trials.trial_features import FrozenBackbone, at_size
from catseye.training.trials.tuning_steps import (
    BATCH,
    JUDGED_SHARE,
    TIMED_STEPS,
    TuningPlan,
    judging_loader,
    make_state,
    run_epochs,
    settle_norms,
    time_steps,
    tuning_settings,
)

ROUND_EPOCHS = (3, 8, 20)
ACTIVATION_SHARE = 0.2  # of the free memory


@dataclass(frozen=True)
class Recipe:
    """A plan and its number of epochs."""

    plan: TuningPlan
    epochs: int


@dataclass(frozen=True)
class Tuned:
    """The result of a plan: a state, the outputs for the judges, and the time."""

    state: dict[str, Tensor]
    outputs: Outputs
    seconds: float
    num_epochs: int


def choose_plans(base_px: int, num_units: int) -> list[TuningPlan]:
    """The candidates, the most promising first.

    On images unlike ImageNet's, tuning all stages gains most, and early.
    """
    small = min(160, base_px)
    plans = [TuningPlan(0, small, 3e-4)]
    if num_units > 2:
        plans.append(TuningPlan(2, base_px, 2e-4, learns_norms=False))
    plans.append(TuningPlan(0, small, 1e-3))
    if base_px > small:
        plans.append(TuningPlan(0, min(224, base_px), 3e-4))
    return plans


def average_states(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of networks tuned from the same start; counters are the first's.

    Source: Wortsman et al. 2022, Model soups, arXiv 2203.05482.
    """
    first = states[0]
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in first.items()
    }


def tuning_rungs(search: Search, backbone: FrozenBackbone) -> None:
    """Try the plans by successive halving, then the mean of the best two.

    What is kept is tuned again on all training images.

    Raises:
        SearchOver: the time is up, or a signal came.

    """
    kept = search.kept
    if kept is None or search.start is None or not search.may_gain:
        return
    tuner = _Tuner(search, backbone, search.start, kept.session.prepared.spec.height_px)
    plans = choose_plans(tuner.base_px, len(backbone_units(backbone.model)))
    try:
        halve(plans, tuner.attempt, len(ROUND_EPOCHS))
        tuner.attempt_average()
    finally:
        tuner.finish_kept()


class _Tuner:
    """Tunes plans, and measures how long a step of each takes."""

    def __init__(self, search: Search, backbone: FrozenBackbone, start: HeadStart, base_px: int) -> None:
        self.search, self.backbone, self.base_px = search, backbone, base_px
        self._start = start
        self._start_without_judges: tuple[Tensor, Tensor] | None = None
        self._sessions: dict[int, RunSession] = {}
        self._step_s: dict[TuningPlan, float] = {}  # per image
        self._best: list[tuple[float, Recipe, dict[str, Tensor]]] = []  # the two networks with the highest scores
        self._kept: tuple[Recipe, ...] = ()  # if several, the mean of their weights

    def attempt(self, plan: TuningPlan, round_number: int) -> float | None:
        """The accuracy of a plan after a round; None if it does not fit, or diverged."""
        search = self.search
        search.raise_if_over()
        jury, epochs = search.jury, ROUND_EPOCHS[round_number]
        assert jury is not None
        name = plan.name(epochs)
        if search.done_before(name):
            return search.trials[-1].score
        recipe = Recipe(plan, epochs)
        if plan not in self._step_s and not search.budget.fits(self._least_s(recipe)):
            return None
        forecast = self.forecast_s(plan, epochs, len(jury.tuned_on), len(jury.judges))
        # At the end, it or what is kept so far is tuned again on all training images.
        reserved = max(self._again_s((recipe,)), self._again_s(self._kept))
        if not search.budget.fits(forecast + reserved):
            return None
        try:
            limit = search.budget.limit_s(forecast, reserved)
            tuned = self.tune(plan, epochs, jury.tuned_on, jury.judges, limit)
        except Diverged:
            search.session.place.say(f"- {name}: the loss diverged")
            return None
        score = self._score(tuned.outputs)
        if search.consider(name, score, tuned.seconds, lambda: self._trial_model(plan, tuned, name, score)):
            self._kept = (recipe,)
        self._best = sorted([*self._best, (score.accuracy, recipe, tuned.state)], key=lambda entry: -entry[0])[:2]
        return score.accuracy

    def attempt_average(self) -> None:
        """Try the mean of the weights of the best two tuned networks.

        Raises:
            SearchOver: the time is up, or a signal came.

        """
        search, jury = self.search, self.search.jury
        if len(self._best) < 2 or not search.may_gain:
            return
        assert jury is not None
        search.raise_if_over()
        recipes = tuple(recipe for _, recipe, _ in self._best)
        plan = recipes[0].plan
        forecast = search.pace_of(self.backbone.session).forecast_s(len(jury.judges), plan.px)
        if not search.budget.fits(forecast + max(self._again_s(recipes), self._again_s(self._kept))):
            return
        begun = time.perf_counter()
        mean = average_states([state for _, _, state in self._best])
        outputs = self._answer(mean, plan.px, jury.judges)
        tuned = Tuned(mean, outputs, time.perf_counter() - begun, recipes[0].epochs)
        score, name = self._score(outputs), f"mean weights of the two best tuned, {plan.px} px"
        if search.consider(name, score, tuned.seconds, lambda: self._trial_model(plan, tuned, name, score)):
            self._kept = recipes

    def finish_kept(self) -> None:
        """Tune what was kept again on all training images, if a fold of them judged."""
        search, jury = self.search, self.search.jury
        if not self._kept or jury is None or jury.by_validation or search.stop.agree() is not None:
            return
        everything, begun = self._training(), time.perf_counter()
        forecasts = [self.forecast_s(recipe.plan, recipe.epochs, len(everything), 0) for recipe in self._kept]
        if search.budget.limit_s(sum(forecasts)) < JUDGED_SHARE * sum(forecasts):  # too short for the judged steps
            search.session.place.say(
                "- no time to tune again on all training images; it remains tuned on three quarters of them"
            )
            return
        tuned = []
        for number, recipe in enumerate(self._kept):
            limit = search.budget.limit_s(forecasts[number], sum(forecasts[number + 1 :]))
            tuned.append(self.tune(recipe.plan, recipe.epochs, everything, jury.judges[:1], limit))
        seconds = time.perf_counter() - begun
        mean = average_states([each.state for each in tuned])
        assert search.kept is not None
        name = f"{search.kept.name}, on all training images"
        search.keep(self._trial_model(self._kept[0].plan, replace(tuned[0], state=mean), name, search.kept.score))
        search.session.place.say(f"- tuned again on all {len(everything):,} training images, {seconds:.1f} s")

    def forecast_s(self, plan: TuningPlan, epochs: int, num_training: int, num_judges: int) -> float:
        """Seconds that tuning will take, from measured steps."""
        pace = self.search.pace_of(self.backbone.session)
        judging_s = pace.forecast_s(num_judges, plan.px)
        front_s = pace.forecast_s(2 * num_training, plan.px) if plan.stages else 0.0
        return epochs * num_training * self._per_image_s(plan) + judging_s + front_s

    def _least_s(self, recipe: Recipe) -> float:
        """The least that tuning takes, without measuring a step, which takes seconds."""
        jury, pace, plan = self.search.jury, self.search.pace_of(self.backbone.session), recipe.plan
        assert jury is not None
        num = len(jury.tuned_on) + (0 if jury.by_validation else len(self._training()))
        passes = 2 if plan.stages else 2 * recipe.epochs  # backward takes as long as forward, or longer
        measured = BATCH * TIMED_STEPS * (1 if plan.stages else 2)
        return pace.forecast_s(passes * num + measured + len(jury.judges), plan.px)

    def tune(self, plan: TuningPlan, epochs: int, training: Indices, judges: Indices, limit_s: float) -> Tuned:
        """Train a plan on some images and classify others, all within `limit_s` seconds.

        Raises:
            SearchOver: a signal came. Diverged: the loss is NaN.

        """
        search, begun = self.search, time.perf_counter()
        session = self._session(plan.px)
        state, loader, judging = self._prepare(plan, epochs, session, training, judges)
        spent = time.perf_counter() - begun + search.pace_of(session).forecast_s(len(judges), plan.px)
        run_epochs(search, state, loader, epochs, limit_s - spent)
        outputs = collect_logits(state.model, judging, session.prepared.spec)
        trained = {name: value.detach().cpu() for name, value in state.model.state_dict().items()}
        whole = {**{name: value.cpu() for name, value in self.backbone.model.state_dict().items()}, **trained}
        return Tuned(whole, outputs, time.perf_counter() - begun, epochs)

    def _prepare(
        self, plan: TuningPlan, epochs: int, session: RunSession, training: Indices, judges: Indices
    ) -> tuple[TrainState, Loader, Loader]:
        """The state, and loaders of training images and judges, or of their activations."""
        model = copy.deepcopy(self.backbone.model)
        model.load_state_dict(head_state(*self._head_for(training)), strict=False)
        model.requires_grad_(True)
        learn = session.prepared.loaders["train"].subset(np.sort(training))
        judge = judging_loader(session, judges)
        if plan.stages:
            for unit in backbone_units(model)[: -plan.stages]:
                for layer in unit:
                    freeze(layer)
            sides = session.prepared.spec
            x = torch.rand(2, sides.channels, sides.height_px, sides.width_px, device=session.place.device)
            halves = split_backbone(model, plan.stages, x)
            room = ACTIVATION_SHARE * free_memory_bytes(session.place.device)
            if halves is not None and halves.bytes_per_image * (2 * len(training) + len(judges)) <= room:
                front, tail = halves.front, halves.tail
                mirrored = session.prepared.images.mirror_safe
                seed = session.settings.seed
                check = self._raise_if_stopped
                learn = cache_activations(front, learn, session, mirrored=mirrored, seed=seed, check=check)
                judge = cache_activations(front, judge, session, mirrored=False, seed=seed, check=check)
                model = tail
        settle_norms(model, learn=plan.learns_norms, num_steps=epochs * learn.num_batches)
        state = make_state(tuning_settings(plan, epochs, session), session, model, learn)
        return state, learn, judge

    def _head_for(self, training: Indices) -> tuple[Tensor, Tensor]:
        """The head to start from; if a fold judges, it was fitted without that fold."""
        jury = self.search.jury
        assert jury is not None
        if jury.by_validation or np.isin(jury.judges, training).any():
            return self._start.weight, self._start.bias
        if self._start_without_judges is None:
            self._start_without_judges = self._start.without_judges()
        return self._start_without_judges

    def _answer(self, state: Mapping[str, Tensor], px: int, judges: Indices) -> Outputs:
        session = self._session(px)
        model = copy.deepcopy(self.backbone.model)
        model.load_state_dict(state)
        return collect_logits(model, judging_loader(session, judges), session.prepared.spec)

    def _score(self, outputs: Outputs) -> TrialScore:
        return score_answers(outputs.logits, outputs.labels, outputs.indices, self.search.weights)

    def _raise_if_stopped(self) -> None:
        if self.search.stop.agree() is not None:
            raise SearchOver

    def _per_image_s(self, plan: TuningPlan) -> float:
        """Seconds of training per image and epoch, from steps of a temporary copy."""
        if plan not in self._step_s:
            jury = self.search.jury
            assert jury is not None
            few = jury.tuned_on[: BATCH * TIMED_STEPS]
            state, loader, _ = self._prepare(plan, 1, self._session(plan.px), few, jury.judges[:1])
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

    def _again_s(self, recipes: Sequence[Recipe]) -> float:
        """The time to tune them again on all images; 0 if validation images judge."""
        jury = self.search.jury
        assert jury is not None
        if jury.by_validation:
            return 0.0
        num = len(self._training())
        return sum(self.forecast_s(recipe.plan, recipe.epochs, num, 0) for recipe in recipes)

    def _trial_model(self, plan: TuningPlan, tuned: Tuned, name: str, score: TrialScore) -> TrialModel:
        session = self._session(plan.px)
        manifest = make_manifest(session, self.backbone.architecture)
        if len(tuned.outputs.labels) > 1:
            temperature = fit_temperature(tuned.outputs.logits, tuned.outputs.labels)
            manifest = manifest.model_copy(update={"temperature": temperature})
        strategy = "fine-tune" if plan.stages else "full"
        return TrialModel(tuned.state, Kept(name, score, session, session.prepared.loaders, manifest, strategy))
