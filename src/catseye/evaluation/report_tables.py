"""The tables of report.html: per class, and which classes are confused.

Enters: metrics, probabilities, labels. Leaves: rows. Called by `report.py`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.evaluation.curves import average_precision
from catseye.evaluation.metrics import Metrics, wilson_interval
from catseye.evaluation.rejection import auroc
from catseye.runs import Run, read_json

NUM_CONFUSED = 15


@dataclass(frozen=True)
class ClassRow:
    """One line of the table of classes.

    AUROC and average precision are None if the class never occurs; AUROC also if no other class does.
    """

    name: str
    precision: float
    recall: float
    recall_low: float
    recall_high: float
    f1: float
    support: int
    auroc: float | None
    average_precision: float | None


def class_rows(metrics: Metrics, probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> list[ClassRow]:
    """A line per class, in the order of the classes."""
    rows = []
    for index, (name, values) in enumerate(metrics.per_class.items()):
        of_class, scores = labels == index, probabilities[:, index]
        low, high = (
            wilson_interval(round(values.recall * values.support), values.support) if values.support else (0.0, 1.0)
        )
        both = of_class.any() and not of_class.all()
        rows.append(
            ClassRow(
                name, values.precision, values.recall, low, high, values.f1, values.support,
                auroc(scores[of_class], scores[~of_class]) if both else None,
                average_precision(scores, of_class) if of_class.any() else None,
            )
        )  # fmt: skip
    return rows


def read_trials(run: Run) -> list[dict[str, Any]]:
    """The trials of a search, from auto.json; empty if there was no search."""
    path = run.path / "auto.json"
    rows = read_json(path).get("trials", []) if path.exists() else []
    keys = {"name", "score", "score_low", "score_high", "num_images", "seconds", "verdict"}
    return [row for row in rows if isinstance(row, dict) and keys <= row.keys()] if isinstance(rows, list) else []


def shaded_matrix(metrics: Metrics) -> list[list[tuple[int, float]]]:
    """The count of each cell and the strength of its colour, 0 to 1.

    The square root makes small shares visible.
    """
    shares = metrics.confusion / np.maximum(metrics.confusion.sum(1, keepdims=True), 1)
    strength = np.sqrt(shares)
    return [
        [(int(count), round(float(colour), 3)) for count, colour in zip(counts, colours, strict=True)]
        for counts, colours in zip(metrics.confusion, strength, strict=True)
    ]


def confused_pairs(metrics: Metrics) -> list[tuple[int, int, int, float]]:
    """The largest cells off the diagonal.

    Each is: true class, predicted class, count, share of the true class's images.
    """
    off = metrics.confusion - np.diag(np.diag(metrics.confusion))
    order = np.argsort(-off, axis=None, kind="stable")[:NUM_CONFUSED]
    support = np.maximum(metrics.confusion.sum(1), 1)
    places = [divmod(int(place), len(off)) for place in order]
    return [(t, p, int(off[t, p]), float(off[t, p] / support[t])) for t, p in places if off[t, p]]
