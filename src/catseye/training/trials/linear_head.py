"""Linear heads on pooled features, solved directly.

They are logistic regression and linear discriminants.

Enters: pooled features (N, F) and labels. Leaves: a weight (K, F) and a bias (K,), and the head's logits of images that
it was not fitted on. Called by the rungs of frozen features. Everything is computed on the CPU, in float32.

Decay and shrinkage are chosen by grouped folds, repeated if the images are few.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from catseye.training.trials.feature_frame import FeatureFrame
from catseye.training.trials.published_rows import published_rows

# From strong to weak, for feature vectors whose mean squared length is 1.
DECAYS = tuple(10 ** (-exponent / 2) for exponent in range(3, 14))
STRONG_DECAYS = (1.0, 10**-0.5, 0.1)  # also tried where decay leads to rows that are good by themselves
SHRINKAGES = (0.9, 0.6, 0.3, 0.1, 0.03)
SHARPNESS = tuple(2.0**exponent for exponent in range(-6, 4))
MAX_ITERATIONS = 60
FEW, MANY = 1_000, 4_000  # images: below the first, folds are repeated; above the second, one of the folds suffices
WORSE_IN_A_ROW = 2
NEIGHBOURS = 5
SMALL_MATRIX = 2_000_000  # values


@dataclass(frozen=True)
class HeadFit:
    """A linear layer on pooled features.

    `logits` (R, N, K) are those of each image by a layer that was fitted without the image's fold, once per repetition;
    NaN for an image in no fold. `strength` is the decay or shrinkage.
    """

    weight: Tensor
    bias: Tensor
    logits: NDArray[np.float32]
    strength: float


@dataclass(frozen=True)
class FeatureTable:
    """Pooled features of the training images and of their V - 1 copies.

    `features` (V, N, F), `labels` (N,), `weights` (N,) of the images in the loss, `folds` (R, N). `classifier`
    (C, F + 1), the last column is the bias, is the published one for C classes of these features, if it is linear.
    """

    features: Tensor
    labels: Tensor
    weights: Tensor
    folds: NDArray[np.int64]
    num_classes: int
    classifier: Tensor | None = None

    @property
    def num_folds(self) -> int:
        """The number of folds in one repetition."""
        return int(self.folds.max()) + 1


def fit_logistic(table: FeatureTable, *, standardise: bool = False, published: bool = False) -> HeadFit:
    """Multinomial logistic regression by L-BFGS, with cross-validated decay.

    The decay is the strongest whose loss is within one standard error of the least, and whose accuracy is not lower
    there. With `standardise` every feature is divided by its own spread, otherwise all by one number. With `published`
    the rows decay towards those of the published classifier (published_rows.py) instead of 0.

    Source: Kornblith et al. 2019, arXiv 1805.08974, section 3.1: the linear evaluation of frozen features. The rule of
    one standard error: Breiman et al. 1984, Classification and Regression Trees, section 3.4.3.
    """
    frame = FeatureFrame(table.features, standardise=standardise)
    copies = frame.coordinates  # (V, N, r)
    left_out = _held_out_folds(table)
    inside = torch.from_numpy(np.stack([mask for _, mask in left_out]))  # (P, N), a problem per fold
    weights = torch.where(inside, 0.0, table.weights)
    own_goal, whole_goal, goals = _goals(table, frame, weights, published=published)
    solve = partial(solve_logistic, copies, table.labels)
    decays = STRONG_DECAYS + DECAYS if published else DECAYS
    scores: list[tuple[float, float, float]] = []  # by decay: loss, its standard error, accuracy
    fits: list[tuple[float, float, NDArray[np.float32]]] = []  # by decay: itself, sharpness, logits
    layers = None
    for decay in decays:
        layers = solve(weights, goals, decay, layers)
        logits = np.full((len(table.folds), len(table.labels), table.num_classes), np.nan, np.float32)
        for ((repetition, _), mask), layer in zip(left_out, layers, strict=True):
            logits[repetition, mask] = _head_logits(layer, copies[0, torch.from_numpy(mask)])
        sharpness = _best_sharpness(logits, table) if published else 1.0
        scores.append(_score_held_out(sharpness * logits, table))
        fits.append((decay, sharpness, sharpness * logits))
        best = min(range(len(scores)), key=lambda number: scores[number][0])
        if len(scores) - 1 - best >= WORSE_IN_A_ROW:
            break
    largest_loss, least_accuracy = sum(scores[best][:2]), scores[best][2]
    number = next(
        i for i, (loss, _, accuracy) in enumerate(scores) if loss <= largest_loss and accuracy >= least_accuracy
    )
    decay, sharpness, logits = fits[number]
    start = solve(table.weights[None], whole_goal, 10 * decay)
    whole = solve(table.weights[None], whole_goal, decay, start)
    weight, bias = frame.to_layer((whole - whole_goal)[0])
    weight, bias = weight + own_goal[0, :, :-1], bias + own_goal[0, :, -1]  # whole: also in directions without images
    return HeadFit(sharpness * weight, sharpness * bias, logits, decay)


@contextmanager
def few_threads(num_values: int) -> Iterator[None]:
    """One thread for small matrices, on which several threads would mostly wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if num_values < SMALL_MATRIX else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fit_discriminant(table: FeatureTable) -> HeadFit:
    """Linear discriminant analysis with a shrunken covariance.

    Shrinkage and sharpness are chosen by the same folds.

    Source: Friedman 1989, Regularized Discriminant Analysis, with one covariance for all classes.
    """
    frame = FeatureFrame(table.features, standardise=False)
    copies = frame.coordinates  # (V, N, r)
    fits: list[tuple[float, float, float, NDArray[np.float32]]] = []
    logits_by_shrinkage = {
        shrinkage: np.full((len(table.folds), len(table.labels), table.num_classes), np.nan, np.float32)
        for shrinkage in SHRINKAGES
    }
    for (repetition, _), mask in _held_out_folds(table):
        fitted_on, held_out = torch.from_numpy(~mask), torch.from_numpy(mask)
        for shrinkage, layer in _discriminants(copies[:, fitted_on], table.labels[fitted_on], table.num_classes):
            logits_by_shrinkage[shrinkage][repetition, mask] = _head_logits(layer, copies[0, held_out])
    for shrinkage, logits in logits_by_shrinkage.items():
        for sharpness in SHARPNESS:
            fits.append((_score_held_out(logits * sharpness, table)[0], shrinkage, sharpness, logits * sharpness))
    _, shrinkage, sharpness, logits = min(fits, key=lambda fit: fit[0])
    layer = dict(_discriminants(copies, table.labels, table.num_classes))[shrinkage] * sharpness
    return HeadFit(*frame.to_layer(layer), logits, shrinkage)


