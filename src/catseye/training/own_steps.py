"""The caller's augmentation and loss inside a training step: seeded, and held to what they promise.

Enters: callables of `OwnCode`. Leaves: what step.py calls. Called by assemble.py and step.py.
"""

from typing import Any

import torch
from torch import Tensor

from catseye.errors import UsageError
from catseye.training.losses import Criterion
from catseye.training.own_code import OwnAugment, OwnLoss


class OwnCriterion(Criterion):
    """A loss of the caller's behind the face of ours; a batch's mean is the mean of its parts."""

    def __init__(self, loss: OwnLoss) -> None:
        object.__setattr__(self, "loss", loss)
        super().__init__()

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a part.

        Raises:
            UsageError: it is no scalar.

        """
        value: Any = self.loss(logits, targets)  # type: ignore[attr-defined]
        if not isinstance(value, Tensor) or value.ndim:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(f"loss(logits, targets) gives a scalar tensor, the mean over the images; got {got}")
        return value


def seeded_augment(augment: OwnAugment | None, seed: int) -> OwnAugment | None:
    """The caller's augmentation, drawing from `seed`, so that a resumed run draws the same; its answer is checked.

    Raises:
        UsageError: when it is called, and gives another shape, or no floats.

    """
    if augment is None:
        return None

    def own(x: Tensor) -> Tensor:
        torch.manual_seed(seed)
        found: Any = augment(x)
        if not isinstance(found, Tensor) or found.shape != x.shape or not torch.is_floating_point(found):
            got = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise UsageError(f"augment(x) gives floats of the shape that it got, {tuple(x.shape)}; got {got}")
        return found

    return own
