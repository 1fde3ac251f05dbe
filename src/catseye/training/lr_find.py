"""`catseye lr-find`: a learning rate for these images, from one short run.

Enters: DATA and settings. Leaves: rates, smoothed losses, a suggestion, and their figure. Called by cli.

Source: Smith 2015, arXiv 1506.01186, section 3.3: train while the rate grows exponentially and look where the
loss falls fastest. The suggestion is the rate of the steepest fall, before the smallest loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from catseye.data.loaders import Batch, Loader
from catseye.data.sources import Images, with_labels
from catseye.errors import TrainingError
from catseye.evaluation.figures import save_figure
from catseye.files import StrPath, make_folder
from catseye.notebook import Html, html_bytes
from catseye.training.assemble import assemble
from catseye.training.request import LrFindOptions, make_request, requested_settings
from catseye.training.session import find_workplace, open_session
from catseye.training.step import train_step

LOWEST, HIGHEST = 1e-6, 10.0
SMOOTHING = 0.9
STOP_AT = 4.0  # times the smallest loss so far


@dataclass(frozen=True)
class LrCurve:
    """Rates (S,) and the smoothed loss (S,) at each.

    `suggestion` is a peak rate for `training.lr`.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    suggestion: float

    def plot(self) -> Figure:
        """Loss over rate, with the suggestion marked, as a matplotlib figure."""
        return lr_figure(self)

    def _repr_html_(self) -> str:
        from catseye.explanation.figures import figure_png

        return Html(f"<p>training.lr={self.suggestion:.2g}</p>{html_bytes(figure_png(self.plot()), 'lr-find')}")


def lr_find(
    data: Images, labels: Any = None, *, steps: int = 100, out: StrPath | None = None, **options: Unpack[LrFindOptions]
) -> LrCurve:
    """Train for at most `steps` steps while the rate grows from 1e-6 to 10.

    The weights are thrown away.

    `data`, `labels` and the options are those of `catseye.train`: `recipe`, `model`, `set`, `seed`, `device`,
    `data_dir`, `console`. With `out`, lr-find.png goes into that folder.

    Raises:
        UsageError: a setting is wrong. DataError: the images cannot be used.
        TrainingError: the loss was never finite.

    """
    request = make_request(with_labels(data, labels), options, LrFindOptions)
    if request.recipe is None:
        request = replace(request, recipe="quick")  # the rate matters little for a head on frozen features
    settings = requested_settings(request, {"training.schedule": "constant"})
    built = assemble(open_session(request, settings, find_workplace(request, alone=True)))
    state = built.state
    state.schedule = lambda step: (_rate(step, steps), settings.training.momentum)
    state.model.train()
    losses: list[float] = []
    average, smallest = 0.0, float("inf")
    for batch in _endless(built.loaders["train"]):
        if len(losses) == steps:
            break
        try:
            loss = float(train_step(state, batch).loss)
        except TrainingError:
            loss = float("inf")
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smooth = average / (1 - SMOOTHING ** (len(losses) + 1))
        smallest = min(smallest, smooth)
        if not np.isfinite(smooth) or smooth > STOP_AT * smallest:
            break
        losses.append(smooth)
    if len(losses) < 3:
        raise TrainingError("the loss was not finite from the start; check the images with `catseye check`")
    rates = np.array([_rate(step, steps) for step in range(len(losses))])
    curve = LrCurve(rates, np.array(losses), steepest(rates, np.array(losses)))
    if out is not None:
        make_folder(Path(out))
        save_figure(curve.plot(), Path(out) / "lr-find.png")
    return curve


def _endless(loader: Loader) -> Iterator[Batch]:
    for epoch in count():
        yield from loader.epoch(epoch)


def steepest(rates: NDArray[np.float64], losses: NDArray[np.float64]) -> float:
    """The rate at which the loss falls fastest per decade, before its smallest value.

    Shape: (S,), (S,) with S > 2.
    """
    end = max(3, int(losses.argmin()) + 1)
    slope = np.gradient(losses[:end], np.log10(rates[:end]))
    return float(rates[int(slope.argmin())])


def _rate(step: int, steps: int) -> float:
    return float(LOWEST * (HIGHEST / LOWEST) ** (step / max(1, steps - 1)))


def lr_figure(curve: LrCurve) -> Figure:
    """Loss over rate, with the suggestion marked."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.rates, curve.losses)
    axes.axvline(curve.suggestion, color="tab:red", linestyle="--", label=f"suggestion {curve.suggestion:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed loss")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
