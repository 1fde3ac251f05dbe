"""Calibrated probabilities: temperature and vector scaling, and their scores.

Enters: logits (N, K) and labels (N,), of validation images for fitting, of others for judging. Leaves: a temperature,
`Scores`, reliability bins. Nothing is ever fitted on test images. Called by training, `calibrate.py` and `evaluate.py`.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy as torch_cross_entropy

from catseye.classifier import softmax
from catseye.evaluation.metrics import cross_entropy

Logits = NDArray[np.floating]
Labels = NDArray[np.int64]
NUM_BINS = 15
TEMPERATURES = (0.05, 20.0)  # beyond these a network is broken rather than miscalibrated
PRIOR_SD = 0.3  # of log T
NUM_FOLDS, NUM_ENOUGH = 5, 2000
VECTOR_PENALTY = 1e-3


@dataclass(frozen=True)
class Scores:
    """How good probabilities are; smaller is better.

    `loss` is the mean negative log-likelihood in nats.
    """

    ece: float
    brier: float
    loss: float


@dataclass(frozen=True)
class Bin:
    """One bar of the reliability diagram.

    `num_images` images with this mean confidence and this accuracy.
    """

    confidence: float
    accuracy: float
    num_images: int


@dataclass(frozen=True)
class Calibration:
    """Scores of the same images before and after scaling.

    `vector` is set if vector scaling was fitted for comparison.
    """

    temperature: float
    num_images: int
    before: Scores
    after: Scores
    vector: Scores | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """The most probable temperature T, 0.05 to 20; 1 unless another clearly helps.

    A few images say little about T: a prior on log T, normal around 0, keeps it near 1 unless the images outweigh it.
    Whether T helps is then tested in five folds, on images that did not choose it: the loss has to fall by more than
    its standard error, else T stays 1. One number cannot overfit 2,000 images or more, so they test it directly.

    Shape: logits (N, K), labels (N,).
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, eq. 9. The prior's width and the rule of
    one standard error were chosen on synthetic data: `benchmarks/temperature.py`.
    """
    if logits.shape[1] < 2:
        return 1.0
    wide = logits.astype(np.float64)
    temperature = _most_probable(wide, labels)
    gain = _losses(wide, labels, 1.0)
    if len(labels) < NUM_ENOUGH:
        folds = np.array_split(np.random.default_rng(0).permutation(len(labels)), min(NUM_FOLDS, len(labels)))
        for fold in folds:
            others = np.delete(np.arange(len(labels)), fold)
            gain[fold] -= _losses(wide[fold], labels[fold], _most_probable(wide[others], labels[others]))
    else:
        gain -= _losses(wide, labels, temperature)
    gain = np.append(gain, min(0.0, _gain_if_wrong(wide, labels, temperature)))
    return temperature if gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)) else 1.0


def _gain_if_wrong(logits: Logits, labels: Labels, temperature: float) -> float:
    """The gain from T on one more image whose answer is wrong.

    That image is the one with the narrowest margin seen here, and its second class is taken as the true one. Without
    it, a few correctly answered images would make a network more confident, each gaining a little.
    """
    ranked = np.sort(logits, 1)
    closest = int(np.argmin(ranked[:, -1] - ranked[:, -2]))
    second = np.argsort(logits[closest])[-2:][:1]
    image = logits[closest : closest + 1]
    return float((_losses(image, second, 1.0) - _losses(image, second, temperature))[0])


def _most_probable(logits: Logits, labels: Labels) -> float:
    """The mode of T, given the images and the prior.

    A coarse grid, then golden-section search.
    """

    def cost(log_t: float) -> float:
        prior = (log_t / PRIOR_SD) ** 2 / 2
        return float(_losses(logits, labels, float(np.exp(log_t))).sum()) + prior

    grid = np.linspace(np.log(TEMPERATURES[0]), np.log(TEMPERATURES[1]), 25)
    best = int(np.argmin([cost(value) for value in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    ratio = (np.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    left_cost, right_cost = cost(left), cost(right)
    while high - low > 1e-4:
        if left_cost < right_cost:
            high, right, right_cost = right, left, left_cost
            left = high - ratio * (high - low)
            left_cost = cost(left)
        else:
            low, left, left_cost = left, right, right_cost
            right = low + ratio * (high - low)
            right_cost = cost(right)
    return float(np.exp((low + high) / 2))


def _losses(logits: Logits, labels: Labels, temperature: float) -> NDArray[np.float64]:
    """The negative log-likelihood of each image.

    Shape: (N, K), (N,) -> (N,).
    """
    scaled = logits / temperature
    scaled = scaled - scaled.max(1, keepdims=True)
    losses: NDArray[np.float64] = np.log(np.exp(scaled).sum(1)) - scaled[np.arange(len(labels)), labels]
    return losses


def fit_vector(logits: Logits, labels: Labels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The most likely factor and offset per class.

    A small penalty keeps them near 1 and 0.

    Shape: logits (N, K), labels (N,) -> factors (K,), offsets (K,).
    Source: Guo et al. 2017, section 4.2; the penalty is Kull et al. 2019, arXiv 1910.12656, section 3.2.
    """
    x, y = torch.from_numpy(logits.astype(np.float64)), torch.from_numpy(labels)
    factors = torch.ones(x.shape[1], dtype=torch.float64, requires_grad=True)
    offsets = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([factors, offsets], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        penalty = ((factors - 1) ** 2).mean() + (offsets**2).mean()
        loss: torch.Tensor = torch_cross_entropy(x * factors + offsets, y) + VECTOR_PENALTY * penalty
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return factors.detach().numpy(), offsets.detach().numpy()


def score(logits: Logits, labels: Labels, temperature: float = 1.0) -> Scores:
    """ECE, Brier score and loss of softmax(logits / temperature)."""
    probabilities = softmax(logits, temperature)
    right = probabilities.argmax(1) == labels
    loss = cross_entropy((logits.astype(np.float64) / temperature), labels)
    ece = expected_calibration_error(probabilities.max(1), right)
    return Scores(ece, brier_score(probabilities, labels), loss)


def judge(
    logits: Logits,
    labels: Labels,
    temperature: float,
    vector: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> Calibration:
    """The scores of images before and after scaling that was fitted on other images."""
    scaled = score(logits * vector[0] + vector[1], labels) if vector else None
    return Calibration(temperature, len(labels), score(logits, labels), score(logits, labels, temperature), scaled)


def reliability_bins(confidence: NDArray[np.floating], right: NDArray[np.bool_], num_bins: int = NUM_BINS) -> list[Bin]:
    """Images in order of confidence, in bins of equally many images.

    Equal mass rather than equal width: most answers are confident, and a bin of three images says nothing.

    Shape: (N,), (N,).
    Source: Nguyen, O'Connor 2015, Posterior Calibration, section 3.2.
    """
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(num_bins, len(order)))
    return [Bin(float(confidence[part].mean()), float(right[part].mean()), len(part)) for part in parts]


def expected_calibration_error(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], num_bins: int = NUM_BINS
) -> float:
    """Mean distance between confidence and accuracy; 0 is perfect.

    The mean is over bins of equally many images.

    Source: Naeini, Cooper, Hauskrecht 2015, eq. 3, with equal-mass bins.

    >>> expected_calibration_error(np.array([0.9, 0.9]), np.array([True, False]), num_bins=1)
    0.4
    """
    bins = reliability_bins(confidence, right, num_bins)
    return sum(each.num_images * abs(each.confidence - each.accuracy) for each in bins) / len(confidence)


def brier_score(probabilities: NDArray[np.floating], labels: Labels) -> float:
    """Mean squared distance to the one-hot truth, summed over classes: 0 to 2.

    Shape: (N, K), (N,).
    Source: Brier 1950, Verification of Forecasts Expressed in Terms of Probability.
    """
    squares = (probabilities.astype(np.float64) ** 2).sum(1)
    truth = probabilities[np.arange(len(labels)), labels]
    return float((squares - 2 * truth + 1).mean())
