"""An exponential moving average of the weights, often better than the last ones."""

import copy

import torch
from torch import Tensor, nn


class EMA:
    """Keeps average <- decay · average + (1 - decay) · weights.

    Batch-norm statistics are included.

    Early on the decay is (1 + step) / (10 + step), so that the first weights fade quickly.
    Source: Polyak and Juditsky 1992; the warm-up as in TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Call after optimizer step number `step` (0, 1, ...)."""
        decay = self.decay_at(step)
        mine, theirs = self.model.state_dict(), model.state_dict()
        floats = [name for name, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_([mine[name] for name in floats], [theirs[name] for name in floats], 1 - decay)
        for name in mine.keys() - set(floats):
            mine[name].copy_(theirs[name])

    def decay_at(self, step: int) -> float:
        """How much of the old average step number `step` keeps."""
        return min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update_by(self, model: nn.Module, decay: Tensor, alive: Tensor) -> None:
        """The same with the decay in a tensor; nothing changes where `alive` is false."""
        mine, theirs = self.model.state_dict(), model.state_dict()
        share = torch.where(alive, 1 - decay, torch.zeros_like(decay))
        for name, value in mine.items():
            if value.is_floating_point():
                value.lerp_(theirs[name], share.to(value.dtype))
            else:
                value.copy_(torch.where(alive, theirs[name], value))

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights."""
        return self.model.state_dict()
