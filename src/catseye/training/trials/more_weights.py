"""A rung of the ladder: heads on the frozen features of other published weights, where they lie on this machine.

Enters: a `Search` with a head on the default weights. Leaves: trials, and the backbone that the kept head belongs to.
Called by ladder.py. Weights are never downloaded for it, and a network that the user named stays the only one.
"""

import time
from dataclasses import replace

import numpy as np

from catseye.errors import CatseyeError
from catseye.models.pretrained import DEFAULT_BACKBONE, MORE_BACKBONES, find_published, weights_at_hand
from catseye.training.session import RunSession
from catseye.training.trials.frozen_rungs import (
    FrozenBackbone,
    get_features,
    open_frozen,
    try_head,
    with_input,
)
from catseye.training.trials.linear_head import fit_logistic
from catseye.training.trials.search import Search

WORTH_THE_TIME = 0.4  # of what is left: what the features may take at most


def try_more_weights(search: Search, backbone: FrozenBackbone) -> FrozenBackbone:
    """The backbone of the best head: the one given, or one whose head pays beside what is kept.

    Raises:
        SearchOver: the time is up, or a signal came.

    """
    for name in MORE_BACKBONES if _may_choose(search.session) else ():
        kept, jury = search.kept, search.jury
        if kept is None or jury is None or not search.may_gain:
            break
        begun = time.perf_counter()
        try:
            if not weights_at_hand(name):
                continue
            session = _with_weights(kept.session, name)
        except CatseyeError as error:
            search.session.place.say(f"- {name} is left out: {error}")
            continue
        other = open_frozen(search, session)
        px = session.prepared.spec.height_px
        num = len(np.union1d(jury.learners, jury.asked))
        forecast = search.pace_of(session).forecast_s(num, px)
        if forecast > WORTH_THE_TIME * search.budget.left_s:
            continue
        found = get_features(search, other, session)
        network = name.partition(":")[2]
        spent = time.perf_counter() - begun
        if try_head(search, other, found, fit_logistic, f"logistic regression on {network}, {px} px", spent):
            backbone = other
    return backbone


def _may_choose(session: RunSession) -> bool:
    """Whether the choice of weights was left to `auto`."""
    chosen = session.settings
    return session.decided is not None and chosen.model.name == DEFAULT_BACKBONE and not chosen.transfer.weights


def _with_weights(session: RunSession, name: str) -> RunSession:
    """The same images, at the same size, as another network's weights expect them."""
    published = find_published(name)
    its, spec = published.expected, session.prepared.spec
    chosen = session.settings
    settings = chosen.model_copy(update={"model": type(chosen.model)(name=name)})
    session = replace(session, settings=settings, published=published)
    return with_input(session, spec.model_copy(update={"filter": its.filter, "mean": its.mean, "std": its.std}))
