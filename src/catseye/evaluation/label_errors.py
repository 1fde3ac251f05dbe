"""Confident learning: finds probably wrong labels from held-out probabilities.

Enters: calibrated probabilities (N, K) of images that the network was not trained on, and their labels (N,). Leaves:
suspects, most suspicious first. Called by the report.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Suspect:
    """A row whose label is probably wrong.

    `label` is the class of its label, `likely` the class the network is confident of. `margin` is the probability of
    the label minus that of the likely class, -1 to 0.
    """

    row: int
    label: int
    likely: int
    margin: float


def class_thresholds(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean confidence in each class over the images with its label.

    Infinite for a class that never occurs.

    Shape: (N, K), (N,) -> (K,).
    """
    num_classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, own, num_classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)


def find_doubted(probabilities: NDArray[np.floating], labels: NDArray[np.int64], least: float = 0.5) -> list[Suspect]:
    """Suspects, and labels that another class exceeds by `least`, by margin.

    The suspects are those of confident learning. For easy classes, its thresholds are so high that half of the wrong
    labels stay below them; a reviewer wants to see those too.

    Shape: (N, K), (N,).
    """
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -1.0
    likely = others.argmax(1)
    margin = probabilities[rows, labels] - others[rows, likely]
    suspects = {suspect.row: suspect for suspect in find_label_errors(probabilities, labels)}
    for row in np.flatnonzero(margin <= -least).tolist():
        suspects.setdefault(row, Suspect(row, int(labels[row]), int(likely[row]), float(margin[row])))
    return sorted(suspects.values(), key=lambda suspect: suspect.margin)


def find_label_errors(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> list[Suspect]:
    """The off-diagonal of the confident joint, ordered by margin.

    An image counts for the most probable class among those whose threshold its probability reaches; if that is not
    its label, it is a suspect. Images that reach no threshold are ignored.

    Shape: (N, K), (N,).
    Source: Northcutt, Jiang, Chuang 2021, Confident Learning, eq. 1 and 2, and "prune by the off-diagonals of the
    confident joint" of section 3.2.
    """
    reached = probabilities >= class_thresholds(probabilities, labels) - 1e-12
    confident = np.where(reached, probabilities, -1.0)
    likely = confident.argmax(1)
    margin = probabilities[np.arange(len(labels)), labels] - probabilities[np.arange(len(labels)), likely]
    rows = np.flatnonzero(reached.any(1) & (likely != labels))
    rows = rows[np.argsort(margin[rows], kind="stable")]
    return [Suspect(int(row), int(labels[row]), int(likely[row]), float(margin[row])) for row in rows]
