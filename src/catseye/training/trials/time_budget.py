"""The promised time: how much is left, what has to be kept for the end, and whether something may still begin.

Enters: when the command began, and the seconds promised. Leaves: answers. Used by everything in this room; `now` is a
clock of one's own in tests.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

LEAVE_S = 0.6  # what a process with torch in it takes to end, after its last line
OVERRUN = 1.3  # a trial may take so much longer than its forecast, where there is time; its schedule then ends sooner
SAFETY = 1.15  # a forecast is taken to be short by so much
TOLERANCE = 0.01  # of the promise: how long before its end everything is to be over


@dataclass
class TimeBudget:
    """A promise of `total_s` seconds since `begun_s`. `ending_s`: what measuring and writing will take."""

    begun_s: float
    total_s: float
    now: Callable[[], float] = field(default=time.monotonic)
    ending_s: float = 0.0

    @property
    def spent_s(self) -> float:
        """Seconds since the command began."""
        return self.now() - self.begun_s

    @property
    def left_s(self) -> float:
        """Seconds that may still be worked before the end of the run has to begin; below 0: it is late."""
        return self.total_s * (1 - TOLERANCE) - LEAVE_S - self.ending_s - self.spent_s

    def fits(self, forecast_s: float) -> bool:
        """Whether something of that length may begin.

        >>> budget = TimeBudget(begun_s=0.0, total_s=100.0, now=lambda: 40.0, ending_s=10.0)
        >>> budget.fits(30), budget.fits(45)
        (True, False)
        """
        return SAFETY * forecast_s <= self.left_s

    def limit_s(self, forecast_s: float, reserved_s: float = 0.0) -> float:
        """How long something may take: longer than its forecast, but not into the time reserved for what follows it.

        >>> budget = TimeBudget(begun_s=0.0, total_s=100.0, now=lambda: 40.0, ending_s=8.4)
        >>> budget.limit_s(20), budget.limit_s(20, reserved_s=30)
        (26.0, 20.0)
        """
        return min(OVERRUN * forecast_s, self.left_s - reserved_s)

    def num_fitting(self, fixed_s: float, each_s: float, wanted: int) -> int:
        """How many of `wanted` equal parts fit after something fixed; 0 where none does."""
        room = self.left_s / SAFETY - fixed_s
        return max(0, min(wanted, int(room / max(each_s, 1e-9))))


@dataclass
class Pace:
    """Seconds per image of a network, measured at one size and told for others: they grow with the area."""

    per_megapixel_s: float = 0.0

    def note(self, num_images: int, side_px: int, seconds: float) -> None:
        """Take a measurement; the slowest counts, so that a forecast is rather long than short."""
        self.per_megapixel_s = max(self.per_megapixel_s, seconds / max(1, num_images) / side_px**2 * 1e6)

    def forecast_s(self, num_images: int, side_px: int) -> float:
        """What so many images of that side will take."""
        return self.per_megapixel_s * num_images * side_px**2 / 1e6
