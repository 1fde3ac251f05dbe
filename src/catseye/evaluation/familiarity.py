"""Whether an image resembles the training images, from its pooled features.

Enters: features (N, F) and labels. Leaves: spread, centres and a threshold below which only a few of the run's own
images fall, fitted on features of training images, out of fold. NumPy only. Called by training when a run ends, and by
`calibrate`.

Why features: a network is sure of its classes even far away from them (Hein et al. 2019), so its probabilities do not
separate foreign images from its own; the output of the layers before the head does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]
REFUSED = 0.025  # of the run's own images; the target is 0.05, and a threshold from few images is off by a point or two
NUM_FOLDS = 10
NUM_UNSEEN = 10
CENTRES_PER_CLASS = 4  # a class may look different: dogs from the front and from the side
IMAGES_PER_CENTRE = 10  # at least
MOST_CENTRES = 2_000  # of all classes together: 10 MB with 1,280 features
ROUNDS = 10  # of k-means
PRIOR_IMAGES = 30  # the prior of each feature's variance is the mean of all, with the weight of so many images


@dataclass(frozen=True)
class FamiliarityFit:
    """`scale` (F,), `centres` (C, F) as unit vectors, and a threshold.

    An image whose cosine is below the threshold is foreign.
    """

    scale: NDArray[np.float32]
    centres: NDArray[np.float32]
    threshold: float


def fit_familiarity(
    features: Features, labels: NDArray[np.int64], num_classes: int, *, unseen: Features | None = None
) -> FamiliarityFit | None:
    """Up to four centres per class, and a threshold.

    The threshold comes from images that took no part in the centres they are compared with. `unseen` are images that
    the network was not trained on: if they are less similar to the centres than those it was trained on, they decide.
    None if a class has no image, or if there are fewer than four images in all.

    Shape: (N, F), (N,), unseen (M, F).
    Source: the nearest class mean of Mensink et al. 2013, which also has several centres per class by k-means (section
    3.3); cosines as in Gidaris and Komodakis 2018; the threshold is a cross-conformal quantile (Vovk 2015).
    """
    num = len(labels)
    if num < 4 or len(np.unique(labels)) < num_classes:
        return None
    wide = features.astype(np.float64)
    left_out = np.empty(num)
    for fold in np.array_split(np.random.default_rng(0).permutation(num), min(NUM_FOLDS, num)):
        others = np.setdiff1d(np.arange(num), fold)
        left_out[fold] = cosines(wide[fold], *_centres(wide[others], labels[others], num_classes))
    scale, centres = _centres(wide, labels, num_classes)
    threshold = _threshold(left_out)
    if unseen is not None and len(unseen) >= NUM_UNSEEN:
        threshold = min(threshold, _threshold(cosines(unseen, scale, centres)))
    return FamiliarityFit(scale.astype(np.float32), centres.astype(np.float32), threshold)


def cosines(features: Features, scale: Features, centres: Features) -> NDArray[np.float64]:
    """The cosine to the nearest centre.

    The same as `models.familiarity.Familiarity` computes from feature maps.

    Shape: (N, F), (F,), (C, F) -> (N,).
    """
    nearest: NDArray[np.float64] = (_unit(features / scale) @ centres.T).max(1)
    return nearest


def _centres(
    features: NDArray[np.float64], labels: NDArray[np.int64], num_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Spread and centres. A class that this fold left out has no centre."""
    num, variance = len(features), features.var(0)
    typical = float(variance.mean()) or 1.0
    scale = np.sqrt((num * variance + PRIOR_IMAGES * typical) / (num + PRIOR_IMAGES))
    units = _unit(features / scale)
    most = max(1, min(CENTRES_PER_CLASS, MOST_CENTRES // num_classes))
    groups = (units[labels == label] for label in range(num_classes))
    return scale, np.concatenate([_cluster(group, most) for group in groups if len(group)])


def _cluster(units: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Spherical k-means: unit vectors around which the images of a class lie.

    Shape: (n, F) -> (c, F).
    """
    num = max(1, min(most, len(units) // IMAGES_PER_CENTRE))
    centres = units[np.random.default_rng(0).permutation(len(units))[:num]]
    for _ in range(ROUNDS):
        nearest = (units @ centres.T).argmax(1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, units)
        empty = np.bincount(nearest, minlength=num) == 0
        centres = np.where(empty[:, None], centres, _unit(sums))
    return centres


def _threshold(similarities: NDArray[np.float64]) -> float:
    """The similarity that 2.5% of the run's own images do not reach.

    If 2.5% is less than one image, it is below the lowest similarity by a fifth of the distance from there to the
    median.
    """
    ranked = np.sort(similarities)
    place = int(REFUSED * len(ranked))
    margin = 0.0 if place else 0.2 * float(np.median(ranked) - ranked[0])
    return max(-1.0, float(ranked[place]) - margin)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12), np.float64)
