"""The optimizer of a run: SGD with momentum, Adam, AdamW or Muon."""

from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from catseye.errors import UsageError
from catseye.settings.schema import TrainingSettings
from catseye.training.muon import Muon


def make_optimizer(
    model: nn.Module, settings: TrainingSettings, groups: list[dict[str, Any]] | None = None
) -> Optimizer:
    """Weight decay pulls on matrices and kernels only: norms and biases (one dimension) are left free.

    `groups` replaces these two groups, for transfer learning.

    The learning rate and momentum set here are overwritten by the schedule at every step.
    """
    if settings.optimizer == "muon":
        return Muon(_muon_groups(model, settings, groups), lr=settings.lr, momentum=settings.momentum)
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = groups or [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov)
    kind = Adam if settings.optimizer == "adam" else AdamW
    return kind(groups, lr=settings.lr)


def _muon_groups(
    model: nn.Module, settings: TrainingSettings, groups: list[dict[str, Any]] | None
) -> list[dict[str, Any]]:
    """Orthogonal steps for the kernels and matrices of the features; the head and all vectors get plain ones.

    `lr_scale` turns the one learning rate of the schedule into that of each group.
    """
    if groups is not None:
        raise UsageError("training.optimizer = muon trains from fresh weights; with --pretrained use adamw or sgd")
    head = {id(p) for p in model.get_submodule("head").parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    kernels = [p for p in trained if p.ndim > 1 and id(p) not in head]
    matrices = [p for p in trained if p.ndim > 1 and id(p) in head]
    vectors = [p for p in trained if p.ndim <= 1]
    plain = settings.vector_lr / settings.lr
    return [
        {"params": kernels, "orthogonal": True},
        {"params": matrices, "lr_scale": plain, "weight_decay": settings.weight_decay},
        {"params": vectors, "lr_scale": plain},
    ]
