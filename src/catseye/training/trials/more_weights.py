"""Rungs with heads on features of other published weights, alone and combined.

Enters: a `Search` with a head on the default weights. Leaves: trials, and the backbones whose features were computed.
Called by ladder.py. No weights are downloaded for it, and if the user named a network, it is the only one.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from catseye.errors import CatseyeError, DataError
from catseye.manifest import Architecture
from catseye.models import registry
from catseye.models.pretrained import DEFAULT_BACKBONE, MORE_BACKBONES, find_published, weights_at_hand
from catseye.models.timm_networks import side_by_side_state
from catseye.training.session import RunSession
from catseye.training.trials.frozen_rungs import try_head
from catseye.training.trials.search import Search
from catseye.training.trials.trial_features import (
    FrozenBackbone,
    at_size,
    features_forecast_s,
    get_features,
    open_frozen,
    with_input,
)

WORTH_THE_TIME = 0.4  # of the time left: the most that the features may take


def try_more_weights(search: Search, backbone: FrozenBackbone) -> list[FrozenBackbone]:
    """Try a head on each of the other weights.

    Returns the backbones that were tried, that of the best head first.

    Raises:
        SearchOver: the time is up, or a signal came.

    """
    tried = [backbone]
    for name in MORE_BACKBONES if _weights_are_open(search.session) else ():
        kept = search.kept
        if kept is None or not search.may_gain:
            break
        begun = time.perf_counter()
        try:
            if not weights_at_hand(name):
                continue
            session = _with_weights(kept.session, name)
        except CatseyeError as error:
            search.session.place.say(f"- {name} is skipped: {error}")
            continue
        other = open_frozen(search, session)
        px = session.prepared.spec.height_px
        if features_forecast_s(search, session) > WORTH_THE_TIME * search.budget.left_s:
            continue
        features = get_features(search, other, session)
        network = name.partition(":")[2]
        spent = time.perf_counter() - begun
        is_kept = try_head(search, other, features, f"{search.head} on {network}, {px} px", spent)
        tried.insert(0 if is_kept else len(tried), other)
    return tried


def try_side_by_side(search: Search, backbones: Sequence[FrozenBackbone]) -> None:
    """One head on the features of two networks.

    Its answers take longer, so it is tried only with --time, which promises the best model.

    Raises:
        SearchOver: the time is up, or a signal came.

    """
    kept = search.kept
    promised = search.session.settings.training.time_s > 0
    if len(backbones) < 2 or kept is None or not promised or not search.may_gain:
        return
    first, second = sorted(backbones[:2], key=lambda each: each.session.settings.model.name)
    px = kept.session.prepared.spec.height_px
    try:
        sessions = [at_size(each.session, px) for each in (first, second)]
    except DataError:  # no memory for images of that size
        return
    if not search.budget.fits(sum(features_forecast_s(search, session) for session in sessions)):
        return
    begun = time.perf_counter()
    left, right = (get_features(search, each, at) for each, at in zip((first, second), sessions, strict=True))
    same = np.array_equal(left.numbers, right.numbers) and np.array_equal(left.val_numbers, right.val_numbers)
    if not same or left.session.prepared.spec != right.session.prepared.spec:
        return
    both = _join_backbones(search, first, second, sessions[0])
    train, val = torch.cat([left.train, right.train], 2), torch.cat([left.val, right.val], 1)
    features = replace(left, session=both.session, train=train, val=val)
    spent = time.perf_counter() - begun
    try_head(search, both, features, f"{search.head} on both networks, {px} px", spent, tunable=False)


def _join_backbones(
    search: Search, first: FrozenBackbone, second: FrozenBackbone, session: RunSession
) -> FrozenBackbone:
    names = [each.session.settings.model.name for each in (first, second)]
    name = f"{names[0]}+{names[1].partition(':')[2]}"
    settings = session.settings.model_copy(update={"model": type(session.settings.model)(name=name)})
    session, spec = replace(session, settings=settings), session.prepared.spec
    pace = search.pace_of(session)
    pace.per_megapixel_s = sum(search.paces[each].per_megapixel_s for each in names)
    model = registry.create(
        name, num_classes=search.num_classes, in_channels=spec.channels, input_px=(spec.height_px, spec.width_px),
        head=session.head,
    ).to(session.place.device)  # fmt: skip
    state = side_by_side_state([each.model.state_dict() for each in (first, second)])
    model.load_state_dict({**model.state_dict(), **state})
    model.eval().requires_grad_(False)
    architecture = Architecture(name=name, options={"head": session.head})
    return FrozenBackbone(
        session, model, model.get_submodule("features"), architecture, _mean_classifier(first, second)
    )


def _mean_classifier(first: FrozenBackbone, second: FrozenBackbone) -> Tensor | None:
    """The classifier on both networks' features that gives the mean of their logits."""
    left, right = first.classifier, second.classifier
    if left is None or right is None or len(left) != len(right):
        return None
    return torch.cat([left[:, :-1], right[:, :-1], left[:, -1:] + right[:, -1:]], 1) / 2


def _weights_are_open(session: RunSession) -> bool:
    """Whether `auto` chooses the weights."""
    settings = session.settings
    return session.decided is not None and settings.model.name == DEFAULT_BACKBONE and not settings.transfer.weights


def _with_weights(session: RunSession, name: str) -> RunSession:
    """The session with another network's weights and their preprocessing."""
    published = find_published(name)
    expected, spec = published.expected, session.prepared.spec
    settings = session.settings.model_copy(update={"model": type(session.settings.model)(name=name)})
    session = replace(session, settings=settings, published=published)
    update = {"filter": expected.filter, "mean": expected.mean, "std": expected.std}
    return with_input(session, spec.model_copy(update=update))
