"""Muon: orthogonalised momentum for kernels and matrices, SGD for the rest.

Enters: parameter groups; those with `orthogonal=True` hold kernels and matrices. Leaves: an optimizer that
`optimizers.py` hands to the training step. torch.optim.Muon takes matrices only; convolutions need this one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from catseye.machine.devices import choose_precision

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration; they trade exactness (singular values end between 0.7 and 1.2) for speed."""

NUM_ITERATIONS = 3


class Muon(Optimizer):
    """Nesterov momentum; a kernel's step is its nearest orthogonal matrix.

    The kernel keeps a fixed norm.

    A kernel (O, I, h, w) is treated as the matrix (O, I·h·w). Before each step it is scaled to the norm sqrt(O), so
    its learning rate is relative to the kernel itself and weight decay would do nothing.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the fixed norm and three
    instead of five iterations as in the CIFAR-10 speed-run of the same author (arXiv 2404.00498 and its repository).
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "orthogonal": False, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            gradients = [p.grad for p in parameters if p.grad is not None]
            if group["weight_decay"]:
                gradients = torch._foreach_add(gradients, parameters, alpha=group["weight_decay"])  # type: ignore[assignment]
            buffers = [self._buffer(p) for p in parameters]
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, gradients)
            steps = torch._foreach_add(gradients, buffers, alpha=group["momentum"])
            if group["orthogonal"]:
                for p in parameters:
                    p.mul_(len(p) ** 0.5 / p.norm())
                steps = tuple(orthogonalise_all(list(steps)))
            torch._foreach_add_(parameters, steps, alpha=-group["lr"])

    def _buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def orthogonalise_all(kernels: list[Tensor]) -> list[Tensor]:
    """Each kernel, treated as a matrix, orthogonalised.

    On a GPU, kernels of the same shape form a batch.

    There, launching the products one by one takes most of the time. On a CPU they are computed one by one, so that
    results stay the same.

    Shape: (O, I, h, w) each -> the same.
    """
    if kernels[0].device.type == "cpu":
        return [orthogonalise(kernel.flatten(1)).view_as(kernel) for kernel in kernels]
    return orthogonalise_batched(kernels)


def orthogonalise_batched(kernels: list[Tensor]) -> list[Tensor]:
    """The same, with one batch of matrices for each shape.

    Shape: (O, I, h, w) each -> the same.
    """
    places: dict[tuple[int, int], list[int]] = {}
    for number, kernel in enumerate(kernels):
        places.setdefault((len(kernel), kernel[0].numel()), []).append(number)
    steps = list(kernels)
    for numbers in places.values():
        together = orthogonalise(torch.stack([kernels[number].flatten(1) for number in numbers]))
        for number, matrix in zip(numbers, together, strict=True):
            steps[number] = matrix.view_as(kernels[number])
    return steps


def orthogonalise(matrix: Tensor) -> Tensor:
    """The matrix with all singular values close to 1, and its singular vectors.

    Computed in bf16 if the device supports it natively, as published, else in fp32.

    Shape: (R, C) float32 -> (R, C) float32; or a batch of them, (B, R, C).
    """
    a, b, c = NEWTON_SCHULZ
    x = matrix.to(choose_precision("fastest", matrix.device) or matrix.dtype)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    x = x.mT if tall else x
    return torch.as_tensor(x, dtype=matrix.dtype)
