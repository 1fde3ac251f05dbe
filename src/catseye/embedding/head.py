"""A linear head on frozen features, trained within a second.

Enters: features (N, F) and labels. Leaves: `LinearHead`, or probabilities for images that a head has not seen.
scikit-learn finds the weights. Called by review and lab; evaluation calls `out_of_fold`.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catseye.classifier import softmax
from catseye.embedding.neighbours import unit_rows
from catseye.errors import UsageError
from catseye.seeds import derive

# scikit-learn's C times the number of features, so that the penalty does not depend on that number. Chosen with
# 1,280 features of ants and bees, digits and CIFAR-10 (benchmarks/label_errors.py).
STRENGTH = 1.28
NUM_FOLDS = 5
MAX_STEPS = 200


@dataclass(frozen=True)
class LinearHead:
    """Multinomial logistic regression on features of equal spread and length.

    `mean`, `scale` (F,), `weight` (K, F), `bias` (K,). A class without images has a bias of minus infinity. Without
    `one_length` the features keep their lengths, and the head is a linear layer: see `as_layer`.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    one_length: bool = True

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shape: (N, F) -> (N, K)."""
        rows = _rows(features, self.mean, self.scale, self.one_length)
        return np.asarray(rows @ self.weight.T + self.bias, np.float32)

    def as_layer(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The linear layer on unscaled features that gives the same logits.

        Shape: weight (K, F), bias (K,).

        Raises:
            ValueError: the head scales features to one length, which a linear layer cannot do.

        """
        if self.one_length:
            raise ValueError("a head on features of one length is not a linear layer; train it with one_length=False")
        weight = self.weight.astype(np.float64) / self.scale
        return weight.astype(np.float32), (self.bias - weight @ self.mean).astype(np.float32)

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shape: (N, F) -> (N, K)."""
        return np.asarray(softmax(self.logits(features), 1.0), np.float32)


def train_head(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    num_classes: int,
    *,
    spread: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    one_length: bool = True,
) -> LinearHead:
    """Fit a head.

    `spread` is mean and scale of the features, if they come from more images than the labelled ones. The linear algebra
    uses one thread: the matrices are small, and other threads answer requests meanwhile.

    Raises:
        UsageError: all images are of one class.

    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    present = np.unique(labels)
    if len(present) < 2:
        raise UsageError(f"a head needs images of two classes; got {len(labels)} of one")
    mean, scale = spread or spread_of(features)
    rows, basis = _rows(features, mean, scale, one_length), None
    with warnings.catch_warnings(), threadpool_limits(1, "blas"):
        if 2 * len(rows) < rows.shape[1]:
            # With a penalty on its length the best weight is in the span of the rows: the same fit in fewer dimensions.
            left, sizes, basis = np.linalg.svd(rows, full_matrices=False)
            rows = left * sizes
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last steps change no answer
        fitted = LogisticRegression(C=STRENGTH / features.shape[1], max_iter=MAX_STEPS).fit(rows, labels)
    fitted_weight = fitted.coef_ if basis is None else fitted.coef_ @ basis
    weight = np.zeros((num_classes, features.shape[1]), np.float32)
    bias = np.full(num_classes, -np.inf, np.float32)
    if len(present) == 2:  # one row, for the second class against the first
        weight[present[1]], bias[present] = fitted_weight[0], (0.0, fitted.intercept_[0])
    else:
        weight[present], bias[present] = fitted_weight, fitted.intercept_
    return LinearHead(mean, scale, weight, bias, one_length)


def spread_of(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and scale of each feature.

    The scale of a nearly constant feature is at least that of a typical one, so that its noise is not amplified.
    """
    variance = features.var(0)
    scale = np.sqrt(variance + (variance.mean() or 1.0))
    return features.mean(0), scale.astype(np.float32)


def scaled_rows(
    features: NDArray[np.float32], mean: NDArray[np.float32], scale: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Each row centred, scaled, and set to length √F, that of F independent features.

    Shape: (N, F) -> (N, F).
    """
    return unit_rows((features - mean) / scale) * np.float32(features.shape[1] ** 0.5)


def _rows(
    features: NDArray[np.float32], mean: NDArray[np.float32], scale: NDArray[np.float32], one_length: bool
) -> NDArray[np.float32]:
    """Shape: (N, F) -> (N, F)."""
    if one_length:
        return scaled_rows(features, mean, scale)
    return np.asarray((features - mean) / scale, np.float32)


def draw_folds(
    labels: NDArray[np.int64], groups: NDArray[np.int64] | None, num_folds: int, seed: int
) -> NDArray[np.int64]:
    """The fold of every image: classes spread over all folds, groups kept together.

    Shape: (N,) -> (N,).
    """
    generator = np.random.default_rng(derive(seed, "folds"))
    own = np.arange(len(labels)) if groups is None else groups
    _, first, group = np.unique(own, return_index=True, return_inverse=True)
    order = generator.permutation(len(first))
    order = order[np.argsort(labels[first][order], kind="stable")]
    fold = np.empty(len(first), np.int64)
    fold[order] = (np.arange(len(first)) + generator.integers(num_folds)) % num_folds
    return fold[group]


def out_of_fold(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    num_classes: int,
    *,
    groups: NDArray[np.int64] | None = None,
    num_folds: int = NUM_FOLDS,
    seed: int = 0,
) -> NDArray[np.float32]:
    """For every image, probabilities of a head that has not seen it or its group.

    Shape: (N, F), (N,), groups (N,) -> (N, K).

    Raises:
        UsageError: fewer than two classes.

    """
    probabilities = np.zeros((len(labels), num_classes), np.float32)
    fold = draw_folds(labels, groups, min(num_folds, len(labels)), seed)
    for number in np.unique(fold).tolist():
        mine = fold == number
        if len(np.unique(labels[~mine])) < 2:
            raise UsageError("out-of-fold answers need two classes with two images each")
        probabilities[mine] = train_head(features[~mine], labels[~mine], num_classes).probabilities(features[mine])
    return probabilities
