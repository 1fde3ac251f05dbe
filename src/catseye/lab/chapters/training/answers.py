"""Answers for chapter 6: train LeNet-5 on handwritten digits, and watch it.

One run at a time; it is that of `catseye train digits` with the same settings, and the command is shown beside it. The
page opens on a recorded run: recorded.json, its events, written by `python -m docs.recorded_run`.
"""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field

from catseye.data.builtin import load_builtin
from catseye.explanation.kernels import first_filters
from catseye.http.refusals import Refusal
from catseye.lab.chapters.training.watched import Watched
from catseye.lab.networks import Shown, leave
from catseye.lab.questions import Answer, Nothing, Question, QuestionFields
from catseye.manifest import Manifest
from catseye.models import registry
from catseye.settings.merge import load_settings

if TYPE_CHECKING:
    from torch import nn

    from catseye.lab.bench import Workbench

DATA, MODEL = "digits", "lenet5"
_NONE = {"augment.hflip": 0.0, "augment.crop_padding_px": 0}
AUGMENTATIONS: dict[str, dict[str, float]] = {
    "none": _NONE,
    "shifts": {**_NONE, "augment.crop_padding_px": 3},
    "strong": {**_NONE, "augment.crop_padding_px": 3, "augment.rotate_deg": 15.0, "augment.erase": 0.3},
}
RECORDED = Path(__file__).parent / "recorded.json"
RATES = {"sgd": 0.1, "adam": 0.003, "adamw": 0.003}
"""Where each optimizer learns well on digits: what the page starts from."""


class Start(QuestionFields):
    """The values of the page's controls."""

    lr: float = Field(default=RATES["sgd"], gt=0, le=100)
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    augmentation: Literal["none", "shifts", "strong"] = "none"
    epochs: int = Field(default=10, ge=1, le=100)
    seed: int = Field(default=0, ge=0, lt=2**31)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by their names in catseye."""
        mine = {"training.lr": self.lr, "training.optimizer": self.optimizer, "training.epochs": self.epochs}
        return {"model.name": MODEL, "seed": self.seed, **mine, **AUGMENTATIONS[self.augmentation]}

    @property
    def command(self) -> str:
        """The command for the same run in a terminal."""
        sets = {"training.optimizer": self.optimizer, "training.lr": self.lr, **AUGMENTATIONS[self.augmentation]}
        options = " ".join(f"--set {key}={value:g}" if key != "training.optimizer" else f"--set {key}={value}"
                        for key, value in sets.items())  # fmt: skip
        return (
            f"catseye train {DATA} --recipe quick --model {MODEL} --epochs {self.epochs} --seed {self.seed} {options}"
        )


def answer_run(bench: "Workbench", question: Start) -> Watched:
    """Begin a run: the command, then the events of watched.py.

    The run ends when nobody reads the events.

    Raises:
        Refusal: another run is under way.

    """
    with bench.lock:
        other = bench.kept("training")
        if isinstance(other, Watched) and other.stopping:
            other.stop(wait_s=20)
        if isinstance(other, Watched) and other.running:
            raise Refusal(
                409,
                "training",
                "one training runs at a time, and one is running; stop it first, perhaps in another tab",
            )
        watched = Watched(
            DATA,
            question.settings,
            first={"kind": "command", "command": question.command},
            keep=lambda model, manifest: leave(bench, _as_shown(model, manifest)),
        )
        bench.keep("training", watched)
    return watched


def _as_shown(model: "nn.Module", manifest: Manifest) -> Shown:
    """The network trained here, as chapter 4 shows it."""
    says = f"{MODEL}, trained on {DATA} in chapter 6"
    spec, temperature = manifest.preprocessing, manifest.temperature
    return Shown(MODEL, model, spec, manifest.classes, temperature, trained=True, says=says, data=DATA)


def recorded(bench: "Workbench", question: Nothing) -> Answer:
    """A recorded run of this page: its settings, where and when, and its events."""
    content: Answer = json.loads(RECORDED.read_text(encoding="utf-8"))
    return content


def lowest_smoothed(smoothing: float, num_classes: int) -> float:
    """The lowest possible cross-entropy with label smoothing.

    It is the entropy of the smoothed targets.

    >>> round(lowest_smoothed(0.1, 10), 3), lowest_smoothed(0.0, 10)
    (0.5, 0.0)
    """
    rest = smoothing / num_classes
    shares = [1 - smoothing + rest] + [rest] * (num_classes - 1)
    return 0.0 - sum(share * math.log(share) for share in shares if share > 0 and share != 1)


def reasons(bench: "Workbench", question: Start) -> Answer:
    """Why this run's training loss lies above its validation loss.

    The reasons are the settings that act in training only.
    """
    settings = load_settings("quick", values=question.settings)
    smoothing = settings.training.label_smoothing
    return {
        "smoothing": smoothing,
        "lowest_loss": lowest_smoothed(smoothing, len(load_builtin(DATA).classes)),
        "dropout": settings.model.dropout or 0.0,
        "augmentation": question.augmentation,
    }


def stop(bench: "Workbench", question: Nothing) -> Answer:
    """End the run at its next step; its events so far stay on the page."""
    watched = bench.kept("training")
    running = isinstance(watched, Watched) and watched.running
    if isinstance(watched, Watched):
        watched.stop()
    return {"stopped": running}


def begin(bench: "Workbench", question: Nothing) -> Answer:
    """What the page shows before anything was trained."""
    data = load_builtin(DATA)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(Start().seed)  # as training/network.py does: these are the filters that the run begins with
        model = registry.create(MODEL, num_classes=len(data.classes), in_channels=1, input_px=32)
    return {
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "num_images": len(data.labels),
        "classes": list(data.classes),
        "rates": RATES,
        "filters": first_filters(model).weights.round(4).tolist(),
    }


def preview(bench: "Workbench", question: Start) -> Answer:
    """The command for this run."""
    return {"command": question.command}


class Digits(QuestionFields):
    """Images of the data set by their numbers."""

    images: list[int] = Field(max_length=64)


def digits(bench: "Workbench", question: Digits) -> Answer:
    """The pixels of these images, 8 x 8 each."""
    pixels = load_builtin(DATA).pixels
    return {"pixels": [pixels[number % len(pixels), :, :, 0].tolist() for number in question.images]}


QUESTIONS = {
    "begin": Question(Nothing, begin),
    "preview": Question(Start, preview),
    "recorded": Question(Nothing, recorded),
    "reasons": Question(Start, reasons),
    "run": Question(Start, answer_run),
    "stop": Question(Nothing, stop),
    "digits": Question(Digits, digits),
}
