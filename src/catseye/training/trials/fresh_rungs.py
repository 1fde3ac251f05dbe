"""The rungs of networks from fresh weights: for small images, and where no published weights are at hand.

Enters: a `Search`. Leaves: trials, and a model after the first epoch where there was none. Called by ladder.py. A short
training of every network, three times as long for the better half, and so on while the time lasts; a schedule is always
planned to its end.
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
from catseye.training.trials.search import Found, Kept, Search, choose_jury
from catseye.training.trials.tuning_steps import JUDGED_SHARE, judging_loader, quiet, run_epochs, time_steps

LONGER = 3  # times the epochs, from round to round
LEAST_LONGER = 1.5  # where the time is short
NUM_ROUNDS = 5
FIRST_SHARE = 0.25  # of what is left: the first network's training may take so much
MOST_EPOCHS = 300
NETWORKS = ("simple", "residual")


@dataclass(frozen=True, eq=False)
class FreshPlan:
    """A network and the settings it is trained with; the number of epochs is a round's."""

    settings: Settings

    def name(self, epochs: int) -> str:
        """What the trial is called."""
        word = "epoch" if epochs == 1 else "epochs"
        return f"{self.settings.model.name} from fresh weights, {epochs} {word}"


def fresh_rungs(search: Search) -> None:
    """Train networks from fresh weights where that may pay: without published weights, or on small images.

    Raises:
        SearchOver: the time is up, or a signal came.

    """
    session = search.session
    if (session.published is not None and session.prepared.own_px > SMALL_PX) or not search.may_gain:
        return
    nursery = _Nursery(search, _own_session(session))
    plans = choose_networks(nursery.session, alone=bool(session.decided) and _named(session))
    try:
        halve(plans, nursery.attempt, NUM_ROUNDS)
    finally:
        nursery.finish_kept()


def choose_networks(session: RunSession, *, alone: bool) -> list[FreshPlan]:
    """The candidates; `alone`: the user named the network, so there is one."""
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
    """The session with the images' own size, and the settings of a network from fresh weights."""
    if session.published is None:
        return quiet(session)
    chosen, prepared = session.settings, session.prepared
    size, epochs = batch_and_epochs(prepared.counts["train"], largest=128, epochs=10)
    own = load_settings("quick", values={"seed": chosen.seed, "training.class_weights": chosen.training.class_weights})
    training = own.training.model_copy(update={"batch_size": size, "epochs": epochs, "lr": 0.1 * size / 128})
    data = chosen.data.model_copy(update={"input_px": "auto", "resize": "pad"})
    settings = own.model_copy(update={"data": data, "training": training})
    again = prepare_again(
        prepared, data, own_input(prepared, data), batch_size=size, device=session.place.device, seed=chosen.seed,
        measure=True,
    )  # fmt: skip
    if not prepared.images.mirror_safe:
        augment = settings.augment.model_copy(update={"hflip": 0.0, "hflip_alternate": False})
        settings = settings.model_copy(update={"augment": augment})
    return quiet(replace(session, settings=settings, prepared=again, published=None))


