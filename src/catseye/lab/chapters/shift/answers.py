"""What chapter 10 asks: the three networks trained, their accuracy at every shift, their answers to one digit."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field

from catseye.lab.chapters.shift.maths import EPOCHS, FURTHEST_PX, GROUND_PX, Contest, place_digits
from catseye.lab.networks import GIVEN, shown
from catseye.lab.one_thread import one_thread
from catseye.lab.questions import Answer, Asked, Nothing, Question
from catseye.preprocess import Pixels, normalise, preprocess

if TYPE_CHECKING:
    from catseye.lab.bench import Workbench

NUM_DIGITS = 20
Shift = Field(default=0, ge=-FURTHEST_PX, le=FURTHEST_PX)
FURTHEST_SHARE = 0.25  # of a side: how far one's own image is moved


def _contest(bench: "Workbench") -> Contest:
    with one_thread():
        return bench.once("shift:contest", Contest)


def contest(bench: "Workbench", asked: Nothing) -> Answer:
    """Train the three where that was not done yet, and measure them at every shift to the side."""
    found = _contest(bench)
    return {
        "furthest_px": FURTHEST_PX,
        "ground_px": GROUND_PX,
        "epochs": EPOCHS,
        "num_train": found.num_train,
        "num_test": len(found.test_labels),
        "contestants": [
            {"name": one.name, "title": one.title, "num_parameters": one.num_parameters, "says": one.says}
            for one in found.contestants
        ],
        "digits": [(one * 255).round().int().tolist() for one in found.test[:NUM_DIGITS]],
        "labels": found.test_labels[:NUM_DIGITS].tolist(),
        "accuracies": bench.once("shift:accuracies", partial(_accuracies, found)),
    }


def _accuracies(found: Contest) -> dict[str, list[float]]:
    with one_thread():
        return found.accuracies()


class ShiftDigit(Asked):
    """A test digit by its number, moved down and to the right (negative: up and left)."""

    digit: int = Field(default=0, ge=0, lt=NUM_DIGITS)
    down: int = Shift
    right: int = Shift


def answer_shift(bench: "Workbench", asked: ShiftDigit) -> Answer:
    """The image that the networks get, and what each makes of it."""
    found = _contest(bench)
    image = place_digits(found.test[asked.digit : asked.digit + 1], asked.down, asked.right)
    shares = found.shares(asked.digit, asked.down, asked.right)
    return {
        "pixels": (image[0, 0] * 255).round().int().tolist(),
        "label": int(found.test_labels[asked.digit]),
        "shares": {name: [round(float(one), 5) for one in values] for name, values in shares.items()},
    }


class ShiftImage(Asked):
    """An image of the bench, moved to the right by a share of its width; its edge fills what is left free."""

    image: str = Field(max_length=64)
    right: float = Field(default=0.0, ge=-FURTHEST_SHARE, le=FURTHEST_SHARE)


def answer_given(bench: "Workbench", asked: ShiftImage) -> Answer:
    """The network that the lab was started with, asked about the image as it is and moved."""
    with bench.lock:
        network = shown(bench, GIVEN)
        pixels = preprocess(bench.images.get(asked.image).pixels, network.spec)
        by = round(asked.right * network.spec.width_px)
        batch = torch.from_numpy(normalise(np.stack([pixels, move_right(pixels, by)]), network.spec))
        with torch.no_grad():
            shares = (network.model(batch).float() / network.temperature).softmax(1)
    best = [int(one.argmax()) for one in shares]
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
    """The image moved to the right by so many pixels, to the left where negative; its edge fills what is left free.

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
