"""The caller's augmentation inside a training step: seeded, its result checked.

Enters: a callable of `OwnCode`. Leaves: what step.py calls. Called by step.py.
"""

from typing import Any

import torch
from torch import Tensor

from catseye.errors import UsageError
from catseye.training.own_code import OwnAugment


def seeded_augment(augment: OwnAugment | None, seed: int) -> OwnAugment | None:
    """The caller's augmentation, seeded; its result is checked.

    A resumed run draws the same numbers.

    Raises:
        UsageError: when called, if it returns another shape, or no floats.

    """
    if augment is None:
        return None

    def own(x: Tensor) -> Tensor:
        torch.manual_seed(seed)
        augmented: Any = augment(x)
        if not isinstance(augmented, Tensor) or augmented.shape != x.shape or not torch.is_floating_point(augmented):
            got = (
                f"{augmented.dtype} {tuple(augmented.shape)}"
                if isinstance(augmented, Tensor)
                else type(augmented).__name__
            )
            raise UsageError(f"augment(x) gives floats of the shape that it got, {tuple(x.shape)}; got {got}")
        return augmented

    return own
