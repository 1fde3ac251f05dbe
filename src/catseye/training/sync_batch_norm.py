"""Batch normalisation over the images of all processes.

Enters: a network with plain batch norms. Leaves: the same network, whose batch norms share their statistics.
Called by network.py for `training.sync_batch_norm`. torch's own SyncBatchNorm runs only on GPUs and so
cannot be compared with one process on a CPU; this one runs on both.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn

from catseye.errors import UsageError


class _Sum(torch.autograd.Function):
    """The sum over all processes, with its gradient.

    The gradient of a sum that all of them use is the sum of their gradients.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d with mean and variance of the images of all processes.

    Shape: (N, C, H, W) -> the same; N may differ between processes.
    Source: Ioffe and Szegedy 2015, algorithm 1, over the whole batch. The variance is summed about the common mean,
    in float32 or wider, since E[x²] - E[x]² loses digits.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Shape: see the class."""
        if not self.training:
            return super().forward(x)
        wide = x if x.dtype == torch.float64 else x.float()
        count = torch.full((1,), x.numel() / x.shape[1], dtype=wide.dtype, device=x.device)
        sums = _sum(torch.cat([wide.sum((0, 2, 3)), count]))
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        centred = wide - mean.view(1, -1, 1, 1)
        variance = _sum(centred.square().sum((0, 2, 3))) / count
        y = centred * (variance + self.eps).rsqrt().view(1, -1, 1, 1)
        if self.affine:
            y = y * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        return y.to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, unbiased: Tensor) -> None:
        """Update the running statistics with these."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        pace = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, pace)
        self.running_var.lerp_(unbiased, pace)


def _sum(value: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(value)
    return total


def synchronise(model: nn.Module) -> None:
    """Let the batch norms of a network share their statistics.

    Frozen ones, which do not change, are left out.

    Raises:
        UsageError: the network has none, or has batch norms of another kind.

    """
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        if type(norm) is not nn.BatchNorm2d:
            raise UsageError(
                f"training.sync_batch_norm needs nn.BatchNorm2d; this network has {type(norm).__name__}; leave it out"
            )
        if any(p.requires_grad for p in norm.parameters()):
            norm.__class__ = SynchronisedBatchNorm2d  # in place: the optimizer keeps its parameters
    if not norms:
        raise UsageError("training.sync_batch_norm would do nothing: this network has no batch norm; leave it out")
