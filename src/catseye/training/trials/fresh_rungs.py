"""The rungs with fresh weights: for small images, or without published weights.

Enters: a `Search`. Leaves: trials, and a model after the first epoch if there was none. Called by ladder.py. Every
network trains for a short time, the better half three times as long, and so on while the time lasts. Each training has
a complete schedule.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from catseye.data.loaders import Indices
from catseye.data.prepare import Prepared, own_input, prepare_again
from catseye.data.sources import TRAIN
from catseye.errors import DataError, Diverged
from catseye.evaluation.calibration import fit_temperature
from catseye.evaluation.predict import Outputs, collect_logits
from catseye.models.stems import SMALL_PX
from catseye.settings.merge import load_settings
from catseye.settings.schema import Settings
from catseye.training.assemble import Assembled, assemble
from catseye.training.auto import batch_and_epochs
from catseye.training.run_folder import make_manifest
from catseye.training.session import RunSession
from catseye.training.trials.halving import halve
from catseye.training.trials.scores import TrialScore, score_answers
from catseye.training.trials.search import Kept, Search, TrialModel, choose_jury
from catseye.training.trials.tuning_steps import JUDGED_SHARE, judging_loader, quiet, run_epochs, time_steps

LONGER = 3  # factor of the epochs from round to round
LEAST_LONGER = 1.5  # the same if the time is short
NUM_ROUNDS = 5
FIRST_SHARE = 0.25  # of the time left: the most that training the first network may take
MOST_EPOCHS = 300
NETWORKS = ("simple", "residual")


@dataclass(frozen=True, eq=False)
class FreshPlan:
    """A network and its training settings; each round sets the number of epochs."""

    settings: Settings

    def name(self, epochs: int) -> str:
        """The name of the trial."""
        word = "epoch" if epochs == 1 else "epochs"
        return f"{self.settings.model.name} from fresh weights, {epochs} {word}"


def fresh_rungs(search: Search) -> None:
    """Train with fresh weights, on small images or without published weights.

    Raises:
        SearchOver: the time is up, or a signal came.

    """
    session = search.session
    if (session.published is not None and session.prepared.own_px > SMALL_PX) or not search.may_gain:
        return
    trainer = _FreshTrainer(search, _own_session(session))
    plans = choose_networks(trainer.session, alone=bool(session.decided) and _named(session))
    try:
        halve(plans, trainer.attempt, NUM_ROUNDS)
    finally:
        trainer.finish_kept()


def choose_networks(session: RunSession, *, alone: bool) -> list[FreshPlan]:
    """The candidates; with `alone`, only the network that the user named."""
    plans = [FreshPlan(session.settings)]
    for name in () if alone else NETWORKS:
        if name != session.settings.model.name:
            model = type(session.settings.model)(name=name)
            plans.append(FreshPlan(session.settings.model_copy(update={"model": model})))
    return plans


def _named(session: RunSession) -> bool:
    facts = (session.decided or {}).get("facts", {})
    return bool(facts.get("fresh_because"))


def _own_session(session: RunSession) -> RunSession:
    """The session with the images' own size, and the settings for fresh weights."""
    if session.published is None:
        return quiet(session)
    given, prepared = session.settings, session.prepared
    size, epochs = batch_and_epochs(prepared.counts["train"], largest=128, epochs=10)
    own = load_settings("quick", values={"seed": given.seed, "training.class_weights": given.training.class_weights})
    training = own.training.model_copy(update={"batch_size": size, "epochs": epochs, "lr": 0.1 * size / 128})
    data = given.data.model_copy(update={"input_px": "auto", "resize": "pad"})
    settings = own.model_copy(update={"data": data, "training": training})
    again = prepare_again(
        prepared, data, own_input(prepared, data), batch_size=size, device=session.place.device, seed=given.seed,
        measure=True,
    )  # fmt: skip
    if not prepared.images.mirror_safe:
        augment = settings.augment.model_copy(update={"hflip": 0.0, "hflip_alternate": False})
        settings = settings.model_copy(update={"augment": augment})
    return quiet(replace(session, settings=settings, prepared=again, published=None))


