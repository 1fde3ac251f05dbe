"""Learning rate and momentum as functions of the step alone.

A resumed run therefore needs no state of them.

Leaves: `Schedule`, a function from step number to (learning rate, momentum). Called by `step.py`.
"""

import math
from collections.abc import Callable

from catseye.settings.schema import TrainingSettings

Schedule = Callable[[int], tuple[float, float]]

PCT_START, DIV_FACTOR, FINAL_DIV_FACTOR = 0.3, 25.0, 1e4  # torch.optim.lr_scheduler.OneCycleLR's defaults
MOMENTUM_SWING = 0.05  # the usual 0.85 ... 0.95 about 0.9


def make_schedule(settings: TrainingSettings, steps_per_epoch: int) -> Schedule:
    """The schedule of a run of `settings.epochs` epochs."""
    total = settings.epochs * steps_per_epoch

    def schedule(step: int) -> tuple[float, float]:
        momentum = settings.momentum
        if settings.schedule == "onecycle":
            factor = onecycle(step, total)
            if settings.cycle_momentum:
                momentum += MOMENTUM_SWING * cycled_momentum(step, total)
        elif settings.schedule == "cosine":
            factor = cosine(step, total, round(settings.warmup_epochs * steps_per_epoch))
        elif settings.schedule == "linear":
            factor = linear(step, total, round(settings.warmup_epochs * steps_per_epoch))
        elif settings.schedule == "step":
            factor = settings.step_gamma ** (step // (settings.step_epochs * steps_per_epoch))
        else:
            factor = 1.0
        return settings.lr * factor, momentum

    return schedule


def onecycle(step: int, total: int) -> float:
    """Share of the peak rate: cosine up from 1/25 to 1, then down to 1/250,000.

    The rise takes 30 % of the steps.

    Source: Smith and Topin 2017, Super-Convergence, in the two-phase cosine form of torch's OneCycleLR.
    """
    start, end = 1 / DIV_FACTOR, 1 / (DIV_FACTOR * FINAL_DIV_FACTOR)
    rising, position = _phase(step, total)
    return _between(start, 1.0, position) if rising else _between(1.0, end, position)


def cycled_momentum(step: int, total: int) -> float:
    """From +1 down to -1 while the rate rises, and back up while it falls."""
    rising, position = _phase(step, total)
    return _between(1.0, -1.0, position) if rising else _between(-1.0, 1.0, position)


def cosine(step: int, total: int, warmup: int) -> float:
    """Linear from 1/warmup to 1, then a half cosine to 0 after the last step.

    Source: Loshchilov and Hutter 2016, SGDR, eq. 5 with one period.
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def linear(step: int, total: int, warmup: int) -> float:
    """From 1/warmup up to 1, then down in a straight line to 0 after the last."""
    if step < warmup:
        return (step + 1) / warmup
    return 1 - (step - warmup) / max(1, total - warmup)


def _phase(step: int, total: int) -> tuple[bool, float]:
    """Whether the rate rises, and the position 0 ... 1 within that phase."""
    peak = PCT_START * total - 1
    if step <= peak:
        return True, step / peak if peak > 0 else 1.0
    return False, min(1.0, (step - peak) / (total - 1 - peak)) if total - 1 > peak else 1.0


def _between(start: float, end: float, position: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * position))
