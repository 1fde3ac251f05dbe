"""Answers for chapter 9: heights of the slice, paths of the three optimizers.

All paths begin at the same start.
"""

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from catseye.lab.chapters.descent.maths import ACROSS, ALONG, NUM_IMAGES, OPTIMIZERS, LossSlice
from catseye.lab.one_thread import one_thread
from catseye.lab.questions import Answer, Nothing, Question, QuestionFields

if TYPE_CHECKING:
    from catseye.lab.bench import Workbench

GRID = (65, 37)  # positions along and across


def landscape(bench: "Workbench", question: Nothing) -> Answer:
    """Train the network once and compute its loss at every point of a grid."""
    return bench.once("descent:landscape", lambda: _ground(_slice(bench)))


def _slice(bench: "Workbench") -> LossSlice:
    with one_thread():
        return bench.once("descent:slice", LossSlice)


def _ground(loss_slice: LossSlice) -> Answer:
    with one_thread():
        heights = loss_slice.heights(np.linspace(*ALONG, GRID[0]), np.linspace(*ACROSS, GRID[1]))
    return {
        "along": list(ALONG),
        "across": list(ACROSS),
        "heights": np.round(heights, 4).tolist(),
        "num_parameters": loss_slice.num_parameters,
        "num_images": NUM_IMAGES,
        "first": [loss_slice.distance, 0.0],
        "curvature": loss_slice.across_curvature,
        "optimizers": [{"name": name, "title": title} for name, (title, _) in OPTIMIZERS.items()],
    }


class Descend(QuestionFields):
    """Where the ball starts, and with which learning rate."""

    lr: float = Field(default=0.1, gt=0, le=100)
    along: float = Field(default=5.0, ge=ALONG[0], le=ALONG[1])
    across: float = Field(default=1.0, ge=ACROSS[0], le=ACROSS[1])
    steps: int = Field(default=60, ge=1, le=200)


def answer_paths(bench: "Workbench", question: Descend) -> Answer:
    """The paths of all three optimizers, step by step."""
    loss_slice = _slice(bench)
    with bench.lock, one_thread():  # functional_call puts weights into the one module: one path at a time
        paths = {
            name: loss_slice.descend(name, question.lr, (question.along, question.across), question.steps)
            for name in OPTIMIZERS
        }
    return {
        name: {
            "points": np.round(path.points, 5).tolist(),
            "losses": np.round(path.losses, 6).tolist(),
            "left_at": path.left_at,
        }
        for name, path in paths.items()
    }


QUESTIONS = {"landscape": Question(Nothing, landscape), "paths": Question(Descend, answer_paths)}
