"""What a finished network knows: class means of its features, so that its model file can say "unknown" to strangers.

Enters: the kept network and the loaders it was trained with. Leaves: the network with its familiarity, and the
threshold. Called by finish.py. Features that a frozen backbone has computed already are used again.
"""

import torch
from torch import nn

from catseye.data.loaders import draw_part
from catseye.evaluation.familiarity import fit_familiarity
from catseye.evaluation.predict import collect_features
from catseye.models.familiarity import attach_familiarity
from catseye.training.assemble import Assembled
from catseye.training.cached_features import FeatureLoader, in_order
from catseye.training.session import RunSession

NUM_SMALL, NUM_LARGE, SMALL_PX = 2000, 500, 64  # training images that are looked at once more, by the input's side


def learn_familiarity(model: nn.Module, session: RunSession, built: Assembled) -> float | None:
    """Give `model` its familiarity, in place, and return the threshold; None where the images are too few.

    The means come from training images, seen as they are evaluated; the threshold also from validation images, which
    are the only ones that a network has not been trained on.
    """
    train = built.loaders["train"].share(0, 1)
    if not isinstance(train, FeatureLoader):
        small = max(session.prepared.spec.height_px, session.prepared.spec.width_px) <= SMALL_PX
        train = draw_part(train, NUM_SMALL if small else NUM_LARGE, session.settings.seed)
    features, labels = collect_features(model, in_order(train, plain=True), session.prepared.spec)
    val = built.loaders["val"]
    unseen = None
    if len(val.indices):
        unseen, _ = collect_features(model, draw_part(val, NUM_SMALL, session.settings.seed), session.prepared.spec)
    fit = fit_familiarity(features, labels, len(session.prepared.images.classes), unseen=unseen)
    if fit is None:
        return None
    attach_familiarity(model, torch.from_numpy(fit.scale), torch.from_numpy(fit.centres))
    return fit.threshold
