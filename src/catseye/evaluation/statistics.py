"""Uncertainty: bootstrap for macro F1, McNemar's test, Holm's method.

Enters: counts, a confusion matrix or p values. Leaves: intervals and p values. NumPy and the standard library; the
tests compare with SciPy and scikit-learn. Wilson's interval for a share is in `metrics.py`. Called by the report and
`compare.py`.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from catseye.evaluation.metrics import Matrix

NUM_RESAMPLES = 1000


def bootstrap_macro_f1(confusion: Matrix, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """95 % interval of macro F1 by the percentile bootstrap.

    Drawing N images with replacement is drawing N cells of the confusion matrix, so the images are not needed.

    Shape: (K, K), truth in the rows.
    Source: Efron, Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    rows, columns = np.nonzero(confusion)
    counts = confusion[rows, columns]
    num_classes, total = len(confusion), int(counts.sum())
    draws = np.random.default_rng(seed).multinomial(total, counts / total, size=num_resamples)
    values = np.empty(num_resamples)
    for number, draw in enumerate(draws):
        support = np.bincount(rows, draw, num_classes)
        predicted = np.bincount(columns, draw, num_classes)
        hits = np.bincount(rows, draw * (rows == columns), num_classes)
        present = support > 0
        values[number] = (2 * hits[present] / (support + predicted)[present]).mean()
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def mcnemar(first_only: int, second_only: int) -> float:
    """Exact two-sided p of McNemar's test for two models.

    Only the first model has `first_only` images right, only the second `second_only`. If the models are equally
    good, each such image is a coin toss.

    Source: McNemar 1947; Dietterich 1998, Approximate Statistical Tests, section 3.1; exact, not by chi-squared.

    >>> mcnemar(0, 5)
    0.0625
    """
    total, fewer = first_only + second_only, min(first_only, second_only)
    if total == 0:
        return 1.0
    logs = [math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in range(fewer + 1)]
    return min(1.0, 2 * math.fsum(math.exp(log - total * math.log(2)) for log in logs))


def paired_interval(first_only: int, second_only: int, total: int) -> tuple[float, float]:
    """95 % interval of the difference of two models' accuracies, second minus first.

    Both are measured on the same images: of `total`, `first_only` are right in the first model alone, `second_only` in
    the second alone.

    Source: Agresti, Min 2005, Simple Improved Confidence Intervals for Comparing Matched Proportions, section 3: Wald's
    interval after half an observation was added to each of the four cells.

    >>> [round(edge, 3) for edge in paired_interval(2, 9, 100)]
    [0.003, 0.134]
    """
    num, first, second = total + 2, first_only + 0.5, second_only + 0.5
    middle = (second - first) / num
    spread = 1.959964 * math.sqrt((first + second) - (second - first) ** 2 / num) / num
    return max(-1.0, middle - spread), min(1.0, middle + spread)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values of several tests, adjusted by Holm's method.

    The probability of any false alarm stays that of one test.

    Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, floor = [1.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = floor
    return adjusted


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation (n - 1 in the denominator; None for one value)."""
    array: NDArray[np.float64] = np.array(values, np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None
