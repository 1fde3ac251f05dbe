"""Answers for chapter 1: values under a magnifier, the cost of a first layer."""

from typing import TYPE_CHECKING

from pydantic import Field

from catseye.lab.chapters.pixels import maths as pixels
from catseye.lab.questions import Answer, Nothing, Question, QuestionFields

if TYPE_CHECKING:
    from catseye.lab.bench import Workbench


class AskLook(QuestionFields):
    """A window of `side` px whose corner lies at (`top`, `left`) of the image."""

    image: str = Field(max_length=64)
    top: int = Field(default=0, ge=0, le=2000)
    left: int = Field(default=0, ge=0, le=2000)
    side: int = Field(default=8, ge=2, le=16)


def look(bench: "Workbench", question: AskLook) -> Answer:
    """The window's values, channel by channel, and facts about the whole image."""
    image = bench.images.get(question.image)
    part, top, left = pixels.window(image.pixels, question.top, question.left, question.side)
    shape = pixels.to_channels_first(image.pixels).shape
    moved = pixels.shift(image.pixels, 1, 0)
    return {
        "top": top,
        "left": left,
        "channels": pixels.to_channels_first(part).tolist(),
        "shape": list(shape),
        "num_values": int(image.pixels.size),
        "lowest": int(image.pixels.min()),
        "highest": int(image.pixels.max()),
        "means": [round(float(value), 1) for value in image.pixels.mean((0, 1))],
        "changed_by_a_shift": pixels.share_changed(image.pixels, moved),
    }


class Compare(QuestionFields):
    """An image's shape, and the sizes of a dense layer and a convolution on it."""

    channels: int = Field(default=3, ge=1, le=3)
    side: int = Field(default=224, ge=8, le=1024)
    units: int = Field(default=1000, ge=1, le=4096)
    filters: int = Field(default=64, ge=1, le=512)
    kernel: int = Field(default=3, ge=1, le=11)


def answer_costs(bench: "Workbench", question: Compare) -> Answer:
    """Both layers' parameters, and the ratio of their numbers."""
    shape = (question.channels, question.side, question.side)
    dense = pixels.dense_cost(shape, question.units)
    convolution = pixels.convolution_cost(shape, question.filters, question.kernel)
    return {
        "num_values": question.channels * question.side * question.side,
        "dense": {"weights": dense.num_weights, "biases": dense.num_biases, "parameters": dense.num_parameters},
        "convolution": {
            "weights": convolution.num_weights,
            "biases": convolution.num_biases,
            "parameters": convolution.num_parameters,
            "outputs": convolution.num_outputs,
        },
        "times": dense.num_parameters / convolution.num_parameters,
        "megabytes": dense.num_parameters * 4 / 1e6,
    }


def example(bench: "Workbench", question: Nothing) -> Answer:
    """The small image whose values can be read."""
    return {"values": pixels.EXAMPLE.tolist(), "num_values": int(pixels.EXAMPLE.size)}


QUESTIONS = {
    "look": Question(AskLook, look),
    "compare": Question(Compare, answer_costs),
    "example": Question(Nothing, example),
}
