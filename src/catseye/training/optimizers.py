"""The optimizer of a run, and the groups of parameters that it trains.

Enters: a network and settings. Leaves: `ParameterGroup`s and an optimizer over them, in the same order. Called by
assemble.py; transfer.py makes the groups of a network with published weights; `step.py` sets the rate of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from catseye.settings.schema import TrainingSettings
from catseye.training.muon import Muon


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters with the same settings.

    They learn at `rate_factor` times the scheduled rate, from step `first_step` on.
    """

    parameters: Sequence[nn.Parameter]
    weight_decay: float = 0.0
    rate_factor: float = 1.0
    first_step: int = 0  # before it the rate is 0
    orthogonal: bool = False  # Muon: kernels and matrices whose step is made orthogonal

    def rate(self, scheduled: float, step: int) -> float:
        """The group's learning rate at a step, from the scheduled one."""
        if step < self.first_step:
            return 0.0
        return scheduled * self.rate_factor


def plain_groups(model: nn.Module, settings: TrainingSettings) -> list[ParameterGroup]:
    """The groups of a network that trains from fresh weights.

    Weight decay applies to matrices and kernels only, not to norms and biases (one dimension). Muon takes
    orthogonal steps for the kernels and matrices of the features; the head and all vectors get plain ones, at a rate
    of their own.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    vectors = [p for p in trained if p.ndim <= 1]
    if settings.optimizer != "muon":
        return [
            ParameterGroup([p for p in trained if p.ndim > 1], weight_decay=settings.weight_decay),
            ParameterGroup(vectors),
        ]
    head = {id(p) for p in model.get_submodule("head").parameters()}
    kernels = [p for p in trained if p.ndim > 1 and id(p) not in head]
    matrices = [p for p in trained if p.ndim > 1 and id(p) in head]
    factor = settings.vector_lr / settings.lr
    return [
        ParameterGroup(kernels, orthogonal=True),
        ParameterGroup(matrices, weight_decay=settings.weight_decay, rate_factor=factor),
        ParameterGroup(vectors, rate_factor=factor),
    ]


def make_optimizer(groups: Sequence[ParameterGroup], settings: TrainingSettings) -> Optimizer:
    """The optimizer of the settings; its `param_groups` are `groups`, in order.

    The learning rate and momentum set here are overwritten by the schedule at every step.
    """
    plain: list[dict[str, Any]] = [{"params": list(g.parameters), "weight_decay": g.weight_decay} for g in groups]
    if settings.optimizer == "muon":
        muon_groups = [{**each, "orthogonal": group.orthogonal} for each, group in zip(plain, groups, strict=True)]
        return Muon(muon_groups, lr=settings.lr, momentum=settings.momentum)
    # One kernel for all parameters; measured to gain nothing on a CPU (docs/speed.md).
    fused = all(p.is_cuda for group in groups for p in group.parameters)
    if settings.optimizer == "sgd":
        return SGD(plain, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov, fused=fused or None)
    kind = Adam if settings.optimizer == "adam" else AdamW
    return kind(plain, lr=settings.lr, fused=fused or None)
