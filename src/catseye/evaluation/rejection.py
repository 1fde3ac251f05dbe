"""Answering "unknown": risk and coverage, thresholds, AUROC on foreign images.

Enters: confidences and whether the answers were right. Leaves: curves, a `Rejection` with the threshold for a risk, an
AUROC. NumPy only. Called by `calibrate.py` and the report.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.errors import CatseyeError, UsageError
from catseye.evaluation.metrics import Z_95, wilson_interval

Values = NDArray[np.floating]


@dataclass(frozen=True)
class Rejection:
    """A threshold and its effect on the images that chose it.

    Shares are 0 to 1. `threshold` is None if every image may be answered. A few images cannot show that errors are
    rare: the risk is assured only if the upper end of its 95 % interval, `risk_high`, is at most `max_risk`.
    """

    threshold: float | None
    max_risk: float
    coverage: float
    risk: float
    risk_high: float
    num_images: int

    @property
    def is_assured(self) -> bool:
        """Whether the images show that the risk is at most `max_risk`."""
        return self.risk_high <= self.max_risk

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {**asdict(self), "assured": self.is_assured}

    def to_line(self) -> str:
        """The line that a terminal shows."""
        seen = "no error was seen" if not self.risk else f"{self.risk:.2%} errors were seen"
        interval = f"95% interval up to {self.risk_high:.2%}"
        if self.threshold is None:
            line = (
                f"{seen} among all {self.num_images:,} validation images ({interval}), so no threshold of the "
                "probability is set"
            )
        else:
            line = (
                f"“unknown” below a probability of {self.threshold:.4f}: {self.coverage:.2%} of {self.num_images:,} "
                f"validation images are answered, {seen} among those ({interval})"
            )
        if self.is_assured:
            return line
        return line + f"; this many images cannot assure {self.max_risk:.2%}: {_how_many(self.max_risk)}"


def risk_coverage(confidence: Values, right: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coverage and risk of the n most confident images, n = 1 … N.

    Coverage is the share answered, risk the share of errors among them.

    Shape: (N,), (N,) -> coverage (N,), risk (N,).
    Source: El-Yaniv, Wiener 2010, On the Foundations of Noise-free Selective Classification, section 2.
    """
    order = np.argsort(-confidence, kind="stable")
    counts = np.arange(1, len(order) + 1)
    return counts / len(order), np.cumsum(~right[order]) / counts


def choose_threshold(confidence: Values, right: NDArray[np.bool_], max_risk: float) -> Rejection:
    """The threshold that answers most images with at most `max_risk` errors.

    `max_risk` limits the upper end of the interval of the share of errors among the answers. If no threshold satisfies
    that, for lack of images, it limits the observed share, and `Rejection` says so. The threshold lies halfway between
    the last image answered and the first one refused, so that rounding in an exported file cannot move an image across
    it.

    Raises:
        CatseyeError: even the most confident answers have more errors.

    """
    coverage, risk = risk_coverage(confidence, right)
    falling = -np.sort(-confidence, kind="stable")
    ends = np.append(falling[:-1] != falling[1:], True)  # equal confidences are answered together or not at all
    good = np.flatnonzero(ends & (risk <= max_risk))
    if not len(good):
        best = int(np.flatnonzero(ends)[risk[ends].argmin()])
        raise CatseyeError(
            f"--max-risk {max_risk:.2%} is out of reach: the lowest risk on {len(right)} validation images is "
            f"{risk[best]:.2%} errors among the {coverage[best]:.1%} most confident answers; "
            "allow more, or train longer"
        )
    sure = [place for place in good.tolist() if _upper_end(risk, place) <= max_risk]
    last = int((sure or good)[-1])
    threshold = None if last == len(falling) - 1 else float((falling[last] + falling[last + 1]) / 2)
    high = _upper_end(risk, last)
    return Rejection(threshold, max_risk, float(coverage[last]), float(risk[last]), high, len(right))


def _upper_end(risk: NDArray[np.float64], last: int) -> float:
    """The end of the 95 % interval of the risk among the first `last` + 1 answers."""
    return wilson_interval(round(risk[last] * (last + 1)), last + 1)[1]


def _how_many(max_risk: float) -> str:
    """The number of answers without an error that would assure a risk, as text.

    The upper end of Wilson's interval of 0 errors is then that risk.
    """
    if max_risk <= 0:
        return "no number of images could"
    return f"that needs {math.ceil(Z_95**2 * (1 - max_risk) / max_risk):,} answers without an error"


def energy(logits: Values, temperature: float = 1.0) -> NDArray[np.float64]:
    """Minus the free energy: T log sum exp(logits / T).

    It is larger for images like those of training.

    Shape: (N, K) -> (N,).
    Source: Liu et al. 2020, Energy-based Out-of-distribution Detection, eq. 4.
    """
    scaled = logits.astype(np.float64) / temperature
    top = scaled.max(1)
    result: NDArray[np.float64] = temperature * (top + np.log(np.exp(scaled - top[:, None]).sum(1)))
    return result


def auroc(positive: Values, negative: Values) -> float:
    """Probability that a positive scores above a negative; ties count half.

    Source: Hanley, McNeil 1982; the Mann-Whitney statistic.

    >>> auroc(np.array([0.9, 0.5]), np.array([0.5, 0.1]))
    0.875
    """
    both = np.concatenate([positive, negative]).astype(np.float64)
    _, place, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # equal values share their mean rank
    total = ranks[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2
    return float(total / (len(positive) * len(negative)))


def parse_share(text: str, option: str) -> float:
    """`2%` or `0.02` as a share.

    Raises:
        UsageError: it is neither, or not between 0 and 1.

    >>> parse_share("2%", "--max-risk"), parse_share("0.02", "--max-risk")
    (0.02, 0.02)

    """
    try:
        value = float(text.rstrip("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise UsageError(f"{option} is a share such as 2% or 0.02; got {text!r}")
    return value
