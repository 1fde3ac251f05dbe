"""The caller's own network, augmentation, loss, and function after every epoch.

Enters: callables. Leaves: `OwnCode`, which training calls, and the import paths by which a run folder names it: code
is not stored. Called by request.py, session.py and fit.py; own_steps.py calls the augmentation. No torch: a request is
checked before it is loaded.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from catseye.errors import UsageError
from catseye.settings.code_names import import_path

if TYPE_CHECKING:
    from torch import Tensor, nn

OwnAugment = Callable[["Tensor"], "Tensor"]
"""Augments a batch: (N, C, H, W) float in [0, 1] on the training device -> the same shape; draws from torch."""
OwnLoss = Callable[["Tensor", "Tensor"], "Tensor"]
"""Logits (N, K) float and labels (N,) int64, or soft targets (N, K) where images are mixed -> their mean loss."""
OnEpoch = Callable[[Mapping[str, Any], "nn.Module"], object]
"""Gets the row of a finished epoch and the network that was measured; its result is ignored."""


@dataclass(frozen=True)
class OwnCode:
    """The caller's code; None means catseye's own."""

    augment: OwnAugment | None = None
    loss: OwnLoss | None = None
    on_epoch: OnEpoch | None = None
    model: Any = None

    def paths(self) -> dict[str, str]:
        """Import paths of the code that affects the weights; for own_code.json."""
        named = (("model", self.model), ("augment", self.augment), ("loss", self.loss))
        return {name: import_path(code) for name, code in named if code is not None}

    def sentences(self) -> list[str]:
        """What the command prints about it."""
        return [
            f"{name}: your {path}, stored by its import path only; to resume, give {name}= again"
            if name != "model"
            else f"model: your {path}, stored by its import path only; keep it importable where the run is opened"
            for name, path in self.paths().items()
        ]

    def require_same(self, recorded: Mapping[str, str]) -> None:
        """Refuse to resume with other code than at the start.

        Raises:
            UsageError: other code was given, or none.

        """
        mine = self.paths()
        for name in ("augment", "loss"):
            if mine.get(name) != recorded.get(name):
                raise UsageError(
                    f"a resumed run needs the {name} that it began with, {recorded.get(name, 'catseye’s own')}; got "
                    f"{mine.get(name, 'none')}; give {name}= as before"
                )
