"""The progress of a run: a live bar in a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

from catseye.counting import agree, count
from catseye.data.loaders import Loader
from catseye.evaluation.predict import Outputs

REFRESH_S = 0.2


class EpochProgress:
    """A bar with loss, accuracy and images per second; a line per epoch."""

    def __init__(self, console: Console, num_epochs: int, num_batches: int, done: int) -> None:
        self.console = console
        self.num_epochs = num_epochs
        self._due = 0.0
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(
                "loss {task.fields[loss]:.3f}  acc {task.fields[accuracy]:.1%}  {task.fields[speed]:,.0f} img/s"
            ),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(
            "train", total=num_epochs * num_batches, completed=done, epoch="", loss=0.0, accuracy=0.0, speed=0.0
        )

    def __enter__(self) -> "EpochProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def due(self) -> bool:
        """Whether it is time to update the numbers; reading them makes a GPU wait."""
        return not self._bar.disable and self._is_due()

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + REFRESH_S
            return True
        return False

    def show(self, *, step: int, epoch: int, loss: float, accuracy: float, images_per_s: float) -> None:
        """Move the bar."""
        self._bar.update(
            self._task,
            completed=step,
            epoch=f"{epoch + 1}/{self.num_epochs}",
            loss=loss,
            accuracy=accuracy,
            speed=images_per_s,
        )

    def say_parts(self, step: int, batch_size: int, num_parts: int) -> None:
        """Report that memory was short."""
        self.console.print(
            f"- out of memory at step {step}: from here on a batch of {batch_size} is computed in {num_parts} parts; "
            "the updates are the same, batch-norm statistics are those of a part",
            highlight=False,
            soft_wrap=True,
        )

    def look(self, model: nn.Module, outputs: Outputs) -> None:
        """Gets the network and its answers on held-out images after an epoch.

        The line of that epoch follows.

        A terminal shows neither; the lab overrides this.
        """

    def epoch_line(self, row: dict[str, float], *, best: bool) -> None:
        """Print the line of a finished epoch."""
        width = len(str(self.num_epochs))
        parts = [f"epoch {int(row['epoch']):>{width}}/{self.num_epochs}"]
        parts.append(f"loss {row['train_loss']:.3f}  acc {row['train_accuracy']:.1%}")
        for side in ("val", "test"):
            if f"{side}_accuracy" in row:
                parts.append(f"{side} loss {row[f'{side}_loss']:.3f}  acc {row[f'{side}_accuracy']:.1%}")
        parts.append(f"{row['images_per_s']:,.0f} img/s  {row['seconds']:.1f} s")
        self.console.print(" | ".join(parts) + ("  *" if best else ""), highlight=False, soft_wrap=True)


ShowProgress = Callable[[Console, int, int, int], EpochProgress]
"""Makes an `EpochProgress` from a console, the number of epochs, of steps per epoch, and of steps done."""


def name_unreadable(loaders: Mapping[str, Loader], console: Console) -> None:
    """Print how many images have become unreadable, and the last one."""
    bad = {number: reason for loader in loaders.values() for number, reason in loader.bad.items()}
    are = agree(len(bad), "is", "are")
    message = (
        f"- {count(len(bad), 'image')} can no longer be read and {are} left out, the last: {list(bad.values())[-1]}"
    )
    console.print(message, highlight=False, soft_wrap=True, markup=False)
