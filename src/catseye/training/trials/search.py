"""One search for the best model in a given time: what has been tried, what is kept, and the model as it stands.

Enters: a session, its run folder and a time budget. Leaves: auto.json and model.safetensors, whole after every trial.
The rungs (frozen_rungs.py, tuning_rungs.py, fresh_rungs.py) hand their trials to `consider`; ladder.py runs them.
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
from catseye.training.trials.scores import Comparison, TrialScore, judge_beside
from catseye.training.trials.time_budget import Pace, TimeBudget

ENOUGH_TO_JUDGE = 40  # validation images, beside a test split: with fewer, a part of the training images judges
NUM_FOLDS = 4
FEW = 1_000  # images: below, the folds are drawn three times
REPETITIONS = 3
_KEY = "search"


class SearchOver(Exception):
    """Time is up or a signal came: what is kept is measured."""


@dataclass(frozen=True)
class Trial:
    """One line of the ladder. `gain` and `margin` are against what was kept before, on `num_common` images."""

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
        """What the screen shows."""
        said = f"trial {number:>2} | {self.name:<44} | {self.score:.1%} ({self.score_low:.1%} – {self.score_high:.1%})"
        beside = ""
        if self.gain is not None and self.margin is not None:
            beside = f" {100 * self.gain:+.1f} ± {100 * self.margin:.1f} points on {self.num_common:,}"
        return f"{said}{beside} | {self.seconds:.1f} s | {self.verdict}"


@dataclass(frozen=True)
class Kept:
    """The model as it stands: how it was made, what is needed to measure it, and its score."""

    name: str
    score: TrialScore
    session: RunSession  # with the input that this model takes
    loaders: Mapping[str, Loader]  # of features where those are known
    manifest: Manifest
    strategy: str = "feature-extraction"
    rows: tuple[Mapping[str, Any], ...] = ()
    unfinished: bool = False  # weights of the first trial, which still goes on
    slower: float = 1.0  # how many times the network's usual time an answer takes


@dataclass(frozen=True)
class Found:
    """What a trial hands over where it can be kept: a whole network's state, and how it is measured."""

    state: Mapping[str, Tensor]
    kept: Kept


@dataclass(frozen=True)
class HeadStart:
    """The head that tuning begins from: fitted on all training images, or without those that judge what is tuned."""

    weight: Tensor
    bias: Tensor
    without_judges: Callable[[], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Jury:
    """Who learns and who judges. `folds` (R, n) of the learners' numbers, in their order; `tuned_on` trains what is
    tuned, `asked` judges it: the validation images, or one of the folds.
    """

    learners: Indices
    folds: NDArray[np.int64]
    tuned_on: Indices
    asked: Indices
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
    head: str = "logistic regression"  # the kind of head that has been the best so far
    start: HeadStart | None = None
    before: dict[str, Trial] = field(default_factory=dict)  # of an interrupted search
    slowest_head_s: float = 0.0  # to fit a head on features that are known

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
        """What every image counts: the same, or so that each class does."""
        if self.session.settings.training.class_weights == "none":
            return np.ones(len(self.labels))
        return balanced_weights(self.session.prepared.class_counts)[self.labels]

    def pace_of(self, session: RunSession) -> Pace:
        """How fast the network of these settings is on this machine."""
        return self.paces.setdefault(session.settings.model.name, Pace())

    def look(self) -> None:
        """Called wherever work may end.

        Raises:
            SearchOver: a signal came, or the time is up.

        """
        if self.stop.asked() is not None or (self.kept is not None and self.budget.left_s <= 0):
            raise SearchOver

    def consider(self, name: str, score: TrialScore, seconds: float, make: Callable[[], Found] | None = None) -> bool:
        """Tell a trial, and keep its model if it pays. Without `make` it is a yardstick that cannot be kept."""
        rival = None if self.kept is None or self.kept.unfinished else self.kept
        verdict = judge_beside(score, rival.score) if rival else Comparison(True, 0.0, 0.0, 0)  # the first is kept
        pays = make is not None and verdict.pays
        told = "for comparison" if make is None else "kept" if pays else "not kept"
        low, high = score.interval
        beside = (verdict.gain, verdict.margin, verdict.num_images) if rival else (None, None, 0)
        num = int(score.asked.sum())
        trial = Trial(name, score.accuracy, low, high, num, round(seconds, 2), told, *beside)
        if pays and make is not None:
            self.keep(make())
        self.trials.append(trial)
        self.write()
        self.session.place.say(trial.line(len(self.trials)))
        return pays

    @property
    def may_gain(self) -> bool:
        """Whether the model as it stands leaves anything to be gained: a judge that it answered wrongly."""
        return self.kept is None or self.kept.score.accuracy < 1

    def keep(self, found: Found) -> None:
        """The model of the run from here on."""
        save_model(self.run.model_path, found.state, found.kept.manifest)
        self.kept = found.kept

    def done_before(self, name: str) -> bool:
        """Whether an interrupted search has tried this already; its line is told again."""
        if name not in self.before:
            return False
        self.trials.append(self.before.pop(name))
        self.session.place.say(self.trials[-1].line(len(self.trials)))
        return True

    def to_json(self) -> dict[str, Any]:
        """What auto.json says of the search."""
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
            return f"{len(self.jury.asked):,} validation images, and training images outside the fold they trained"
        return "training images outside the fold they trained"

    def write(self) -> None:
        """auto.json, and what an interrupted search goes on from."""
        write_json(self.run.path / "auto.json", self.to_json())
        if self.kept is None:
            return
        tensors = {"correct": self.kept.score.correct, "loss": self.kept.score.loss}
        state = {"name": self.kept.name, "strategy": self.kept.strategy, "spent_s": self.budget.spent_s}
        content = json.dumps({**state, "trials": [asdict(trial) for trial in self.trials]})
        numbers = {name: from_numpy(value) for name, value in tensors.items()}
        write_tensors(self.run.path / CHECKPOINT_FILE, numbers, {_KEY: content})


def choose_jury(session: RunSession, learners: Indices) -> Jury:
    """Validation images judge where a test split is measured at the end; else a fold of the training images does.

    Groups and near copies are on one side of every fold.
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
    asked = learners[folds[0] == 0]
    inner = groups[asked]
    return Jury(learners, folds, training[~np.isin(groups[training], inner)], asked, False)


def read_search(run: Run) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]] | None:
    """What an interrupted search wrote, or None."""
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
