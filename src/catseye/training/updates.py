"""The updates of SGD and Muon with rate and momentum in tensors.

A step with other values need not be captured again.

Enters: gradients, rates, momentum. Leaves: changed parameters and the ordinary optimizer's momentum buffers, so that
checkpoints of captured and plain steps are interchangeable. Called by `captured.py`. torch's own optimizers take
momentum as a number, which a graph would never update.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from catseye.training.muon import Muon, orthogonalise_all

Update = Callable[[Sequence[Tensor], Tensor, Tensor, Tensor], None]
"""Gradients in the order of the parameters, rates (G,), momentum, and whether to change anything."""


def make_update(optimizer: Optimizer, trained: Sequence[nn.Parameter]) -> Update:
    """The update of an SGD or Muon optimizer for the parameters that get a gradient."""
    place = {id(p): number for number, p in enumerate(trained)}
    groups: list[list[Tensor]] = [[p for p in group["params"] if id(p) in place] for group in optimizer.param_groups]
    for group, parameters in zip(optimizer.param_groups, groups, strict=True):
        for p in parameters if group["momentum"] or isinstance(optimizer, Muon) else ():
            if optimizer.state[p].get("momentum_buffer") is None:
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)

    @torch.no_grad()
    def update(gradients: Sequence[Tensor], rates: Tensor, momentum: Tensor, alive: Tensor) -> None:
        going = alive.to(torch.float32)
        # If nothing may change: the gradient is 0, the buffer is kept, the rate is 0.
        kept = torch.where(alive, momentum, torch.ones_like(momentum)).float()
        for number, (group, parameters) in enumerate(zip(optimizer.param_groups, groups, strict=True)):
            if parameters:
                mine = [gradients[place[id(p)]] for p in parameters]
                rate = (rates[number] * going).float()
                _update_group(optimizer, group, parameters, mine, rate, kept, going)

    return update


def _update_group(
    optimizer: Optimizer,
    group: dict[str, Any],
    parameters: list[Tensor],
    gradients: list[Tensor],
    rate: Tensor,
    momentum: Tensor,
    going: Tensor,
) -> None:
    steps = gradients
    if group["weight_decay"]:
        steps = list(torch._foreach_add(steps, torch._foreach_mul(parameters, going * group["weight_decay"])))
    buffers = [optimizer.state[p].get("momentum_buffer") for p in parameters]
    if buffers[0] is not None:
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, steps)
        # If nothing may change, `momentum` is 1 here, and the look-ahead is multiplied by a rate of 0.
        ahead = isinstance(optimizer, Muon) or group["nesterov"]
        steps = list(torch._foreach_add(steps, torch._foreach_mul(buffers, momentum))) if ahead else buffers
    if group.get("orthogonal"):
        sizes = torch._foreach_norm(parameters)
        factors = [torch.where(going > 0, len(p) ** 0.5 / size, 1.0) for p, size in zip(parameters, sizes, strict=True)]
        torch._foreach_mul_(parameters, factors)
        steps = orthogonalise_all(steps)
    torch._foreach_sub_(parameters, torch._foreach_mul(steps, rate))
