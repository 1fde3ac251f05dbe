"""When is an image unlike all that a network knows? Fitted on pooled features of training images, out of fold.

Enters: features (N, F) and labels. Leaves: spread, class means and a threshold below which only a few of the run's own
images fall. NumPy only. Called by training when a run ends, and by `calibrate`.

Why features: a network is confident even far away from its classes (Hein et al. 2019), so probabilities do not reveal
foreign images; the features before the head do.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]
REFUSED = 0.03  # of the run's own images; the target is 0.05, and a threshold from few images is off by a point or two
NUM_FOLDS = 10
NUM_UNSEEN = 10
PRIOR_IMAGES = 30  # weight of the prior: the spread of all features, as if seen in this many images


@dataclass(frozen=True)
class FamiliarityFit:
    """`scale` (F,), `centres` (K, F) unit vectors, and the cosine below which an image is foreign."""

    scale: NDArray[np.float32]
    centres: NDArray[np.float32]
    threshold: float


def fit_familiarity(
    features: Features, labels: NDArray[np.int64], num_classes: int, *, unseen: Features | None = None
) -> FamiliarityFit | None:
    """Class means and a threshold, chosen on images that took no part in the means they are compared with.

    `unseen` are images that the network was not trained on: if they lie further away than training images, they set
    the threshold. None if a class has no image, or there are fewer than four images in all.

    Shape: (N, F), (N,), unseen (M, F).
    Source: the cosine to class means is the nearest-class-mean rule of Mensink et al. 2013, with cosines as in Gidaris
    and Komodakis 2018; the threshold is a cross-conformal quantile (Vovk 2015).
    """
    num = len(labels)
    if num < 4 or len(np.unique(labels)) < num_classes:
        return None
    wide = features.astype(np.float64)
    left_out = np.empty(num)
    for fold in np.array_split(np.random.default_rng(0).permutation(num), min(NUM_FOLDS, num)):
        others = np.setdiff1d(np.arange(num), fold)
        left_out[fold] = cosines(wide[fold], *_means(wide[others], labels[others], num_classes))
    scale, centres = _means(wide, labels, num_classes)
    threshold = _threshold(left_out)
    if unseen is not None and len(unseen) >= NUM_UNSEEN:
        threshold = min(threshold, _threshold(cosines(unseen, scale, centres)))
    return FamiliarityFit(scale.astype(np.float32), centres.astype(np.float32), threshold)


def cosines(features: Features, scale: Features, centres: Features) -> NDArray[np.float64]:
    """The cosine to the nearest class mean; what `models.familiarity.Familiarity` computes from feature maps.

    Shape: (N, F), (F,), (K, F) -> (N,).
    """
    nearest: NDArray[np.float64] = (_unit(features / scale) @ centres.T).max(1)
    return nearest


def _means(
    features: NDArray[np.float64], labels: NDArray[np.int64], num_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Spread and class means. A class without images in this fold has a zero row, which is close to nothing."""
    num, variance = len(features), features.var(0)
    typical = float(variance.mean()) or 1.0
    scale = np.sqrt((num * variance + PRIOR_IMAGES * typical) / (num + PRIOR_IMAGES))
    units = _unit(features / scale)
    sums = np.zeros((num_classes, features.shape[1]))
    np.add.at(sums, labels, units)
    return scale, _unit(sums)


def _threshold(similarities: NDArray[np.float64]) -> float:
    """The 3 % quantile of the run's own images. If 3 % are less than one image: below the lowest, by a fifth of its
    distance to the median.
    """
    ranked = np.sort(similarities)
    place = int(REFUSED * len(ranked))
    margin = 0.0 if place else 0.2 * float(np.median(ranked) - ranked[0])
    return max(-1.0, float(ranked[place]) - margin)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12), np.float64)
