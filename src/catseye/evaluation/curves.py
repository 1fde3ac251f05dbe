"""ROC and precision-recall curves of one class against the rest.

Enters: a score per image and whether it is of the class. Leaves: points of a curve. NumPy only; the tests compare with
scikit-learn. Called by `report_charts.py` and `report_tables.py`.
"""

import numpy as np
from numpy.typing import NDArray

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def roc_curve(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> Curve:
    """False-positive and true-positive rates, one point per distinct score.

    From (0, 0) to (1, 1).

    Shape: (N,), (N,); at least one image of each kind.
    """
    hits, misses = _counts(scores, positive)
    return np.append(0, misses / misses[-1]), np.append(0, hits / hits[-1])


def precision_recall_curve(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> Curve:
    """Recall and precision from the highest score down; at least one positive image.

    Shape: (N,), (N,).
    """
    hits, misses = _counts(scores, positive)
    return hits / hits[-1], hits / (hits + misses)


def average_precision(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Area under the steps of the precision-recall curve, without interpolation."""
    recall, precision = precision_recall_curve(scores, positive)
    return float((np.diff(recall, prepend=0) * precision).sum())


def thin(curve: Curve, num_points: int = 80) -> Curve:
    """The same curve with few points, evenly spread along its length; both ends stay."""
    x, y = curve
    if len(x) <= num_points:
        return curve
    length = np.append(0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    wanted = np.linspace(0, length[-1], num_points)
    keep = np.unique(np.append(np.searchsorted(length, wanted).clip(max=len(x) - 1), len(x) - 1))
    return x[keep], y[keep]


def _counts(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> Curve:
    order = np.argsort(-scores, kind="stable")
    falling, right = scores[order], positive[order]
    ends = np.append(falling[:-1] != falling[1:], True)  # equal scores are one step
    hits = np.cumsum(right)[ends].astype(np.float64)
    return hits, np.flatnonzero(ends) + 1.0 - hits
