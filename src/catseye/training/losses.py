"""Cross-entropy with label smoothing and class weights, also for mixed targets."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from catseye.errors import DataError, UsageError
from catseye.settings.schema import TrainingSettings
from catseye.training.own_code import OwnLoss


@dataclass(frozen=True)
class Criterion:
    """Mean cross-entropy of logits (N, K), for labels (N,) or targets (N, K).

    A probability of 0.85 for the true class costs -log 0.85 = 0.16, one of 0.05 costs 3.00.
    """

    weights: Tensor | None = None  # (K,)
    smoothing: float = 0.0

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See the class."""
        return F.cross_entropy(logits, targets, weight=self.weights, label_smoothing=self.smoothing)

    def mass(self, targets: Tensor) -> Tensor:
        """The divisor of the mean.

        A batch's mean is the mean of its parts, weighted with their masses.

        Shape: (N,) or (N, K) -> scalar.
        """
        if self.weights is None or targets.ndim == 2:
            return torch.full((), len(targets), dtype=torch.float32, device=targets.device)
        return self.weights[targets].sum()


@dataclass(frozen=True)
class OwnCriterion(Criterion):
    """The caller's loss with the interface of `Criterion`.

    A batch's mean is the mean of its parts.
    """

    loss: OwnLoss | None = None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a part.

        Raises:
            UsageError: it is not a scalar.

        """
        assert self.loss is not None
        value: Any = self.loss(logits, targets)
        if not isinstance(value, Tensor) or value.ndim:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(f"loss(logits, targets) gives a scalar tensor, the mean over the images; got {got}")
        return value


def make_criterion(
    settings: TrainingSettings,
    class_counts: NDArray[np.int64],
    device: torch.device,
    own: OwnLoss | None = None,
) -> Criterion:
    """The caller's `own` loss, or that of the settings.

    Balanced weights come from the images per class.
    """
    if own is not None:
        return OwnCriterion(loss=own)
    weights = None
    if settings.class_weights == "balanced":
        weights = torch.tensor(balanced_weights(class_counts), dtype=torch.float32, device=device)
    return Criterion(weights, settings.label_smoothing)


def balanced_weights(class_counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """N / (K · count): a class of half the usual size counts twice.

    Shape: (K,) -> (K,). Source: King and Zeng 2001; scikit-learn's class_weight="balanced".
    """
    if class_counts.min() == 0:
        raise DataError("balanced class weights need a training image of every class")
    weights: NDArray[np.float64] = class_counts.sum() / (len(class_counts) * class_counts)
    return weights
