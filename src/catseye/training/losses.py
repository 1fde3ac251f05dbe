"""Cross-entropy with label smoothing and class weights, for labels and for mixed targets."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from catseye.config import TrainingSettings
from catseye.errors import DataError

Criterion = Callable[[Tensor, Tensor], Tensor]


def make_criterion(settings: TrainingSettings, class_counts: NDArray[np.int64], device: torch.device) -> Criterion:
    """Mean cross-entropy: logits (N, K) and labels (N,) or soft targets (N, K) -> scalar.

    A right answer at p = 0.85 costs -log 0.85 = 0.16, one at 0.05 costs 3.00.
    """
    weights = None
    if settings.class_weights == "balanced":
        weights = torch.tensor(balanced_weights(class_counts), dtype=torch.float32, device=device)
    smoothing = settings.label_smoothing

    def criterion(logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing)

    return criterion


def balanced_weights(class_counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """N / (K · count): a class of half the usual size counts twice.

    Shape: (K,) -> (K,). Source: King and Zeng 2001; scikit-learn's class_weight="balanced".
    """
    if class_counts.min() == 0:
        raise DataError("balanced class weights need a training picture of every class")
    weights: NDArray[np.float64] = class_counts.sum() / (len(class_counts) * class_counts)
    return weights
