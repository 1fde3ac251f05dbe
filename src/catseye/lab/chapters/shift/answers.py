"""Answers for chapter 10: three trained networks on shifted digits.

Their accuracy at every shift, and their answers to one digit.
"""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field

from catseye.lab.chapters.shift.maths import EPOCHS, FURTHEST_PX, GROUND_PX, Contest, place_digits
from catseye.lab.networks import GIVEN, shown
from catseye.lab.one_thread import one_thread
from catseye.lab.questions import Answer, Nothing, Question, QuestionFields
from catseye.preprocess import Pixels, normalise, preprocess

if TYPE_CHECKING:
    from catseye.lab.bench import Workbench

NUM_DIGITS = 20
Shift = Field(default=0, ge=-FURTHEST_PX, le=FURTHEST_PX)
FURTHEST_SHARE = 0.25  # of the width: how far the user's image is moved at most


def _contest(bench: "Workbench") -> Contest:
    with one_thread():
        return bench.once("shift:contest", Contest)


def contest(bench: "Workbench", question: Nothing) -> Answer:
    """Train the three networks once, and measure them at every horizontal shift."""
    measured = _contest(bench)
    return {
        "furthest_px": FURTHEST_PX,
        "ground_px": GROUND_PX,
        "epochs": EPOCHS,
        "num_train": measured.num_train,
        "num_test": len(measured.test_labels),
        "contestants": [
            {"name": each.name, "title": each.title, "num_parameters": each.num_parameters, "says": each.says}
            for each in measured.contestants
        ],
        "digits": [(digit * 255).round().int().tolist() for digit in measured.test[:NUM_DIGITS]],
        "labels": measured.test_labels[:NUM_DIGITS].tolist(),
        "accuracies": bench.once("shift:accuracies", partial(_accuracies, measured)),
    }


def _accuracies(contest: Contest) -> dict[str, list[float]]:
    with one_thread():
        return contest.accuracies()


class ShiftDigit(QuestionFields):
    """A test digit by its number, moved down and right (negative: up and left)."""

    digit: int = Field(default=0, ge=0, lt=NUM_DIGITS)
    down: int = Shift
    right: int = Shift


def answer_shift(bench: "Workbench", question: ShiftDigit) -> Answer:
    """The image that the networks get, and the answer of each."""
    contest = _contest(bench)
    image = place_digits(contest.test[question.digit : question.digit + 1], question.down, question.right)
    shares = contest.shares(question.digit, question.down, question.right)
    return {
        "pixels": (image[0, 0] * 255).round().int().tolist(),
        "label": int(contest.test_labels[question.digit]),
        "shares": {name: [round(float(share), 5) for share in values] for name, values in shares.items()},
    }


class ShiftImage(QuestionFields):
    """An image of the bench, moved to the right by a share of its width.

    The gap is filled with the image's edge.
    """

    image: str = Field(max_length=64)
    right: float = Field(default=0.0, ge=-FURTHEST_SHARE, le=FURTHEST_SHARE)


def answer_given(bench: "Workbench", question: ShiftImage) -> Answer:
    """The given network's answers to the image and to the moved image.

    The given network is the one that the lab was started with.
    """
    with bench.lock:
        network = shown(bench, GIVEN)
        pixels = preprocess(bench.images.get(question.image).pixels, network.spec)
        by = round(question.right * network.spec.width_px)
        batch = torch.from_numpy(normalise(np.stack([pixels, move_right(pixels, by)]), network.spec))
        with torch.no_grad():
            shares = (network.model(batch).float() / network.temperature).softmax(1)
    best = [int(row.argmax()) for row in shares]
    return {
        "says": network.says,
        "trained": network.trained,
        "moved_px": by,
        "width_px": network.spec.width_px,
        "before": {"name": network.classes[best[0]], "share": float(shares[0, best[0]])},
        "after": {"name": network.classes[best[1]], "share": float(shares[1, best[1]])},
        "kept": float(shares[1, best[0]]),
    }


def move_right(pixels: Pixels, by: int) -> Pixels:
    """The image moved to the right by `by` pixels, or to the left if negative.

    The gap is filled with the image's edge.

    Shape: (H, W, C) -> the same.

    >>> move_right(np.arange(4, dtype=np.uint8).reshape(1, 4, 1), 1).ravel().tolist()
    [0, 0, 1, 2]
    """
    columns = np.clip(np.arange(pixels.shape[1]) - by, 0, pixels.shape[1] - 1)
    return np.ascontiguousarray(pixels[:, columns])


QUESTIONS = {
    "contest": Question(Nothing, contest),
    "digit": Question(ShiftDigit, answer_shift),
    "given": Question(ShiftImage, answer_given),
}
