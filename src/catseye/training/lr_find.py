"""`catseye lr-find`: the learning rate that this network on these images wants, from one short run.

Enters: DATA and settings. Leaves: rates, smoothed losses, a suggestion and an image. Called by cli.

Source: Smith 2015, arXiv 1506.01186, section 3.3: train while the rate grows exponentially and look where the
loss falls fastest. The suggestion is the rate of the steepest fall, before the smallest loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console

from catseye.errors import TrainingError
from catseye.evaluation.figures import save_figure
from catseye.machine.devices import choose_device
from catseye.models import registry
from catseye.settings.merge import load_settings
from catseye.training.assemble import assemble, find_weights, fit_to_data, prepare_data
from catseye.training.step import train_step

LOWEST, HIGHEST = 1e-6, 10.0
SMOOTHING = 0.9
STOP_AT = 4.0  # times the smallest loss so far


@dataclass(frozen=True)
class LrCurve:
    """Rates (S,) and the smoothed loss (S,) at each; `suggestion` is a peak rate for `training.lr`."""

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    suggestion: float


def find_lr(
    data: str | Path,
    *,
    recipe: str = "quick",
    model: str | None = None,
    overrides: Sequence[str] = (),
    num_steps: int = 100,
    seed: int | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    data_dir: str | Path | None = None,
    console: Console | None = None,
) -> LrCurve:
    """Train for at most `num_steps` steps while the rate grows from 1e-6 to 10; the weights are thrown away.

    Writes lr-find.png into `out` where given.

    Raises:
        UsageError: a setting is wrong. DataError: the images cannot be used.
        TrainingError: the loss was never finite.

    """
    console = console or Console(stderr=True)
    values: dict[str, object] = {"training.schedule": "constant"}
    if model is not None:
        values["model.name"] = model
    if seed is not None:
        values["seed"] = seed
    chosen = load_settings(recipe, overrides=overrides, values=values)
    registry.entry(chosen.model.name)
    where = choose_device(device)
    published = find_weights(chosen, console)
    expected = published.expected if published else None
    prepared = prepare_data(str(data), chosen, where, Path(data_dir) if data_dir else None, console, expected)
    chosen = fit_to_data(chosen, prepared, console)
    built = assemble(chosen, prepared, where, published, console)
    trainer = built.trainer
    trainer.schedule = lambda step: (_rate(step, num_steps), chosen.training.momentum)
    trainer.model.train()
    losses: list[float] = []
    epoch = 0
    average, smallest = 0.0, float("inf")
    while True:
        for batch in built.loaders["train"].epoch(epoch):
            if len(losses) == num_steps:
                return _finish(losses, num_steps, out)
            try:
                loss = float(train_step(trainer, batch).loss)
            except TrainingError:
                loss = float("inf")
            average = SMOOTHING * average + (1 - SMOOTHING) * loss
            smooth = average / (1 - SMOOTHING ** (len(losses) + 1))
            smallest = min(smallest, smooth)
            if not np.isfinite(smooth) or smooth > STOP_AT * smallest:
                return _finish(losses, num_steps, out)
            losses.append(smooth)
        epoch += 1


def steepest(rates: NDArray[np.float64], losses: NDArray[np.float64]) -> float:
    """The rate at which the loss falls fastest per decade, before its smallest value.

    Shape: (S,), (S,) with S > 2.
    """
    end = max(3, int(losses.argmin()) + 1)
    slope = np.gradient(losses[:end], np.log10(rates[:end]))
    return float(rates[int(slope.argmin())])


def _rate(step: int, num_steps: int) -> float:
    return float(LOWEST * (HIGHEST / LOWEST) ** (step / max(1, num_steps - 1)))


def _finish(losses: list[float], num_steps: int, out: str | Path | None) -> LrCurve:
    if len(losses) < 3:
        raise TrainingError("the loss was not finite from the start; look at the images with `catseye train`")
    rates = np.array([_rate(step, num_steps) for step in range(len(losses))])
    curve = LrCurve(rates, np.array(losses), steepest(rates, np.array(losses)))
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        save_figure(lr_figure(curve), Path(out) / "lr-find.png")
    return curve


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