FROM_PUBLISHED = "logistic regression from published classes"
HEADS: Mapping[str, Callable[[FeatureTable], HeadFit]] = {
    "logistic regression": fit_logistic,
    "logistic regression on standardised features": partial(fit_logistic, standardise=True),
    FROM_PUBLISHED: partial(fit_logistic, published=True),
    "linear discriminants": fit_discriminant,
}


def vote_neighbours(table: FeatureTable, groups: NDArray[np.int64]) -> NDArray[np.float32]:
    """Log probabilities (N, K) from the nearest neighbours, for comparison.

    Neighbours of the image's own group have no vote.

    They are the shares of the classes among the neighbours by cosine, with one more vote divided among all classes.
    """
    units = F.normalize(table.features[0] - table.features[0].mean(0), dim=1)
    own = torch.from_numpy(groups)
    votes = torch.empty(len(units), table.num_classes)
    for start in range(0, len(units), 1_000):
        near = units[start : start + 1_000] @ units.T
        near[own[start : start + 1_000, None] == own[None]] = -2.0
        nearest = near.topk(min(NEIGHBOURS, len(units)), dim=1).indices
        votes[start : start + 1_000] = F.one_hot(table.labels[nearest], table.num_classes).float().sum(1)
    shares = (votes + 1 / table.num_classes) / (votes.sum(1, keepdim=True) + 1)
    return np.asarray(shares.log().numpy(), np.float32)


