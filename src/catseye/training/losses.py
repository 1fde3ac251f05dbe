"""Cross-entropy with label smoothing and class weights, for labels and for mixed targets."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from catseye.errors import DataError
from catseye.settings.schema import TrainingSettings


@dataclass(frozen=True)
class Criterion:
    """Mean cross-entropy: logits (N, K) and labels (N,) or soft targets (N, K) -> scalar.

    A right answer at p = 0.85 costs -log 0.85 = 0.16, one at 0.05 costs 3.00.
    """

    weights: Tensor | None = None  # (K,)
    smoothing: float = 0.0

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See the class."""
        return F.cross_entropy(logits, targets, weight=self.weights, label_smoothing=self.smoothing)

    def mass(self, targets: Tensor) -> Tensor:
        """What the mean is divided by: a batch's mean is the mean of its parts, weighted with their masses.

        Shape: (N,) or (N, K) -> scalar.
        """
        if self.weights is None or targets.ndim == 2:
            return torch.full((), len(targets), dtype=torch.float32, device=targets.device)
        return self.weights[targets].sum()


def make_criterion(settings: TrainingSettings, class_counts: NDArray[np.int64], device: torch.device) -> Criterion:
    """The loss that the settings ask for; balanced weights come from the training images per class."""
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
