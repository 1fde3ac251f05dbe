"""The search for the best model in a given time, up to the measured run.

Enters: a session whose settings call for trials. Leaves: a finished run. Called by train.py. The rungs in order: heads
on frozen features (frozen_rungs.py), on those of other weights (more_weights.py), on those of copies (copy_rungs.py),
tuned networks that start from the best head (tuning_rungs.py), networks from fresh weights (fresh_rungs.py). No trial
starts if its forecast exceeds the time left.

The test images are used once, after the search. At every moment the run folder has a complete model, the best so far.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from catseye.data.prepare import prepare_again
from catseye.errors import Interrupted, ModelFileError
from catseye.runs import Run, load_model
from catseye.settings.typed import say_duration
from catseye.training.finish import NUM_LARGE, TrainedRun, measure_and_complete
from catseye.training.kept_features import drop_features
from catseye.training.request import RunRequest
from catseye.training.run_folder import begin_search
from catseye.training.session import RunSession
from catseye.training.signals import StopRequest
from catseye.training.trials.copy_rungs import copy_rungs
from catseye.training.trials.fresh_rungs import fresh_rungs
from catseye.training.trials.frozen_rungs import frozen_rungs, try_sizes
from catseye.training.trials.more_weights import try_more_weights, try_side_by_side
from catseye.training.trials.scores import TrialScore
from catseye.training.trials.search import Kept, Search, SearchOver, TrialModel, read_search, restored_trials
from catseye.training.trials.time_budget import TimeBudget
from catseye.training.trials.trial_features import MOST_JUDGES, open_frozen
from catseye.training.trials.tuning_rungs import tuning_rungs

PATIENCE_S = 300.0  # without --time
SHORT_PATIENCE_S = 45.0  # if the first head leaves little to gain
LITTLE_TO_GAIN = 0.05
FIXED_END_S, END_PER_START = 1.0, 0.2  # writing the results: fixed seconds, and a share of the seconds of the start


def searches(session: RunSession) -> bool:
    """Whether these settings call for trials."""
    return session.settings.training.time_s > 0 or session.settings.transfer.strategy == "trials"


def search_for_best(request: RunRequest, session: RunSession, run: Run, *, is_new: bool) -> TrainedRun:
    """Climb the ladder while the time lasts, then measure what was kept.

    The caller has locked the run folder.

    Raises:
        Interrupted: a signal came; the best model so far has been measured, if there was one.

    """
    before = None if is_new else read_search(run)
    if is_new:
        begin_search(run, session)
    promised = session.settings.training.time_s
    earlier_s = float(before[0]["spent_s"]) if before else 0.0
    budget = TimeBudget(request.begun_s - earlier_s, promised or PATIENCE_S)
    begun = budget.spent_s - earlier_s
    with StopRequest() as stop:
        search = Search(session, run, budget, stop)
        budget.ending_s = fixed_end_s = FIXED_END_S + END_PER_START * min(20.0, begun)
        earlier = None
        if before is not None:
            search.before = {trial.name: trial for trial in restored_trials(before[0]["trials"])}
            earlier = _kept_before(search, *before)
        with _until_it_is_over():
            _climb(search, fixed_end_s, earlier)
        if search.kept is None:
            number = stop.received or 0
            raise Interrupted(f"stopped before the first head; go on with: catseye train --resume {run.path}", number)
        trained = _measure_kept(search)
        if stop.received is not None:
            result = f"the best so far is measured: accuracy {trained.metrics.accuracy:.2%} on the {trained.side} split"
            raise Interrupted(f"stopped; {result}; run folder: {run.path}", stop.received)
    return trained


@contextmanager
def _until_it_is_over() -> Iterator[None]:
    try:
        yield
    except SearchOver:
        return


def _kept_before(search: Search, state: dict[str, Any], numbers: dict[str, NDArray[np.float64]]) -> TrialModel | None:
    """The model that an interrupted search kept.

    None if it is a head on frozen features: it is fitted again, which takes seconds.
    """
    if state["strategy"] == "feature-extraction":
        return None
    try:
        model, manifest = load_model(search.run.path, torch.device("cpu"))
    except ModelFileError:
        return None
    session, settings = search.session, search.session.settings
    if manifest.preprocessing != session.prepared.spec:
        again = prepare_again(
            session.prepared, settings.data, manifest.preprocessing, batch_size=settings.training.batch_size,
            device=session.place.device, seed=settings.seed,
        )  # fmt: skip
        session = replace(session, prepared=again)
    model_settings = type(settings.model)(name=manifest.architecture.name)
    session = replace(session, settings=settings.model_copy(update={"model": model_settings}))
    score = TrialScore(numbers["correct"], numbers["loss"], search.weights)
    kept = Kept(state["name"], score, session, session.prepared.loaders, manifest, state["strategy"])
    return TrialModel(dict(model.state_dict()), kept)


def _climb(search: Search, fixed_end_s: float, earlier: TrialModel | None) -> None:
    session, say = search.session, search.session.place.say
    if session.published is not None:
        backbone = open_frozen(search, session)
        _plan_end(search, fixed_end_s)
        frozen_rungs(search, backbone)
        _shorten_patience(search)
        backbones = try_more_weights(search, backbone)
        _plan_end(search, fixed_end_s)
        try_side_by_side(search, backbones)
        try_sizes(search, backbones[0])
        copy_rungs(search, backbones[0])
        if earlier is not None:
            search.keep(earlier)
        _plan_end(search, fixed_end_s)
        _shorten_patience(search)
        tuning_rungs(search, backbones[0])
    elif earlier is not None:
        search.keep(earlier)
    fresh_rungs(search)
    if search.budget.left_s > 0:
        total = f" of {say_duration(search.budget.total_s)}" if session.settings.training.time_s else ""
        reason = (
            "no further trial fits into the time" if search.may_gain else "every judging image is classified correctly"
        )
        say(f"- {reason}; {search.budget.spent_s:.0f} s{total} used")


def _shorten_patience(search: Search) -> None:
    """Without a promised time, stop earlier if the head leaves little to gain."""
    kept, promised = search.kept, search.session.settings.training.time_s
    if not promised and kept is not None and 1 - kept.score.accuracy <= LITTLE_TO_GAIN:
        search.budget.total_s = SHORT_PATIENCE_S


def _plan_end(search: Search, fixed_end_s: float) -> None:
    """Forecast the end: the test images, and some training images without features."""
    session = search.kept.session if search.kept else search.session
    counts, px = session.prepared.counts, session.prepared.spec.height_px
    num_images = counts["test"] + max(0, counts["val"] - MOST_JUDGES)
    if not counts["test"] and not session.published:
        num_images += counts["val"]
    if session.published is None:
        num_images += min(NUM_LARGE, counts["train"])
    slower = search.kept.slower if search.kept else 1.0
    measuring_s = slower * search.pace_of(session).forecast_s(num_images, px)
    search.budget.ending_s = fixed_end_s * crowding(search.budget.spent_s, time.process_time()) + measuring_s


def crowding(spent_s: float, computed_s: float) -> float:
    """The factor by which other programs slow this one; 1 if there are none.

    >>> crowding(20.0, 30.0), crowding(60.0, 20.0)
    (1.0, 3.0)
    """
    return max(1.0, min(10.0, spent_s / max(0.1, computed_s)))


def _measure_kept(search: Search) -> TrainedRun:
    """Fit the temperature, measure the test images, write the finished run."""
    kept = search.kept
    assert kept is not None
    search.session.place.say(f"kept: {kept.name}")
    begun = time.monotonic()
    trained = measure_and_complete(
        kept.session,
        kept.loaders,
        search.run,
        kept.manifest,
        seen={"best_epoch": len(kept.rows), "kept": kept.name},
        rows=kept.rows,
        spent={"search_seconds": round(search.budget.spent_s, 2), "num_parts": 1},
    )
    search.write()
    for path in search.run.checkpoints:
        path.unlink(missing_ok=True)
    drop_features(search.run.path)
    search.budget.ending_s = time.monotonic() - begun
    return replace(trained, input_px=kept.session.prepared.spec.height_px)