def solve_logistic(
    copies: Tensor, labels: Tensor, weights: Tensor, goals: Tensor, decay: float, start: Tensor | None = None
) -> Tensor:
    """Layers with the least weighted cross-entropy plus decay.

    The decay adds decay/2 times the squared distance of the weights from those of `goals`.

    Biases do not decay. P problems on the same features are solved together; they differ in the weights of the images,
    and in their goals.

    Shape: copies (V, N, r), labels (N,), weights (P, N), start and goals (P, K, r + 1) -> (P, K, r + 1), the last
    column is the bias.
    """
    (num_problems, num_classes, _), flat = goals.shape, copies.reshape(-1, copies.shape[-1])
    truth = labels.repeat(len(copies)).expand(num_problems, -1)  # (P, V·N)
    share = weights.repeat(1, len(copies))
    share = share / share.sum(1, keepdim=True)
    layers = goals.clone() if start is None else start.clone()
    with torch.enable_grad():
        layers.requires_grad_(True)
        solver = torch.optim.LBFGS(
            [layers], max_iter=MAX_ITERATIONS, tolerance_grad=1e-5, tolerance_change=1e-7, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            solver.zero_grad()
            rows = layers.flatten(0, 1)  # (P·K, r + 1)
            logits = torch.addmm(rows[:, -1], flat, rows[:, :-1].T)  # (V·N, P·K)
            logits = logits.reshape(len(flat), num_problems, num_classes).permute(1, 2, 0)  # (P, K, V·N)
            loss = (F.cross_entropy(logits, truth, reduction="none") * share).sum()
            loss = loss + decay / 2 * (layers - goals)[:, :, :-1].square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        solver.step(closure)  # type: ignore[no-untyped-call]
    return layers.detach()


def _discriminants(copies: Tensor, labels: Tensor, num_classes: int) -> Sequence[tuple[float, Tensor]]:
    """A layer (K, r + 1) per shrinkage.

    A class without images gets the common mean, and a prior so small that it never wins.

    Shape: copies (V, n, r), labels (n,).
    """
    x, labels = copies.flatten(0, 1), labels.repeat(len(copies))
    counts = torch.bincount(labels, minlength=num_classes).float()
    sums = torch.zeros(num_classes, x.shape[1]).index_add_(0, labels, x)
    means = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], x.mean(0))
    inner = x - means[labels]
    covariance = inner.T @ inner / max(1, len(x) - num_classes)
    typical = covariance.diagonal().mean().clamp_min(1e-12)
    prior = (counts.clamp_min(1e-6) / counts.sum()).log()
    layers = []
    for shrinkage in SHRINKAGES:
        mixed = (1 - shrinkage) * covariance
        mixed.diagonal().add_(shrinkage * typical)
        weight = torch.linalg.solve(mixed, means.T).T
        bias = prior - 0.5 * (weight * means).sum(1)
        layers.append((shrinkage, torch.cat([weight, bias[:, None]], 1)))
    return layers


def _held_out_folds(table: FeatureTable) -> Sequence[tuple[tuple[int, int], NDArray[np.bool_]]]:
    """((repetition, fold), mask of its images), without empty or full folds."""
    masks = []
    for repetition, folds in enumerate(table.folds):
        for fold in range(table.num_folds):
            mask = folds == fold
            if mask.any() and not mask.all():
                masks.append(((repetition, fold), mask))
    return masks


def _head_logits(layer: Tensor, coordinates: Tensor) -> NDArray[np.float32]:
    return np.asarray(torch.addmm(layer[:, -1], coordinates, layer[:, :-1].T).numpy(), np.float32)


def _goals(
    table: FeatureTable, frame: FeatureFrame, weights: Tensor, *, published: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """What the rows decay towards: for all images, twice, and for each problem.

    Shape: weights (P, N) -> (1, K, F + 1) for features, and (1, K, r + 1), (P, K, r + 1) in the frame's coordinates.
    """
    if not published or table.classifier is None:
        num, own, inner = table.num_classes, table.features.shape[-1] + 1, frame.coordinates.shape[-1] + 1
        return torch.zeros(1, num, own), torch.zeros(1, num, inner), torch.zeros(len(weights), num, inner)
    every = torch.cat([table.weights[None], weights])
    rows = published_rows(table.features[0], table.labels, every, table.classifier, table.num_classes)
    return rows[:1], frame.from_layer(rows[:1]), frame.from_layer(rows[1:])


def _best_sharpness(held_out: NDArray[np.float32], table: FeatureTable) -> float:
    """The factor of the logits with the least loss.

    The published rows were trained to separate other classes, so their logits have another scale.
    """
    return min(SHARPNESS, key=lambda sharpness: _score_held_out(sharpness * held_out, table)[0])


def _score_held_out(held_out: NDArray[np.float32], table: FeatureTable) -> tuple[float, float, float]:
    """Weighted mean loss of logits (R, N, K), its standard error, and their accuracy."""
    logits = torch.from_numpy(held_out)
    truth = table.labels.expand(len(logits), -1)
    losses = F.cross_entropy(logits.flatten(0, 1), truth.flatten(), reduction="none").reshape(truth.shape)
    shares = torch.where(losses.isnan(), 0.0, table.weights.expand_as(losses))
    total = shares.sum()
    mean = float((losses.nan_to_num() * shares).sum() / total)
    error = float((shares * (losses.nan_to_num() - mean)).square().sum().sqrt() / total) * len(logits) ** 0.5
    return mean, error, float(((logits.argmax(2) == truth) * shares).sum() / total)