class _FreshTrainer:
    """Trains networks from fresh weights, and measures how long a step of each takes."""

    def __init__(self, search: Search, session: RunSession) -> None:
        self.search, self.session = search, session
        if search.jury is None:
            learners = np.flatnonzero(session.prepared.splits == TRAIN).astype(np.int64)
            search.jury = choose_jury(session, learners)
        self.jury = search.jury
        self._image_s: dict[str, float] = {}
        self._done: dict[FreshPlan, int] = {}  # the epochs of its longest training
        self._kept_plan: tuple[FreshPlan, int] | None = None

    def attempt(self, plan: FreshPlan, round_number: int) -> float | None:
        """The accuracy of a network after a round; None if it does not fit, or failed."""
        search, jury = self.search, self.jury
        search.raise_if_over()
        wanted = min(MOST_EPOCHS, plan.settings.training.epochs * LONGER**round_number)
        each_s = self._per_image_s(plan) * len(jury.tuned_on)
        judging_s = search.pace_of(self.session).forecast_s(len(jury.judges), self.session.prepared.spec.height_px)
        times = 1 if jury.by_validation else 1 + len(self._training()) / max(1, len(jury.tuned_on))
        if search.kept is None:  # the first is always trained, and leaves time for others
            fitting = search.budget.num_fitting(judging_s, times * each_s / FIRST_SHARE, wanted)
            epochs = max(1, fitting)
        else:
            epochs = search.budget.num_fitting(judging_s + self._reserved_s(), times * each_s, wanted)
            if epochs < max(1, LEAST_LONGER * self._done.get(plan, 0)):
                return None
        name = plan.name(epochs)
        if search.done_before(name):
            return search.trials[-1].score
        begun = time.perf_counter()
        later = max((times - 1) * epochs * each_s, self._reserved_s()) if search.kept is not None else 0.0
        limit = search.budget.limit_s(epochs * each_s, later + judging_s)
        try:
            state, outputs, built = self._train(plan, epochs, jury.tuned_on, jury.judges, limit)
        except (Diverged, DataError) as error:
            search.session.place.say(f"- {name}: {str(error).partition('; try')[0]}")
            return None
        score = score_answers(outputs.logits, outputs.labels, outputs.indices, search.weights)
        spent = time.perf_counter() - begun
        self._done[plan] = epochs
        if search.consider(name, score, spent, lambda: self._trial_model(built, state, outputs, name, score)):
            self._kept_plan = (plan, epochs)
        return score.accuracy

    def finish_kept(self) -> None:
        """Train what was kept again on all training images, if a fold of them judged."""
        search = self.search
        if self._kept_plan is None or self.jury.by_validation or search.stop.agree() is not None:
            return
        plan, epochs = self._kept_plan
        forecast = self._reserved_s()
        kept = search.kept
        limit = search.budget.limit_s(forecast)
        if kept is None or limit < JUDGED_SHARE * forecast:  # too short even for the steps of the judged training
            return
        everything = self._training()
        begun = time.perf_counter()
        state, outputs, built = self._train(plan, epochs, everything, self.jury.judges, limit)
        search.keep(self._trial_model(built, state, outputs, f"{kept.name}, on all training images", kept.score))
        spent = time.perf_counter() - begun
        search.session.place.say(f"- trained once more on all {len(everything):,} training images, {spent:.1f} s")

    def _reserved_s(self) -> float:
        if self._kept_plan is None or self.jury.by_validation:
            return 0.0
        plan, epochs = self._kept_plan
        return epochs * self._per_image_s(plan) * len(self._training())

    def _training(self) -> Indices:
        return np.flatnonzero(self.session.prepared.splits == TRAIN).astype(np.int64)

    def _per_image_s(self, plan: FreshPlan) -> float:
        name = plan.settings.model.name
        if name not in self._image_s:
            built = self._build(plan, 1, self.jury.tuned_on)
            self._image_s[name] = time_steps(built.state, built.loaders["train"])
            self.search.pace_of(self.session).note(1, self.session.prepared.spec.height_px, self._image_s[name] / 2)
        return self._image_s[name]

    def _build(self, plan: FreshPlan, epochs: int, training: Indices) -> Assembled:
        training_settings = plan.settings.training.model_copy(update={"epochs": epochs})
        settings = plan.settings.model_copy(update={"training": training_settings})
        prepared: Prepared = self.session.prepared
        loaders = {**prepared.loaders, "train": prepared.loaders["train"].subset(np.sort(training))}
        return assemble(replace(self.session, settings=settings, prepared=replace(prepared, loaders=loaders)))

    def _train(
        self, plan: FreshPlan, epochs: int, training: Indices, judges: Indices, limit_s: float
    ) -> tuple[dict[str, Tensor], Outputs, Assembled]:
        built = self._build(plan, epochs, training)
        loader, judge = built.loaders["train"], judging_loader(self.session, judges)
        first: Callable[[], None] | None = None
        if self.search.kept is None:

            def first() -> None:
                self._keep_so_far(plan, built, judge)

        run_epochs(self.search, built.state, loader, epochs, limit_s, after_epoch=first)
        outputs = collect_logits(built.state.model, judge, self.session.prepared.spec)
        state = {name: value.detach().cpu().clone() for name, value in built.state.model.state_dict().items()}
        return state, outputs, built

    def _keep_so_far(self, plan: FreshPlan, built: Assembled, judge: object) -> None:
        """Keep the weights of the first trial's epoch until there is a better model."""
        outputs = collect_logits(built.state.model, judge, self.session.prepared.spec)  # type: ignore[arg-type]
        if not np.isfinite(outputs.logits).all():
            return
        score = score_answers(outputs.logits, outputs.labels, outputs.indices, self.search.weights)
        name = f"{plan.settings.model.name} from fresh weights, unfinished"
        model = self._trial_model(built, built.state.model.state_dict(), outputs, name, score)
        self.search.keep(replace(model, kept=replace(model.kept, unfinished=True)))

    def _trial_model(
        self, built: Assembled, state: dict[str, Tensor], outputs: Outputs, name: str, score: TrialScore
    ) -> TrialModel:
        manifest = make_manifest(self.session, built.network.architecture)
        manifest = manifest.model_copy(update={"temperature": fit_temperature(outputs.logits, outputs.labels)})
        loud = replace(self.session, place=self.search.session.place)
        return TrialModel(state, Kept(name, score, loud, loud.prepared.loaders, manifest, "fresh"))
