"""The state of a search for the best model: trials, kept model, judges.

Enters: a session, its run folder and a time budget. Leaves: auto.json and model.safetensors, complete after every
trial. The rungs (frozen_rungs.py, tuning_rungs.py, fresh_rungs.py) pass trials to `consider`; ladder.py runs them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from catseye.data.loaders import Indices, Loader
from catseye.data.sources import TRAIN, VAL
from catseye.errors import ModelFileError
from catseye.manifest import Manifest
from catseye.runs import CHECKPOINT_FILE, Run, save_model, write_json
from catseye.tensor_files import read_tensors, write_tensors
from catseye.training.losses import balanced_weights
from catseye.training.session import RunSession
from catseye.training.signals import StopRequest
from catseye.training.trials.folds import draw_trial_folds
from catseye.training.trials.scores import Comparison, TrialScore, compare_scores
from catseye.training.trials.time_budget import Pace, TimeBudget

ENOUGH_TO_JUDGE = 40  # validation images, besides a test split; with fewer, a part of the training images judges
NUM_FOLDS = 4
FEW = 1_000  # images: with fewer, the folds are drawn three times
REPETITIONS = 3
_KEY = "search"


class SearchOver(Exception):
    """The time is up or a signal came: the kept model is measured."""


@dataclass(frozen=True)
class Trial:
    """One trial. `gain` and `margin` compare it with the model kept before.

    They are measured on the `num_common` images that both have classified.
    """

    name: str
    score: float
    score_low: float
    score_high: float
    num_images: int
    seconds: float
    verdict: str  # kept, not kept, for comparison
    gain: float | None = None
    margin: float | None = None
    num_common: int = 0

    def line(self, number: int) -> str:
        """The line that the screen shows."""
        score = f"trial {number:>2} | {self.name:<44} | {self.score:.1%} ({self.score_low:.1%} – {self.score_high:.1%})"
        gain = ""
        if self.gain is not None and self.margin is not None:
            gain = f" {100 * self.gain:+.1f} ± {100 * self.margin:.1f} points on {self.num_common:,}"
        return f"{score}{gain} | {self.seconds:.1f} s | {self.verdict}"


@dataclass(frozen=True)
class Kept:
    """The best model so far: how it was made, its score, and what measuring it needs."""

    name: str
    score: TrialScore
    session: RunSession  # with the input that this model takes
    loaders: Mapping[str, Loader]  # of features, if they are known
    manifest: Manifest
    strategy: str = "feature-extraction"
    rows: tuple[Mapping[str, Any], ...] = ()
    unfinished: bool = False  # weights of the first trial, which is still running
    slower: float = 1.0  # the time of an answer as a multiple of the network's usual time


@dataclass(frozen=True)
class TrialModel:
    """The model of a trial: a network's state, and what measuring it needs."""

    state: Mapping[str, Tensor]
    kept: Kept


