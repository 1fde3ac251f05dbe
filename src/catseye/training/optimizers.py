"""The optimizer of a run: SGD with momentum, Adam or AdamW."""

from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from catseye.config import TrainingSettings


def make_optimizer(
    model: nn.Module, settings: TrainingSettings, groups: list[dict[str, Any]] | None = None
) -> Optimizer:
    """Weight decay pulls on matrices and kernels only: norms and biases (one dimension) are left free.

    `groups` replaces these two groups, for transfer learning.

    The learning rate and momentum set here are overwritten by the schedule at every step.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = groups or [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov)
    kind = Adam if settings.optimizer == "adam" else AdamW
    return kind(groups, lr=settings.lr)