class _Nursery:
    """Trains networks from fresh weights, and knows how long a step of each takes."""

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
        """The merit of a network after the epochs of a round; None where they do not fit, or its loss ran away."""
        search, jury = self.search, self.jury
        search.look()
        wanted = min(MOST_EPOCHS, plan.settings.training.epochs * LONGER**round_number)
        each_s = self._per_image_s(plan) * len(jury.tuned_on)
        asked_s = search.pace_of(self.session).forecast_s(len(jury.asked), self.session.prepared.spec.height_px)
        times = 1 if jury.by_validation else 1 + len(self._training()) / max(1, len(jury.tuned_on))
        if search.kept is None:  # the first one has to leave time for others, and has to be
            fitting = search.budget.num_fitting(asked_s, times * each_s / FIRST_SHARE, wanted)
            epochs = max(1, fitting)
        else:
            epochs = search.budget.num_fitting(asked_s + self._reserved_s(), times * each_s, wanted)
            if epochs < max(1, LEAST_LONGER * self._done.get(plan, 0)):
                return None
        name = plan.name(epochs)
        if search.done_before(name):
            return search.trials[-1].score
        begun = time.perf_counter()
        later = max((times - 1) * epochs * each_s, self._reserved_s()) if search.kept is not None else 0.0
        limit = search.budget.limit_s(epochs * each_s, later + asked_s)
        try:
            state, outputs, built = self._train(plan, epochs, jury.tuned_on, jury.asked, limit)
        except (Diverged, DataError) as error:
            search.session.place.say(f"- {name}: {str(error).partition('; try')[0]}")
            return None
        score = score_answers(outputs.logits, outputs.labels, outputs.indices, search.weights)
        spent = time.perf_counter() - begun
        self._done[plan] = epochs
        if search.consider(name, score, spent, lambda: self._found(built, state, outputs, name, score)):
            self._kept_plan = (plan, epochs)
        return score.accuracy

    def finish_kept(self) -> None:
        """Train what was kept once more, on all training images, where a fold of them had judged."""
        search = self.search
        if self._kept_plan is None or self.jury.by_validation or search.stop.asked() is not None:
            return
        plan, epochs = self._kept_plan
        forecast = self._reserved_s()
        kept = search.kept
        limit = search.budget.limit_s(forecast)
        if kept is None or limit < JUDGED_SHARE * forecast:  # as many steps as were judged
            return
        everything = self._training()
        begun = time.perf_counter()
        state, outputs, built = self._train(plan, epochs, everything, self.jury.asked, limit)
        search.keep(self._found(built, state, outputs, f"{kept.name}, on all training images", kept.score))
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
        chosen = plan.settings
        chosen = chosen.model_copy(update={"training": chosen.training.model_copy(update={"epochs": epochs})})
        prepared: Prepared = self.session.prepared
        loaders = {**prepared.loaders, "train": prepared.loaders["train"].subset(np.sort(training))}
        return assemble(replace(self.session, settings=chosen, prepared=replace(prepared, loaders=loaders)))

    def _train(
        self, plan: FreshPlan, epochs: int, training: Indices, asked: Indices, limit_s: float
    ) -> tuple[dict[str, Tensor], Outputs, Assembled]:
        built = self._build(plan, epochs, training)
        loader, judge = built.loaders["train"], judging_loader(self.session, asked)
        first: Callable[[], None] | None = None
        if self.search.kept is None:

            def first() -> None:
                self._keep_so_far(plan, built, judge)

        run_epochs(self.search, built.state, loader, epochs, limit_s, after_epoch=first)
        outputs = collect_logits(built.state.model, judge, self.session.prepared.spec)
        state = {name: value.detach().cpu().clone() for name, value in built.state.model.state_dict().items()}
        return state, outputs, built

    def _keep_so_far(self, plan: FreshPlan, built: Assembled, judge: object) -> None:
        """The weights after an epoch of the very first trial are a model until there is a better one."""
        outputs = collect_logits(built.state.model, judge, self.session.prepared.spec)  # type: ignore[arg-type]
        if not np.isfinite(outputs.logits).all():
            return
        score = score_answers(outputs.logits, outputs.labels, outputs.indices, self.search.weights)
        name = f"{plan.settings.model.name} from fresh weights, unfinished"
        found = self._found(built, built.state.model.state_dict(), outputs, name, score)
        self.search.keep(replace(found, kept=replace(found.kept, unfinished=True)))

    def _found(
        self, built: Assembled, state: dict[str, Tensor], outputs: Outputs, name: str, score: TrialScore
    ) -> Found:
        manifest = make_manifest(self.session, built.network.architecture)
        manifest = manifest.model_copy(update={"temperature": fit_temperature(outputs.logits, outputs.labels)})
        loud = replace(self.session, place=self.search.session.place)
        return Found(state, Kept(name, score, loud, loud.prepared.loaders, manifest, "fresh"))