@dataclass(frozen=True)
class HeadStart:
    """The head that tuning starts from, fitted on all training images.

    `without_judges` fits it without those that judge the tuned network.
    """

    weight: Tensor
    bias: Tensor
    without_judges: Callable[[], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Jury:
    """The images that train and those that judge, by number.

    `learners` train heads, `folds` (R, n) are their folds; `tuned_on` train tuned networks. `judges` judge those: the
    validation images, or one of the folds.
    """

    learners: Indices
    folds: NDArray[np.int64]
    tuned_on: Indices
    judges: Indices
    by_validation: bool


@dataclass
class Search:
    """The state of a search."""

    session: RunSession
    run: Run
    budget: TimeBudget
    stop: StopRequest
    paces: dict[str, Pace] = field(default_factory=dict)  # by network; see `pace_of`
    trials: list[Trial] = field(default_factory=list)
    kept: Kept | None = None
    jury: Jury | None = None
    head: str = "logistic regression"  # the best kind of head so far
    start: HeadStart | None = None
    before: dict[str, Trial] = field(default_factory=dict)  # of an interrupted search
    slowest_head_s: float = 0.0  # the longest time to fit a head

    @property
    def num_classes(self) -> int:
        """Classes of the images."""
        return len(self.session.prepared.images.classes)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class of every image, (N,)."""
        return self.session.prepared.images.labels

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weight of every image, (N,): equal, or such that classes weigh the same."""
        if self.session.settings.training.class_weights == "none":
            return np.ones(len(self.labels))
        return balanced_weights(self.session.prepared.class_counts)[self.labels]

    def pace_of(self, session: RunSession) -> Pace:
        """The speed of the network of these settings on this machine."""
        return self.paces.setdefault(session.settings.model.name, Pace())

    def raise_if_over(self) -> None:
        """End the search if there is a reason to; called wherever work may stop.

        Raises:
            SearchOver: a signal came, or the time is up.

        """
        if self.stop.agree() is not None or (self.kept is not None and self.budget.left_s <= 0):
            raise SearchOver

    def consider(
        self, name: str, score: TrialScore, seconds: float, make: Callable[[], TrialModel] | None = None
    ) -> bool:
        """Report a trial, and keep its model if it pays; return whether it was kept.

        Without `make` the trial is a comparison that cannot be kept.
        """
        rival = None if self.kept is None or self.kept.unfinished else self.kept
        comparison = compare_scores(score, rival.score) if rival else Comparison(True, 0.0, 0.0, 0)  # the first is kept
        pays = make is not None and comparison.pays
        verdict = "for comparison" if make is None else "kept" if pays else "not kept"
        low, high = score.interval
        gain = (comparison.gain, comparison.margin, comparison.num_images) if rival else (None, None, 0)
        num = int(score.judged.sum())
        trial = Trial(name, score.accuracy, low, high, num, round(seconds, 2), verdict, *gain)
        if pays and make is not None:
            self.keep(make())
        self.trials.append(trial)
        self.write()
        self.session.place.say(trial.line(len(self.trials)))
        return pays

    @property
    def may_gain(self) -> bool:
        """Whether the best model so far has classified any judging image wrongly."""
        return self.kept is None or self.kept.score.accuracy < 1

    def keep(self, model: TrialModel) -> None:
        """Make it the model of the run."""
        save_model(self.run.model_path, model.state, model.kept.manifest)
        self.kept = model.kept

    def done_before(self, name: str) -> bool:
        """Whether an interrupted search has tried this; if so, show its line again."""
        if name not in self.before:
            return False
        self.trials.append(self.before.pop(name))
        self.session.place.say(self.trials[-1].line(len(self.trials)))
        return True

    def to_json(self) -> dict[str, Any]:
        """The content of auto.json."""
        decided = dict(self.session.decided or {})
        kept = self.kept.name if self.kept else None
        return {
            **decided,
            "time_s": self.session.settings.training.time_s or None,
            "spent_s": round(self.budget.spent_s, 1),
            "judged_by": self._judged_by(),
            "kept": kept,
            "trials": [asdict(trial) for trial in self.trials],
        }

    def _judged_by(self) -> str:
        if self.jury is None:
            return ""
        if self.jury.by_validation:
            return f"{len(self.jury.judges):,} validation images, and training images outside the fold they trained"
        return "training images outside the fold they trained"

    def write(self) -> None:
        """Write auto.json, and the state from which an interrupted search can be resumed."""
        write_json(self.run.path / "auto.json", self.to_json())
        if self.kept is None:
            return
        tensors = {"correct": self.kept.score.correct, "loss": self.kept.score.loss}
        state = {"name": self.kept.name, "strategy": self.kept.strategy, "spent_s": self.budget.spent_s}
        content = json.dumps({**state, "trials": [asdict(trial) for trial in self.trials]})
        numbers = {name: from_numpy(value) for name, value in tensors.items()}
        write_tensors(self.run.path / CHECKPOINT_FILE, numbers, {_KEY: content})


def choose_jury(session: RunSession, learners: Indices) -> Jury:
    """Choose the images that judge: validation images, or a training fold.

    Validation images judge only if there is a test split to measure at the end. No fold splits a group or near copies.
    """
    prepared, seed = session.prepared, session.settings.seed
    labels = prepared.images.labels
    groups = prepared.groups if prepared.groups is not None else np.arange(len(labels))
    times = REPETITIONS if len(learners) < FEW else 1
    folds = np.stack(
        [draw_trial_folds(labels[learners], groups[learners], NUM_FOLDS, seed + each) for each in range(times)]
    )
    validation = np.flatnonzero(prepared.splits == VAL).astype(np.int64)
    if prepared.counts["test"] and len(validation) >= ENOUGH_TO_JUDGE:
        return Jury(learners, folds, np.flatnonzero(prepared.splits == TRAIN).astype(np.int64), validation, True)
    training = np.flatnonzero(prepared.splits == TRAIN).astype(np.int64)
    judges = learners[folds[0] == 0]
    tuned_on = training[~np.isin(groups[training], groups[judges])]
    return Jury(learners, folds, tuned_on, judges, False)


def read_search(run: Run) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]] | None:
    """The state that an interrupted search wrote, or None."""
    path = run.path / CHECKPOINT_FILE
    if not path.exists():
        return None
    try:
        tensors, metadata = read_tensors(path, sealed=True)
        return json.loads(metadata[_KEY]), {name: value.double().numpy() for name, value in tensors.items()}
    except (ModelFileError, KeyError, ValueError):
        return None


def restored_trials(rows: Sequence[Mapping[str, Any]]) -> list[Trial]:
    """The trials of an interrupted search."""
    return [Trial(**row) for row in rows]
