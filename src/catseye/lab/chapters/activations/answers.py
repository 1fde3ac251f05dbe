"""Answers for chapter 3: activation curves, normalisation and pooling.

A channel is normalised, activated and pooled; a curve is evaluated at one place; a grid is pooled.
"""

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from catseye.lab.chapters.activations.maths import ACTIVATIONS, EXAMPLE, NEGATIVE_SLOPE, Values, activation, batch_norm
from catseye.lab.chapters.activations.pooling import EXAMPLE as POOLING_EXAMPLE
from catseye.lab.chapters.activations.pooling import average_pool, global_average_pool, max_pool
from catseye.lab.chapters.convolution.maths import Stepping, convolve, kernel
from catseye.lab.chapters.pixels import maths as pixels
from catseye.lab.questions import Answer, Question, QuestionFields

if TYPE_CHECKING:
    from catseye.lab.bench import Workbench

NUM_POINTS = 161
NUM_BINS = 41
SHOWN_PX = 48
Number = Annotated[float, Field(ge=-999, le=999)]


class Curve(QuestionFields):
    """An activation function, and the `x` to evaluate it at."""

    name: str = Field(default="ReLU", max_length=20)
    x: float = Field(default=1.0, ge=-5, le=5)


def curve(bench: "Workbench", question: Curve) -> Answer:
    """The curve and its derivative from -5 to 5, and both at x.

    Also the nine example values, before and after.
    """
    shown = activation(question.name)
    line = np.linspace(-5, 5, NUM_POINTS)
    here = np.array([question.x])
    return {
        "names": list(ACTIVATIONS),
        "formula": shown.formula,
        "says": shown.says,
        "x": line.tolist(),
        "y": _rounded_values(shown.function(line)),
        "slope": _rounded_values(shown.derivative(line)),
        "value_here": float(shown.function(here)[0]),
        "slope_here": float(shown.derivative(here)[0]),
        "before": EXAMPLE.tolist(),
        "after": _rounded_values(shown.function(EXAMPLE)),
        "table": [
            {"name": name, "value": float(other.function(here)[0]), "slope": float(other.derivative(here)[0])}
            for name, other in ACTIVATIONS.items()
        ],
    }


class Pool(QuestionFields):
    """An editable grid of 4 x 4."""

    grid: list[list[Number]] | None = Field(default=None, min_length=4, max_length=4)
    window: int = Field(default=2, ge=1, le=4)
    stride: int = Field(default=2, ge=1, le=4)


def pool(bench: "Workbench", question: Pool) -> Answer:
    """The results of all three poolings of the grid."""
    grid = POOLING_EXAMPLE if question.grid is None else np.array(question.grid, np.float64)
    largest = max_pool(grid, question.window, question.stride)
    return {
        "grid": grid.tolist(),
        "max": largest.values.tolist(),
        "places": largest.places.tolist(),
        "average": average_pool(grid, question.window, question.stride).tolist(),
        "global": global_average_pool(grid),
    }


class Steps(QuestionFields):
    """An image through convolution, batch normalisation, activation and pooling.

    `lift` is added to the convolution's values and `spread` multiplies them, as earlier layers do when they drift.
    """

    image: str = Field(max_length=64)
    kernel: str = Field(default="vertical edge", max_length=40)
    lift: float = Field(default=0.0, ge=-5, le=5)
    spread: float = Field(default=1.0, ge=0.1, le=5)
    normalise: bool = True
    gamma: float = Field(default=1.0, ge=-3, le=3)
    beta: float = Field(default=0.0, ge=-3, le=3)
    activation: str = Field(default="ReLU", max_length=20)


def steps(bench: "Workbench", question: Steps) -> Answer:
    """The map after every step, and its values before and after normalisation."""
    grey = pixels.luma_of_pixels(bench.images.get(question.image).fitted(SHOWN_PX)) / 255
    convolved = convolve(grey, kernel(question.kernel), Stepping(padding=1)) * question.spread + question.lift
    normal = batch_norm(convolved, question.gamma, question.beta)
    function = activation(question.activation)
    before = normal.values if question.normalise else convolved
    bent = function.function(before)
    shrunk = max_pool(bent, 2, 2).values
    lowest = float(min(convolved.min(), normal.values.min(), -1))
    highest = float(max(convolved.max(), normal.values.max(), 1))
    edges = np.linspace(lowest, highest, NUM_BINS + 1)
    return {
        "maps": {
            "image": _rounded_values(grey * 255, 0),
            "convolved": _rounded_values(convolved),
            "normalised": _rounded_values(before),
            "bent": _rounded_values(bent),
            "shrunk": _rounded_values(shrunk),
        },
        "mean": normal.mean,
        "sd": normal.variance**0.5,
        "mean_after": float(before.mean()),
        "sd_after": float(before.std()),
        "edges": edges.tolist(),
        "counts": np.histogram(convolved, edges)[0].tolist(),
        "counts_after": np.histogram(before, edges)[0].tolist(),
        "alive": _share_with_gradient(function.derivative(before)),
    }


def _share_with_gradient(slopes: Values) -> float:
    """The share of values whose slope is steeper than LeakyReLU's negative slope."""
    return float((np.abs(slopes) > NEGATIVE_SLOPE).mean())


def _rounded_values(values: Values, digits: int = 4) -> Any:
    return np.round(values, digits).tolist()


QUESTIONS = {"curve": Question(Curve, curve), "pool": Question(Pool, pool), "steps": Question(Steps, steps)}
