"""Answers for chapter 2: a kernel applied to the example or to an image.

One position of the kernel is written out.
"""

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from catseye.errors import UsageError
from catseye.lab.chapters.convolution import maths as convolution
from catseye.lab.chapters.convolution.maths import Map, Stepping, WindowPosition, window_count
from catseye.lab.chapters.pixels import maths as pixels
from catseye.lab.networks import GIVEN, shown
from catseye.lab.questions import Answer, Question, QuestionFields

if TYPE_CHECKING:
    from catseye.lab.bench import Workbench

EXAMPLE = "example"
MAX_WRITTEN = 11  # per side; larger kernels are not written out
MAX_FILTERS = 64
Row = Annotated[list[Annotated[float, Field(ge=-9999, le=9999)]], Field(min_length=1, max_length=MAX_WRITTEN)]
Table = Annotated[list[Row], Field(min_length=1, max_length=MAX_WRITTEN)]


class Slide(QuestionFields):
    """A kernel for one channel (grey) or for three (R, G, B).

    With `as_network` it is applied to the network's input.
    """

    image: str = Field(default=EXAMPLE, max_length=64)
    side: int = Field(default=48, ge=8, le=128)
    kernel: list[Table] = Field(min_length=1, max_length=3)
    divisor: float = Field(default=1.0, gt=0, le=1e6)
    as_network: bool = False
    stride: int = Field(default=1, ge=1, le=4)
    padding: int = Field(default=0, ge=0, le=5)
    dilation: int = Field(default=1, ge=1, le=4)
    row: int = Field(default=0, ge=0, le=200)
    column: int = Field(default=0, ge=0, le=200)


def slide(bench: "Workbench", question: Slide) -> Answer:
    """The input, the output, the output-size formula, and one position in full.

    The formula has its numbers filled in. A position (row, column) outside the output is moved to its last row or
    column.
    """
    kernel = _kernel(question)
    step = Stepping(question.stride, question.padding, question.dilation)
    values = _values(bench, question, len(kernel))
    height, width = values.shape[1:]
    rows, columns = (window_count(size, kernel.shape[2], step) for size in (height, width))
    row, column = min(question.row, rows - 1), min(question.column, columns - 1)
    positions = [convolution.at(channel, part, row, column, step) for channel, part in zip(values, kernel, strict=True)]
    return {
        "input": _rounded_map(values),
        "output": _rounded_map(convolution.convolve_channels(values, kernel, step)),
        "formula": {
            "height": height,
            "width": width,
            "kernel": kernel.shape[2],
            "reach": step.reach(kernel.shape[2]),
            "rows": rows,
            "columns": columns,
        },
        "weights_sum": float(kernel.sum()),
        "position": _written(positions, step),
    }


def _kernel(question: Slide) -> Map:
    sides = {len(table) for table in question.kernel} | {len(row) for table in question.kernel for row in table}
    if len(sides) != 1 or len(question.kernel) == 2:
        raise UsageError(f"a kernel is one square table, or three of the same side; got sides {sorted(sides)}")
    return np.array(question.kernel, np.float64) / question.divisor


def _values(bench: "Workbench", question: Slide, num_channels: int) -> Map:
    """What the window slides over: (C, H, W), grey for one channel."""
    if question.image == EXAMPLE:
        if num_channels != 1:
            raise UsageError("the example has one channel and this filter three; choose an image")
        return convolution.EXAMPLE[None]
    image = bench.images.get(question.image).fitted(question.side)
    values = image.transpose(2, 0, 1).astype(np.float64) if num_channels == 3 else pixels.luma_of_pixels(image)[None]
    if not question.as_network:
        return np.round(values)
    spec = shown(bench).spec
    mean, std = (np.array(statistic)[:num_channels, None, None] for statistic in (spec.mean, spec.std))
    normalised: Map = (values / 255 - mean) / std
    return normalised


def _written(positions: list[WindowPosition], step: Stepping) -> Answer:
    first = positions[0]
    return {
        "row": first.row,
        "column": first.column,
        "top": first.row * step.stride - step.padding,
        "left": first.column * step.stride - step.padding,
        "values": [_rounded_map(position.values) for position in positions],
        "products": [_rounded_map(position.products) for position in positions],
        "sums": [position.total for position in positions],
        "total": sum(position.total for position in positions),
    }


class Kernels(QuestionFields):
    """The known kernels of this side."""

    side: int = Field(default=3, ge=3, le=7)
    seed: int = Field(default=0, ge=0, le=2**31)


def answer_kernels(bench: "Workbench", question: Kernels) -> Answer:
    """The kernels by name: the table shown, and its divisor.

    The weights are the table divided by the divisor.
    """
    known = convolution.classic_kernels(question.side, question.seed)
    return {
        "kernels": [
            {
                "name": name,
                "divisor": (by := convolution.divisor(name, question.side)),
                "values": _rounded_map(values * by),
            }
            for name, values in known.items()
        ]
    }


class AskFilters(QuestionFields):
    """A question without options."""


def filters(bench: "Workbench", question: AskFilters) -> Answer:
    """The first-layer filters of the network, as numbers and as small images.

    The network's description comes with them.
    """
    from catseye.explanation.kernels import filter_image, first_filters

    network = shown(bench, GIVEN)
    first = first_filters(network.model)
    weights = first.weights[:MAX_FILTERS]
    if weights.shape[1] not in (1, 3) or max(weights.shape[2:]) > MAX_WRITTEN:
        shape = " x ".join(str(size) for size in weights.shape[1:])
        raise UsageError(f"filters of 1 or 3 channels and at most {MAX_WRITTEN} values a side are laid on an image; "
                         f"those of {network.name} are {shape}")  # fmt: skip
    return {
        "network": network.name,
        "trained": network.trained,
        "says": network.says,
        "layer": first.layer,
        "stride": first.stride,
        "padding": first.padding,
        "shape": list(first.weights.shape),
        "filters": [
            {"values": _rounded_map(weight.astype(np.float64)), "image": _to_bytes(filter_image(weight))}
            for weight in weights
        ],
    }


def _to_bytes(image: NDArray[np.float32]) -> Any:
    return np.round(image * 255).astype(int).tolist()


def _rounded_map(values: Map) -> Any:
    return np.round(values, 4).tolist()


QUESTIONS = {
    "slide": Question(Slide, slide),
    "kernels": Question(Kernels, answer_kernels),
    "filters": Question(AskFilters, filters),
}
