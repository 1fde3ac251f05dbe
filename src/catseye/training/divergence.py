"""Detects a diverging loss early, with an error that says what to change.

Enters: the loss of every step. Leaves: nothing, or `Diverged`. Called by `fit.py`.
"""

import math

import torch
from torch import Tensor

from catseye.errors import Diverged

TOO_HIGH = 10.0  # times the initial loss
WINDOW = 20  # steps averaged; reading a loss makes a GPU wait


class LossWatch:
    """Compares the mean loss of the last steps with the first loss.

    The first loss counts as at least that of guessing among K classes.

    A resumed run needs no earlier state: the loss of guessing is its start.
    """

    def __init__(self, num_classes: int) -> None:
        self.start = math.log(max(2, num_classes))
        self._losses: list[Tensor] = []
        self._first = True

    def note(self, loss: Tensor, step: int, lr: float) -> None:
        """Record the loss of a step; compare every twenty steps.

        Raises:
            Diverged: the mean is above ten times the start.

        """
        if self._first:
            self.start, self._first = max(self.start, float(loss)), False
        self._losses.append(loss)
        if len(self._losses) == WINDOW:
            self.look(step, lr)

    def look(self, step: int, lr: float) -> None:
        """Compare now, as at the end of an epoch.

        Raises:
            Diverged: as in `note`.

        """
        if not self._losses:
            return
        mean = float(torch.stack(self._losses).mean())
        self._losses.clear()
        if not mean <= TOO_HIGH * self.start:
            raise Diverged(
                f"the loss rose to {mean:,.3g} by step {step}, more than {TOO_HIGH:.0f} times its start of "
                f"{self.start:.3g}: the learning rate is too high; try a smaller training.lr "
                f"(--set training.lr={lr / 10:.2g}), training.clip_norm=1, or --pretrained"
            )
