"""A live progress bar in a notebook, with IPython's display and no widgets.

Enters: the same calls as EpochProgress. Leaves: one output that is updated during training, and stays as a summary.
Used by request.py if a notebook runs the program.
"""

import sys
from importlib import import_module
from typing import Any

from rich.console import Console

from catseye.notebook import Html, html_of, html_table
from catseye.training.progress import EpochProgress

SHOWN = 5  # the latest epochs below the bar


class NotebookProgress(EpochProgress):
    """A bar over all steps and the latest epochs' rows, updated in place."""

    def __init__(self, console: Console, num_epochs: int, num_batches: int, done: int) -> None:
        super().__init__(Console(quiet=True, file=sys.stderr), num_epochs, num_batches, done)
        self.console = console
        self._total = max(1, num_epochs * num_batches)
        self._step = done
        self._now = ""
        self._rows: list[dict[str, Any]] = []
        self._best = 0
        self._handle: Any = None

    def __enter__(self) -> "NotebookProgress":
        self._draw()
        return self

    def __exit__(self, *error: object) -> None:
        self._now = "" if error[0] is None else "stopped"
        self._draw()

    def due(self) -> bool:
        """Whether it is time to show numbers again."""
        return self._is_due()

    def show(self, *, step: int, epoch: int, loss: float, accuracy: float, images_per_s: float) -> None:
        """Move the bar."""
        self._step = step
        self._now = (
            f"epoch {epoch + 1}/{self.num_epochs}, loss {loss:.3f}, acc {accuracy:.1%}, {images_per_s:,.0f} img/s"
        )
        self._draw()

    def epoch_line(self, row: dict[str, float], *, best: bool) -> None:
        """Show a finished epoch."""
        self._rows.append(row)
        self._step = round(self._total * row["epoch"] / self.num_epochs)
        self._best = int(row["epoch"]) if best else self._best
        self._draw()

    def _draw(self) -> None:
        ipython = import_module("IPython.display")  # installed, because it runs this program
        shown = ipython.HTML(self.html())
        if self._handle is None:
            self._handle = ipython.display(shown, display_id=True)
        else:
            self._handle.update(shown)

    def html(self) -> str:
        """The output in the notebook."""
        share = min(1.0, self._step / self._total)
        bar = (
            '<div style="width:300px;height:10px;background:#ddd;border-radius:5px;display:inline-block">'
            f'<div style="width:{share:.0%};height:10px;background:#0f6f66;border-radius:5px"></div></div>'
        )
        side = next((name for name in ("val", "test") if self._rows and f"{name}_loss" in self._rows[-1]), "val")
        rows = [
            (
                f"{int(row['epoch'])}{' *' if int(row['epoch']) == self._best else ''}",
                *(f"{row[name]:.3f}" if row.get(name) is not None else "" for name in _columns(side)),
                f"{row['seconds']:.1f}",
            )
            for row in self._rows[-SHOWN:]
        ]
        table = html_table(("epoch", *_columns(side), "seconds"), rows) if rows else ""
        return Html(f"{bar} {share:.0%} {html_of(self._now)}{table}")


def _columns(side: str) -> tuple[str, ...]:
    return "train_loss", "train_accuracy", f"{side}_loss", f"{side}_accuracy"
