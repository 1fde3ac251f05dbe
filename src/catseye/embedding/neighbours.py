"""Exact nearest neighbours, by matrix products over blocks; a k-NN classifier.

Enters: features (N, F), in memory or memory-mapped. Leaves: rows and cosines. NumPy only. Called by search.py,
evaluation and review.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 65_536  # rows of the table that are multiplied at once
QUERIES = 256  # queries at a time: with a block they give 67 MB of cosines
NUM_NEIGHBOURS = 5


@dataclass(frozen=True)
class Neighbours:
    """Shape: rows (Q, k) int64, the nearest first; cosines (Q, k) float32."""

    rows: NDArray[np.int64]
    cosines: NDArray[np.float32]


def norms_of(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """The length of each row, in blocks, so that a memory-mapped table is not copied.

    Shape: (N, F) -> (N,).
    """
    norms = np.empty(len(features), np.float32)
    for start in range(0, len(features), BLOCK):
        norms[start : start + BLOCK] = np.linalg.norm(features[start : start + BLOCK], axis=1)
    return norms


def unit_rows(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Each row at length one.

    Shape: (N, F) -> (N, F).
    """
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12), np.float32)


def find_neighbours(
    features: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    *,
    norms: NDArray[np.float32] | None = None,
    own: NDArray[np.int64] | None = None,
) -> Neighbours:
    """The k rows of `features` with the largest cosine to each query.

    Among equal cosines the first rows count. `norms` are the lengths of the rows, if known. `own`: the row that is the
    query itself and is left out.

    Shape: features (N, F), queries (Q, F), own (Q,).
    """
    k = min(k, len(features) - (own is not None))
    rows = np.empty((len(queries), max(k, 0)), np.int64)
    cosines = np.empty(rows.shape, np.float32)
    if k <= 0:
        return Neighbours(rows, cosines)
    lengths = norms_of(features) if norms is None else norms
    lengths = np.maximum(lengths, 1e-12)
    for start in range(0, len(queries), QUERIES):
        part = slice(start, start + QUERIES)
        mine = None if own is None else own[part]
        rows[part], cosines[part] = _search_blocks(features, lengths, unit_rows(queries[part]), k, mine)
    return Neighbours(rows, cosines)


def _search_blocks(
    features: NDArray[np.float32],
    lengths: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    own: NDArray[np.int64] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    rows = np.empty((len(queries), 0), np.int64)
    cosines = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(features), BLOCK):
        block = features[start : start + BLOCK]
        products = (queries @ block.T) / lengths[start : start + BLOCK]
        if own is not None:
            here = np.flatnonzero((own >= start) & (own < start + len(block)))
            products[here, own[here] - start] = -np.inf
        if products.shape[1] > k:
            best = np.argpartition(products, products.shape[1] - k, axis=1)[:, -k:]
        else:
            best = np.broadcast_to(np.arange(products.shape[1]), products.shape)
        rows = np.concatenate([rows, best + start], axis=1)
        cosines = np.concatenate([cosines, np.take_along_axis(products, best, 1)], axis=1)
        order = np.lexsort((rows, -cosines), axis=1)[:, :k]
        rows, cosines = np.take_along_axis(rows, order, 1), np.take_along_axis(cosines, order, 1)
    return rows, cosines


def vote(near: Neighbours, labels: NDArray[np.int64], num_classes: int, *, power: float = 4.0) -> NDArray[np.float32]:
    """Shares of the classes among a query's neighbours, weighted (1 + cosine)^power.

    Shape: labels (N,) of the table's rows -> (Q, K).
    """
    weights = np.maximum(1 + near.cosines.astype(np.float64), 1e-6) ** power
    shares = np.zeros((len(near.rows), num_classes))
    for place in range(near.rows.shape[1]):
        np.add.at(shares, (np.arange(len(shares)), labels[near.rows[:, place]]), weights[:, place])
    return np.asarray(shares / np.maximum(shares.sum(1, keepdims=True), 1e-12), np.float32)
