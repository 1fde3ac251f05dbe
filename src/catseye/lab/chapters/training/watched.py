"""A run that is watched live: `train` in a thread, with events and a stop.

Enters: DATA and settings. Leaves: events as plain JSON types: `step` ten times a second, `epoch` with filters,
confusion matrix and some guesses, and a last one: `end`, `stopped` or `failed`. The run can be stopped at any step. Its
folder is temporary; the trained network is handed to `keep` before the last event. Called by answers.py.
"""

import queue
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from catseye.errors import CatseyeError, Interrupted
from catseye.evaluation.metrics import confusion_matrix
from catseye.evaluation.predict import Outputs
from catseye.explanation.kernels import first_filters
from catseye.manifest import Manifest
from catseye.runtimes.loading import open_model
from catseye.training.progress import EpochProgress, ShowProgress
from catseye.training.train import train

Event = dict[str, Any]
Keep = Callable[[nn.Module, Manifest], None]
EVERY_S = 0.1
SIGN_OF_LIFE_S = 0.5  # a disconnected reader is noticed only when an event cannot be sent
NUM_GUESSES = 24
LAST = ("end", "stopped", "failed")


class WatchedProgress(EpochProgress):
    """The progress of a run as events instead of lines; it also handles a stop."""

    def __init__(
        self,
        tell: Callable[[Event], None],
        stop_requested: threading.Event,
        console: Console,
        num_epochs: int,
        num_batches: int,
        done: int,
    ) -> None:
        super().__init__(console, num_epochs, num_batches, done)
        self._tell, self._stop_requested, self._next = tell, stop_requested, 0.0
        self._seen: Event = {}
        tell({"kind": "begin", "num_epochs": num_epochs, "num_batches": num_batches})

    def due(self) -> bool:
        """Called after every step; a stop raises an error, as Ctrl+C does.

        Raises:
            Interrupted: the run was stopped.

        """
        if self._stop_requested.is_set():
            raise Interrupted("stopped by the one who watched", signal.SIGINT)
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + EVERY_S
        return True

    def show(self, *, step: int, epoch: int, loss: float, accuracy: float, images_per_s: float) -> None:
        """Report the means of the epoch so far."""
        self._tell(
            {
                "kind": "step",
                "step": step,
                "epoch": epoch + 1,
                "loss": loss,
                "accuracy": accuracy,
                "images_per_s": images_per_s,
            }
        )

    def look(self, model: nn.Module, outputs: Outputs) -> None:
        """Keep what the epoch's event will show."""
        guesses = outputs.logits.argmax(1)
        num_classes = outputs.logits.shape[1]
        self._seen = {
            "filters": first_filters(model).weights.round(4).tolist(),
            "confusion": confusion_matrix(outputs.labels, guesses, num_classes).tolist(),
            "guesses": [
                {"image": int(index), "truth": int(truth), "guess": int(guess)}
                for index, truth, guess in zip(
                    outputs.indices[:NUM_GUESSES], outputs.labels[:NUM_GUESSES], guesses[:NUM_GUESSES], strict=True
                )
            ],
        }

    def epoch_line(self, row: Mapping[str, float], *, best: bool) -> None:
        """Report the epoch's row of history.jsonl and what `look` has kept."""
        self._tell({"kind": "epoch", "row": dict(row), "best": best, **self._seen})


class Watched:
    """One run in a thread of its own, as an iterator over its events.

    It ends by itself, by `stop`, or by `close` when nobody reads its events any more.
    """

    def __init__(
        self,
        data: str,
        settings: Mapping[str, object],
        *,
        recipe: str = "quick",
        first: Event | None = None,
        keep: Keep | None = None,
    ) -> None:
        self._events: queue.Queue[Event] = queue.Queue()
        self._stop_requested, self._over, self._read = threading.Event(), threading.Event(), False
        if first is not None:
            self._events.put(first)
        # A daemon thread, so that closing the lab does not wait for the training.
        self._thread = threading.Thread(
            target=self._train, args=(data, dict(settings), recipe, keep), name="watched-training", daemon=True
        )
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the run is still computing."""
        return not self._over.is_set()

    @property
    def stopping(self) -> bool:
        """Whether a stop was requested."""
        return self._stop_requested.is_set()

    def stop(self, wait_s: float = 0.0) -> None:
        """Request a stop at the next step, and wait for it at most `wait_s`."""
        self._stop_requested.set()
        self._over.wait(wait_s)

    def close(self) -> None:
        """Stop the run, because nobody reads its events any more."""
        self.stop()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        """The next event, up to the last one.

        If nothing happens for a while, it is `{"kind": "wait"}`.
        """
        if self._read:
            raise StopIteration
        try:
            event = self._events.get(timeout=SIGN_OF_LIFE_S)
        except queue.Empty:
            return {"kind": "wait"}
        self._read = event["kind"] in LAST
        return event

    def _train(self, data: str, settings: Mapping[str, object], recipe: str, keep: Keep | None) -> None:
        tell = self._events.put
        last: Event
        try:
            last = self._run(data, settings, recipe, keep, partial(WatchedProgress, tell, self._stop_requested))
        except Interrupted:
            last = {"kind": "stopped"}
        except CatseyeError as error:
            last = {"kind": "failed", "error": str(_without_advice(error))}
        except Exception as error:  # noqa: BLE001 - the thread's last edge: a watcher must not wait for ever
            last = {"kind": "failed", "error": f"this is a fault in catseye: {type(error).__name__}: {error}"}
        self._over.set()
        tell(last)

    @staticmethod
    def _run(
        data: str, settings: Mapping[str, object], recipe: str, keep: Keep | None, progress: ShowProgress
    ) -> Event:
        quiet = Console(quiet=True, force_terminal=False)
        with tempfile.TemporaryDirectory(prefix="catseye-watched-") as folder:
            run = Path(folder) / "run"
            trained = train(
                data, recipe=recipe, settings=settings, out=run, device="cpu", console=quiet, progress=progress
            )
            if keep is not None:
                opened = open_model(trained.path, device="cpu", need="layers")
                keep(opened.layers(), opened.manifest)
        metrics = trained.metrics
        accuracy = {"accuracy": metrics.accuracy, "low": metrics.accuracy_low, "high": metrics.accuracy_high}
        return {"kind": "end", "side": trained.side, **accuracy, "num_images": metrics.num_images}


def _without_advice(error: CatseyeError) -> BaseException:
    """The error as raised, without the advice to resume.

    The run's folder is temporary, so it cannot be resumed.
    """
    first = error.__context__
    return first if isinstance(first, CatseyeError) else error
