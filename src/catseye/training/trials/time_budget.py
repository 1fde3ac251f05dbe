"""The promised time: how much is left, what the end needs, what still fits.

Enters: when the command began, and the seconds promised. Leaves: `TimeBudget` and `Pace`. Used by all of this room;
tests pass a clock of their own as `now`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

LEAVE_S = 0.6  # a process with torch takes this long to exit after its last line
OVERRUN = 1.3  # the most that a trial may take, as a multiple of its forecast, if there is time
SAFETY = 1.15  # forecasts are multiplied by this
TOLERANCE = 0.01  # of the promised time: everything is to be over this much earlier


@dataclass
class TimeBudget:
    """A promise of `total_s` seconds since `begun_s`; the end will take `ending_s`."""

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
        """Seconds until the end of the run has to begin; below 0 if it is late."""
        return self.total_s * (1 - TOLERANCE) - LEAVE_S - self.ending_s - self.spent_s

    def fits(self, forecast_s: float) -> bool:
        """Whether a trial of that length may begin.

        >>> budget = TimeBudget(begun_s=0.0, total_s=100.0, now=lambda: 40.0, ending_s=10.0)
        >>> budget.fits(30), budget.fits(45)
        (True, False)
        """
        return SAFETY * forecast_s <= self.left_s

    def limit_s(self, forecast_s: float, reserved_s: float = 0.0) -> float:
        """The most that a trial may take: more than its forecast if the time allows it.

        `reserved_s` is left for what follows.

        >>> budget = TimeBudget(begun_s=0.0, total_s=100.0, now=lambda: 40.0, ending_s=8.4)
        >>> budget.limit_s(20), budget.limit_s(20, reserved_s=30)
        (26.0, 20.0)
        """
        return min(OVERRUN * forecast_s, self.left_s - reserved_s)

    def num_fitting(self, fixed_s: float, each_s: float, wanted: int) -> int:
        """How many of `wanted` parts of `each_s` fit after `fixed_s`; 0 if none does."""
        room = self.left_s / SAFETY - fixed_s
        return max(0, min(wanted, int(room / max(each_s, 1e-9))))


@dataclass
class Pace:
    """Seconds per image of a network, measured at one size; they grow with the area."""

    per_megapixel_s: float = 0.0

    def note(self, num_images: int, side_px: int, seconds: float) -> None:
        """Take a measurement; the slowest counts, so that forecasts are not too short."""
        self.per_megapixel_s = max(self.per_megapixel_s, seconds / max(1, num_images) / side_px**2 * 1e6)

    def forecast_s(self, num_images: int, side_px: int) -> float:
        """Seconds that this many images of that side will take."""
        return self.per_megapixel_s * num_images * side_px**2 / 1e6
