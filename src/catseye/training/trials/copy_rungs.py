"""Rungs with heads on copies of the images, and with both mirror images.

Enters: a `Search` with a head. Leaves: trials. Called by ladder.py. Only training images are copied; the images that
judge are classified as by the finished network.
"""

from dataclasses import replace

import torch
from torch import nn

from catseye.errors import DataError
from catseye.manifest import Architecture
from catseye.models.views import MirroredViews
from catseye.training.trials.frozen_rungs import try_head
from catseye.training.trials.search import Search
from catseye.training.trials.trial_features import (
    Copies,
    FrozenBackbone,
    TrialFeatures,
    at_size,
    features_forecast_s,
    get_features,
)

VIEWS = 2  # an image and its mirror image: twice the time per answer


def copy_rungs(search: Search, backbone: FrozenBackbone) -> None:
    """Mirrored copies, enlarged copies, both views of each image: one trial each.

    The backbone is that of the best head.

    Raises:
        SearchOver: the time is up, or a signal came.

    """
    if search.session.prepared.images.mirror_safe:
        _try_copies(search, backbone, "mirrored")
    _try_copies(search, backbone, "enlarged")
    # Both views double the time per answer: only with --time, which promises the best model.
    if search.session.prepared.images.mirror_safe and search.session.settings.training.time_s > 0:
        _try_views(search, backbone)


def _features_with(
    search: Search, backbone: FrozenBackbone, copies: Copies
) -> tuple[TrialFeatures, TrialFeatures] | None:
    """Features of the images and of their copies, at the size of the best head.

    None if the time or the memory does not suffice.
    """
    kept = search.kept
    if kept is None or not search.may_gain:
        return None
    side = kept.session.prepared.spec.height_px
    try:
        session = at_size(backbone.session, side)  # the kept model may consist of two networks
    except DataError:
        return None
    forecast = features_forecast_s(search, session) + features_forecast_s(search, session, copies)
    if not search.budget.fits(forecast):
        return None
    return get_features(search, backbone, session), get_features(search, backbone, session, copies)


def _try_copies(search: Search, backbone: FrozenBackbone, copies: Copies) -> None:
    features = _features_with(search, backbone, copies)
    if features is None:
        return
    plain, more = features
    both = replace(plain, train=torch.cat([plain.train, more.train]))
    try_head(search, backbone, both, f"{search.head} with {copies} copies, {plain.px} px")


def _try_views(search: Search, backbone: FrozenBackbone) -> None:
    """The mean features of an image and its mirror image."""
    features = _features_with(search, backbone, "mirrored")
    if features is None:
        return
    plain, mirrored = features
    mean = replace(plain, train=(plain.train + mirrored.train) / 2)
    if len(plain.val):
        mean = replace(mean, val=(plain.val + mirrored.val) / 2)
    name = f"{search.head} on both mirror images, {plain.px} px"
    try_head(search, with_views(backbone), mean, name, tunable=False, slower=VIEWS)


def with_views(backbone: FrozenBackbone) -> FrozenBackbone:
    """The same network with the mean of both mirror images; it shares weights."""
    views = nn.Module()
    views.features = MirroredViews(backbone.model.get_submodule("features"))
    views.head = backbone.model.get_submodule("head")
    options = {**backbone.architecture.options, "views": "mirrored"}
    architecture = Architecture(name=backbone.architecture.name, options=options)
    return replace(backbone, model=views, fast=MirroredViews(backbone.fast), architecture=architecture)
