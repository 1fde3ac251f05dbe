"""What a caller brings as code: a network, an augmentation, a loss, a function that hears of every epoch.

Enters: callables. Leaves: `OwnCode`, which training calls, and the import paths by which a run folder names them: code
itself is not stored. Called by request.py, session.py, assemble.py and fit.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from catseye.errors import UsageError
from catseye.models.custom import import_path
from catseye.training.losses import Criterion

OwnAugment = Callable[[Tensor], Tensor]
"""Augments a batch: (N, C, H, W) float in [0, 1] on the training device -> the same shape; it draws from torch."""
OwnLoss = Callable[[Tensor, Tensor], Tensor]
"""Logits (N, K) float and labels (N,) int64, or soft targets (N, K) where images are mixed -> their mean loss."""
OnEpoch = Callable[[Mapping[str, Any], nn.Module], object]
"""Hears the row of a finished epoch and the network that was measured; what it returns is not looked at."""


@dataclass(frozen=True)
class OwnCode:
    """The caller's code; None where catseye's own is used."""

    augment: OwnAugment | None = None
    loss: OwnLoss | None = None
    on_epoch: OnEpoch | None = None
    model: Any = None

    def paths(self) -> dict[str, str]:
        """Import paths of what decides the weights, by option; for own_code.json."""
        named = (("model", self.model), ("augment", self.augment), ("loss", self.loss))
        return {name: import_path(code) for name, code in named if code is not None}

    def sentences(self) -> list[str]:
        """What is said of it."""
        return [
            f"{name}: your {path}, stored by its import path only; to resume, give {name}= again"
            if name != "model"
            else f"model: your {path}, stored by its import path only; keep it importable where the run is opened"
            for name, path in self.paths().items()
        ]

    def require_same(self, recorded: Mapping[str, str]) -> None:
        """A run goes on with the code that it began with.

        Raises:
            UsageError: another one was given, or none.

        """
        mine = self.paths()
        for name in ("augment", "loss"):
            if mine.get(name) != recorded.get(name):
                raise UsageError(
                    f"a resumed run needs the {name} that it began with, {recorded.get(name, 'catseye’s own')}; got "
                    f"{mine.get(name, 'none')}; give {name}= as before"
                )


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
