"""Folds that keep near copies and other groups together and classes balanced.

Enters: labels and groups. Leaves: a fold's number per image. Called by the trials of this room.
"""

import numpy as np
from numpy.typing import NDArray

from catseye.seeds import derive


def draw_trial_folds(
    labels: NDArray[np.int64], groups: NDArray[np.int64], num_folds: int, seed: int
) -> NDArray[np.int64]:
    """The fold of every image: no group is split, and each class is spread evenly.

    The groups are assigned in random order, large ones first; each goes to the fold in which its classes are rarest.
    With fewer groups than folds, some folds stay empty.

    Shape: labels, groups (N,) -> (N,) of 0 to num_folds - 1.
    Source: the greedy rule of scikit-learn's StratifiedGroupKFold.

    >>> draw_trial_folds(np.array([0, 0, 1, 1]), np.array([0, 0, 2, 3]), 2, seed=0)[:2].tolist() in ([0, 0], [1, 1])
    True
    """
    _, group_of = np.unique(groups, return_inverse=True)
    num_classes = int(labels.max()) + 1
    tables = np.zeros((int(group_of.max()) + 1, num_classes), np.int64)
    np.add.at(tables, (group_of, labels), 1)
    totals = np.maximum(tables.sum(0), 1)
    rng = np.random.default_rng(derive(seed, "folds"))
    order = rng.permutation(len(tables))
    order = order[np.argsort(-tables[order].sum(1), kind="stable")]
    filled = np.zeros((num_folds, num_classes), np.int64)
    fold_of = np.empty(len(tables), np.int64)
    for group in order.tolist():
        table = tables[group]
        crowded = ((filled * table) / totals).sum(1)  # the share of these classes that each fold already has
        best = np.lexsort((rng.random(num_folds), filled.sum(1), crowded))[0]
        fold_of[group] = best
        filled[best] += table
    return fold_of[group_of]
