"""A trial's score on images that did not train it, compared with the best so far.

Enters: logits of such images. Leaves: `TrialScore` and `Comparison`. Called by search.py. Test images are never used.

Two trials are compared image by image, on those that both have classified: this difference has a much smaller error
than either accuracy.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catseye.evaluation.metrics import wilson_interval

Z = 1.96
LEAST_FOR_LOSS = 200  # images; with fewer, a smaller loss once selected a network that was worse on held-out images
SHARPNESS = tuple(2 ** (step / 2) for step in range(-6, 7))


@dataclass(frozen=True)
class TrialScore:
    """How often each image was classified correctly, 0 to 1, and its loss.

    Both are NaN for images that were not judged. `weights` (N,) are the weights of the images.
    """

    correct: NDArray[np.float64]
    loss: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Which images were judged, (N,)."""
        known: NDArray[np.bool_] = ~np.isnan(self.correct)
        return known

    @property
    def accuracy(self) -> float:
        """The weighted share of correct answers; balanced if each class weighs the same."""
        return float(self.correct[self.judged] @ self.weights[self.judged] / self.weights[self.judged].sum())

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval; unequal weights act as fewer images."""
        weights = self.weights[self.judged]
        num = max(1, round(float(weights.sum() ** 2 / (weights**2).sum())))
        return wilson_interval(round(self.accuracy * num), num)


def score_answers(
    logits: NDArray[np.floating],
    labels: NDArray[np.int64],
    numbers: NDArray[np.int64],
    weights: NDArray[np.float64],
) -> TrialScore:
    """The score of the logits of some images, averaged over repetitions.

    The loss is that at the best of several temperatures, because a finished run has a fitted temperature.

    Shape: logits (n, K) or (R, n, K), labels (n,), numbers (n,) of the data set's N images, weights (N,).
    """
    wide = np.asarray(logits, np.float64)
    wide = wide[None] if wide.ndim == 2 else wide
    known = ~np.isnan(wide).any(2)
    losses = min(
        (_losses_each(sharpness * wide, labels) for sharpness in SHARPNESS), key=lambda each: each[known].mean()
    )
    right = (wide.argmax(2) == labels).astype(np.float64)
    times = known.sum(0)
    judged = times > 0
    correct, loss = np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    correct[numbers[judged]] = np.where(known, right, 0).sum(0)[judged] / times[judged]
    loss[numbers[judged]] = np.where(known, losses, 0).sum(0)[judged] / times[judged]
    return TrialScore(correct, loss, weights)


def _losses_each(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shape: (R, n, K), (n,) -> (R, n)."""
    shifted = logits - logits.max(2, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(2, keepdims=True))
    losses: NDArray[np.float64] = -np.take_along_axis(logs, labels[None, :, None], 2)[:, :, 0]
    return losses


@dataclass(frozen=True)
class Comparison:
    """The `gain` in accuracy over the best so far on `num_images` common images.

    `margin` is half of its paired 95 % interval.
    """

    pays: bool
    gain: float
    margin: float
    num_images: int


def compare_scores(candidate: TrialScore, best: TrialScore) -> Comparison:
    """A candidate pays if its gain in accuracy is significant.

    It also pays if accuracy is not lower and the loss is significantly smaller. The interval of the gain counts one
    disagreeing image more than there are: with five images that only the candidate has right, and none that only the
    other has, it excludes 0; with four it does not.
    """
    both = candidate.judged & best.judged
    weights = candidate.weights[both]
    if not both.any():
        return Comparison(False, 0.0, 1.0, 0)
    gain, margin = _mean_and_margin(candidate.correct[both] - best.correct[both], weights, 1.0)
    saved, doubt = _mean_and_margin(best.loss[both] - candidate.loss[both], weights, 0.0)
    pays = gain > margin or (gain >= 0 and saved > doubt and both.sum() >= LEAST_FOR_LOSS)
    return Comparison(bool(pays), gain, margin, int(both.sum()))


def _mean_and_margin(values: NDArray[np.float64], weights: NDArray[np.float64], more: float) -> tuple[float, float]:
    """Weighted mean, and half of its 95 % interval."""
    shares = weights / weights.sum()
    mean = float(shares @ values)
    typical = float(np.mean(shares))
    squares = float((shares**2) @ (values - mean) ** 2) + more * typical**2
    return mean, Z * math.sqrt(squares)
