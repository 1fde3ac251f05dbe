"""history.jsonl, one line per finished epoch; trackers get the same rows.

Called by `fit.py`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from catseye.data.loaders import Loader
from catseye.evaluation.metrics import confusion_matrix, cross_entropy, macro_f1
from catseye.evaluation.predict import Outputs
from catseye.files import write_atomically
from catseye.runs import Run
from catseye.training.checkpoints import TrainingPosition
from catseye.training.step import TrainState
from catseye.training.tracking import Tracker


@dataclass
class History:
    """history.jsonl and the trackers. Rows of epochs that will run again are dropped."""

    run: Run
    finished_epochs: int
    trackers: Sequence[Tracker] = ()
    rows: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = self.run.history[: self.finished_epochs]

    def append(self, row: dict[str, Any]) -> None:
        """Add the row of a finished epoch; NaN and infinity, not in JSON, become null."""
        row = {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in row.items()}
        self.rows.append(row)
        lines = [json.dumps(each) for each in self.rows]
        write_atomically(self.run.path / "history.jsonl", "\n".join(lines) + "\n")
        for tracker in self.trackers:
            tracker.add_row(row)


def history_row(
    position: TrainingPosition, state: TrainState, loaders: Mapping[str, Loader], side: str, outputs: Outputs
) -> dict[str, Any]:
    """The results of one epoch; `side` is the split measured after it."""
    row = {
        "epoch": position.epoch + 1,
        "train_loss": position.loss_sum / position.num_images,
        "train_accuracy": position.num_correct / position.num_images,
        f"{side}_loss": cross_entropy(outputs.logits, outputs.labels),
        f"{side}_accuracy": float((outputs.logits.argmax(1) == outputs.labels).mean()),
        "lr": state.schedule(state.step - 1)[0],
        "seconds": round(position.seconds_s, 3),
        "images_per_s": round(position.num_images / position.seconds_s, 1),
    }
    # Only if it happened, so that rows of other runs do not change.
    if state.num_parts > 1:
        row["num_parts"] = state.num_parts
    if num_bad := num_unreadable(loaders):
        row["unreadable"] = num_bad
    return row


def num_unreadable(loaders: Mapping[str, Loader]) -> int:
    """Images that turned out to be unreadable during the run."""
    return len({number for loader in loaders.values() for number in loader.bad})


def score_of(best_by: str, outputs: Outputs) -> float:
    """Larger is better; NaN if any answer is not finite (NaN has an argmax too)."""
    if not np.isfinite(outputs.logits).all():
        return math.nan
    if best_by == "loss":
        return -cross_entropy(outputs.logits, outputs.labels)
    predicted = outputs.logits.argmax(1)
    if best_by == "macro_f1":
        return macro_f1(confusion_matrix(outputs.labels, predicted, outputs.logits.shape[1]))
    return float((predicted == outputs.labels).mean())
