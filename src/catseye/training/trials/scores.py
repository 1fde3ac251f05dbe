"""What a trial scored on images that did not train it, and whether it pays beside the best so far.

Enters: logits of such images. Leaves: `TrialScore` and `Comparison`. Called by search.py. No test image comes here.

Two ways of training are compared on the images that both have answered, image by image: their difference is known far
better than either number.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catseye.evaluation.metrics import wilson_interval

Z = 1.96
LEAST_FOR_LOSS = 200  # images; on fewer a smaller loss chose a tuned network that was worse on the held-out images
SHARPNESS = tuple(2 ** (step / 2) for step in range(-6, 7))


@dataclass(frozen=True)
class TrialScore:
    """Per image of the data set: how often it was answered rightly, 0 to 1, and its mean loss; NaN where it was not
    asked. `weights` (N,): what each image counts.
    """

    correct: NDArray[np.float64]
    loss: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def asked(self) -> NDArray[np.bool_]:
        """The images that were asked, (N,)."""
        known: NDArray[np.bool_] = ~np.isnan(self.correct)
        return known

    @property
    def accuracy(self) -> float:
        """The weighted share of right answers; of balanced classes where each class weighs the same."""
        return float(self.correct[self.asked] @ self.weights[self.asked] / self.weights[self.asked].sum())

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval; unequal weights count as fewer images."""
        weights = self.weights[self.asked]
        num = max(1, round(float(weights.sum() ** 2 / (weights**2).sum())))
        return wilson_interval(round(self.accuracy * num), num)


def score_answers(
    logits: NDArray[np.floating],
    labels: NDArray[np.int64],
    numbers: NDArray[np.int64],
    weights: NDArray[np.float64],
) -> TrialScore:
    """The score of answers to some images, each asked once or, over repetitions, several times.

    The loss is that of the best of some temperatures, since a finished run has its temperature fitted.

    Shape: logits (n, K) or (R, n, K), labels (n,), numbers (n,) of the data set's N images, weights (N,).
    """
    wide = np.asarray(logits, np.float64)
    wide = wide[None] if wide.ndim == 2 else wide
    asked = ~np.isnan(wide).any(2)
    losses = min(
        (_losses_each(sharpness * wide, labels) for sharpness in SHARPNESS), key=lambda each: each[asked].mean()
    )
    right = (wide.argmax(2) == labels).astype(np.float64)
    times = asked.sum(0)
    some = times > 0
    correct, loss = np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    correct[numbers[some]] = np.where(asked, right, 0).sum(0)[some] / times[some]
    loss[numbers[some]] = np.where(asked, losses, 0).sum(0)[some] / times[some]
    return TrialScore(correct, loss, weights)


def _losses_each(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shape: (R, n, K), (n,) -> (R, n)."""
    shifted = logits - logits.max(2, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(2, keepdims=True))
    losses: NDArray[np.float64] = -np.take_along_axis(logs, labels[None, :, None], 2)[:, :, 0]
    return losses


@dataclass(frozen=True)
class Comparison:
    """`gain` in accuracy over the best so far on `num_images` common images, with its paired 95 % interval."""

    pays: bool
    gain: float
    margin: float
    num_images: int


def judge_beside(candidate: TrialScore, best: TrialScore) -> Comparison:
    """A candidate pays if its accuracy gains beyond the interval; or if none is lost and its loss falls beyond its own.

    The interval has one disagreeing image more in it than were seen: of five images that only the candidate has right,
    and none that only the other has, it still leaves 0 out, of four it does not.
    """
    both = candidate.asked & best.asked
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
