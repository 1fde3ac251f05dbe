"""The first rungs: heads on frozen features, at several input sizes.

Enters: a `Search`. Leaves: trials, and a model after the first head. Called by ladder.py.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from catseye.errors import DataError, TrainingError
from catseye.evaluation.calibration import fit_temperature
from catseye.training.run_folder import make_manifest
from catseye.training.trials.linear_head import (
    FROM_PUBLISHED,
    HEADS,
    FeatureTable,
    HeadFit,
    few_threads,
    vote_neighbours,
)
from catseye.training.trials.scores import TrialScore, score_answers
from catseye.training.trials.search import HeadStart, Kept, Search, TrialModel, choose_jury
from catseye.training.trials.trial_features import (
    FIRST_SHARE,
    MOST_JUDGES,
    FrozenBackbone,
    TrialFeatures,
    at_size,
    features_path,
    get_features,
)

SIZES_PX = (352, 288, 224, 160, 128, 96)


def first_size(search: Search, backbone: FrozenBackbone) -> int:
    """The largest input size whose features leave time for more; else the smallest.

    It is at most the size that the weights expect. A resumed search uses the features it has.
    """
    prepared, pace = backbone.session.prepared, search.pace_of(backbone.session)
    for px in (prepared.spec.height_px, *SIZES_PX):
        if features_path(search, backbone.session, px).exists():
            return px
    num_images = prepared.counts["train"] + min(MOST_JUDGES, prepared.counts["val"])
    own = prepared.spec.height_px
    for side in (own, *(px for px in SIZES_PX if px < own)):
        if pace.forecast_s(num_images, side) <= FIRST_SHARE * search.budget.left_s:
            return side
    return min(own, SIZES_PX[-1])


def frozen_rungs(search: Search, backbone: FrozenBackbone) -> None:
    """Neighbours, logistic regression, other heads: one trial each."""
    px = first_size(search, backbone)
    begun = time.perf_counter()
    try:
        session = at_size(backbone.session, px)
    except DataError:
        session = backbone.session
    features = get_features(search, backbone, session)
    if search.jury is None:
        search.jury = choose_jury(search.session, features.numbers)
    name = f"frozen features, {px} px"
    table = _trial_table(search, backbone, features)
    groups = session.prepared.groups
    own_groups = groups[features.numbers] if groups is not None else np.arange(len(features.numbers))
    votes = vote_neighbours(table, own_groups)
    spent = time.perf_counter() - begun
    score = score_answers(votes, search.labels[features.numbers], features.numbers, search.weights)
    search.consider(f"nearest neighbours on {name}", score, spent)
    for head in HEADS:
        if head == FROM_PUBLISHED and backbone.classifier is None:
            continue
        try_head(search, backbone, features, f"{head} on {name}" if search.kept is None else head, head=head)
    search.raise_if_over()


def try_sizes(search: Search, backbone: FrozenBackbone) -> None:
    """Other input sizes, one trial each, with the backbone of the best head.

    Raises:
        SearchOver: the time is up, or a signal came.

    """
    kept, jury = search.kept, search.jury
    if kept is None or jury is None or not search.may_gain:
        return
    own, pace = backbone.session.prepared, search.pace_of(backbone.session)
    first_px = kept.session.prepared.spec.height_px
    for px in SIZES_PX:
        has_pixels = px <= max(own.own_px, first_px) * 1.1
        forecast = pace.forecast_s(len(jury.learners) + len(jury.judges), px)
        if px == first_px or not has_pixels or px < 160 or not search.budget.fits(forecast):
            continue
        try:
            features = get_features(search, backbone, at_size(backbone.session, px))
        except DataError:  # no memory for images of that size
            continue
        try_head(search, backbone, features, f"{search.head}, {px} px")


def _trial_table(search: Search, backbone: FrozenBackbone, features: TrialFeatures) -> FeatureTable:
    assert search.jury is not None
    labels = search.labels[features.numbers]
    weights = torch.from_numpy(search.weights[features.numbers]).float()
    return FeatureTable(
        features.train, torch.from_numpy(labels), weights, search.jury.folds, search.num_classes, backbone.classifier
    )


def try_head(
    search: Search, backbone: FrozenBackbone, features: TrialFeatures, name: str, spent_s: float = 0.0, *,
    head: str = "", tunable: bool = True, slower: float = 1.0,
) -> bool:  # fmt: skip
    """Fit a head, consider it, and return whether it was kept.

    `spent_s`: seconds that its features took, added to its own. `head` is one of `HEADS`, by default the best kind so
    far. `tunable`: whether tuning may start from it. `slower`: the time of an answer as a multiple of the network's
    usual time.

    Raises:
        SearchOver: the time is up, or a signal came. TrainingError: the head has no finite weights.

    """
    search.raise_if_over()
    if search.kept is not None and not search.budget.fits(search.slowest_head_s):
        return False
    begun, kind = time.perf_counter(), head or search.head
    table, fit = _trial_table(search, backbone, features), HEADS[kind]
    with few_threads(features.train.numel()):
        fitted = fit(table)
    search.slowest_head_s = max(search.slowest_head_s, time.perf_counter() - begun)
    if not bool(fitted.weight.isfinite().all() and fitted.bias.isfinite().all()):
        raise TrainingError(
            f"a head needs finite weights; those of {name!r} are NaN or infinite; check that not all images are of one "
            "colour"
        )
    score = _score_head(search, features, fitted)
    seconds = spent_s + time.perf_counter() - begun

    def keep() -> TrialModel:
        manifest = make_manifest(features.session, backbone.architecture)
        known = ~np.isnan(fitted.logits[0]).any(1)
        temperature = fit_temperature(fitted.logits[0][known], search.labels[features.numbers][known])
        manifest = manifest.model_copy(update={"temperature": temperature})
        state: Mapping[str, Tensor] = {**backbone.model.state_dict(), **head_state(fitted.weight, fitted.bias)}
        kept = Kept(name, score, features.session, features.loaders(), manifest, slower=slower)
        return TrialModel(state, kept)

    kept = search.consider(name, score, seconds, keep)
    if kept:
        search.head = kind
    if kept and tunable:
        search.start = HeadStart(fitted.weight, fitted.bias, lambda: _fit_without_judges(search, table, fit))
    return kept


def _fit_without_judges(
    search: Search, table: FeatureTable, fit: Callable[[FeatureTable], HeadFit]
) -> tuple[Tensor, Tensor]:
    """The same kind of head, fitted on the training images that do not judge."""
    jury = search.jury
    assert jury is not None
    keep = np.flatnonzero(~np.isin(jury.learners, jury.judges))
    rows = torch.from_numpy(keep)
    others = replace(
        table, features=table.features[:, rows], labels=table.labels[rows], weights=table.weights[rows],
        folds=table.folds[:, keep],
    )  # fmt: skip
    with few_threads(others.features.numel()):
        head = fit(others)
    return head.weight, head.bias


def _score_head(search: Search, features: TrialFeatures, head: HeadFit) -> TrialScore:
    """The score on training images outside their folds, and on the judges."""
    assert search.jury is not None
    numbers, logits = features.numbers, head.logits
    if search.jury.by_validation and len(features.val_numbers):
        unseen = (features.val @ head.weight.T + head.bias).numpy()
        logits = np.concatenate([logits, np.broadcast_to(unseen, (len(logits), *unseen.shape))], axis=1)
        numbers = np.concatenate([numbers, features.val_numbers])
    return score_answers(logits, search.labels[numbers], numbers, search.weights)


def head_state(weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """The tensors of a network's linear head, by name."""
    return {"head.3.weight": weight.contiguous(), "head.3.bias": bias.contiguous()}
