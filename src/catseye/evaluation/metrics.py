"""Metrics from logits and labels.

Enters: logits (N, K) and labels (N,). Leaves: `Metrics`. NumPy only; the tests compare with scikit-learn. Called by
`evaluate.py`, training and the report.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.int64]
Z_95 = 1.959963984540054  # the normal distribution's 97.5 % point


@dataclass(frozen=True)
class ClassMetrics:
    """One class: shares 0 to 1; `support` is the number of its images."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Metrics:
    """All metrics of one evaluation.

    Shares are 0 to 1; `confusion` (K, K) has the true classes in its rows.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    constant_guess: float
    top_k: dict[int, float]
    loss: float
    per_class: dict[str, ClassMetrics]
    macro: ClassMetrics
    weighted: ClassMetrics
    confusion: Matrix
    num_images: int

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types; null stands for 0/0, in a class that never occurs."""
        return {
            "num_images": self.num_images,
            "accuracy": self.accuracy,
            "accuracy_95_interval": [self.accuracy_low, self.accuracy_high],
            "constant_guess_accuracy": self.constant_guess,
            "top_k_accuracy": {str(k): value for k, value in self.top_k.items()},
            "loss": self.loss,
            "macro": vars(self.macro),
            "weighted": vars(self.weighted),
            "per_class": {name: vars(values) for name, values in self.per_class.items()},
            "confusion": self.confusion.tolist(),
        }


def metrics_of_json(content: dict[str, Any]) -> Metrics:
    """The metrics that `to_json` wrote."""
    low, high = content["accuracy_95_interval"]
    return Metrics(
        accuracy=content["accuracy"],
        accuracy_low=low,
        accuracy_high=high,
        constant_guess=content["constant_guess_accuracy"],
        top_k={int(k): value for k, value in content["top_k_accuracy"].items()},
        loss=content["loss"],
        per_class={name: ClassMetrics(**values) for name, values in content["per_class"].items()},
        macro=ClassMetrics(**content["macro"]),
        weighted=ClassMetrics(**content["weighted"]),
        confusion=np.array(content["confusion"], np.int64),
        num_images=content["num_images"],
    )


def compute_metrics(logits: NDArray[np.float32], labels: NDArray[np.int64], classes: Sequence[str]) -> Metrics:
    """All metrics of one evaluation.

    Shape: logits (N, K), labels (N,) with N > 0.
    """
    confusion = confusion_matrix(labels, logits.argmax(1), len(classes))
    hits = int(np.trace(confusion))
    low, high = wilson_interval(hits, len(labels))
    rows = per_class(confusion)
    present = [row for row in rows if row.support]
    weights = np.array([row.support for row in present]) / len(labels)
    return Metrics(
        accuracy=hits / len(labels),
        accuracy_low=low,
        accuracy_high=high,
        constant_guess=int(confusion.sum(1).max()) / len(labels),
        top_k={k: top_k_accuracy(logits, labels, k) for k in (1, 2, 3, 5) if k < len(classes) or k == 1},
        loss=cross_entropy(logits, labels),
        per_class=dict(zip(classes, rows, strict=True)),
        macro=_mean(present, np.full(len(present), 1 / len(present))),
        weighted=_mean(present, weights),
        confusion=confusion,
        num_images=len(labels),
    )


def confusion_matrix(labels: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int) -> Matrix:
    """Counts, rows = truth, columns = prediction.

    Shape: (N,), (N,) -> (K, K).

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    flat = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes).astype(np.int64)


def per_class(confusion: Matrix) -> list[ClassMetrics]:
    """Precision, recall and F1 of each class.

    0 if the denominator is 0, as in scikit-learn by default.
    """
    rows = []
    for index in range(len(confusion)):
        hits = int(confusion[index, index])
        predicted, support = int(confusion[:, index].sum()), int(confusion[index].sum())
        precision = hits / predicted if predicted else 0.0
        recall = hits / support if support else 0.0
        f1 = 2 * hits / (predicted + support) if predicted + support else 0.0
        rows.append(ClassMetrics(precision, recall, f1, support))
    return rows


def macro_f1(confusion: Matrix) -> float:
    """Mean F1 over the classes that occur."""
    return float(np.mean([row.f1 for row in per_class(confusion) if row.support]))


def top_k_accuracy(logits: NDArray[np.float32], labels: NDArray[np.int64], k: int) -> float:
    """Share of images whose class is among the k largest logits.

    The lower index wins a tie.
    """
    order = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return float((order == labels[:, None]).any(1).mean())


def cross_entropy(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Mean of -log p(truth), in nats."""
    wide = logits.astype(np.float64)
    top = wide.max(1)
    log_sum = top + np.log(np.exp(wide - top[:, None]).sum(1))
    return float((log_sum - wide[np.arange(len(labels)), labels]).mean())


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """95 % interval of a share.

    Source: Wilson 1927, Probable Inference; Brown, Cai, DasGupta 2001, eq. 4.

    >>> [round(x, 4) for x in wilson_interval(95, 100)]
    [0.8882, 0.9785]
    """
    share = hits / total
    centre = share + Z_95**2 / (2 * total)
    spread = Z_95 * math.sqrt(share * (1 - share) / total + Z_95**2 / (4 * total**2))
    scale = 1 + Z_95**2 / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def _mean(rows: list[ClassMetrics], weights: NDArray[np.float64]) -> ClassMetrics:
    values = np.array([(row.precision, row.recall, row.f1) for row in rows])
    precision, recall, f1 = (float(value) for value in weights @ values)
    return ClassMetrics(precision, recall, f1, sum(row.support for row in rows))
