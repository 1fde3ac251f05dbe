"""Trackers of a run: TensorBoard, MLflow, Weights & Biases. None by default.

Enters: `--track`, the run folder, its settings and rows. Leaves: rows, figures and the model file there. Called by
run_folder.py and history.py. None of these packages is imported, and no connection is opened, unless requested; all
three write local files by default. A tracker that fails later loses its own record, but does not stop the run.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from catseye.errors import CatseyeError, Interrupted, MissingDependency, UsageError
from catseye.runs import MODEL_FILE, Run, read_json, write_json
from catseye.settings.schema import Settings
from catseye.settings.typed import parse_track

TRACKED_FILE = "tracked.json"  # identifiers by which a resumed run is continued
FIGURES = ("curves.png", "confusion.png")
# Set before the packages are imported, unless the user has set them.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # MLflow 3.17 refuses to write folders, which need no server, without it
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "WANDB_MODE": "offline",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
}


class Tracker(Protocol):
    """Gets a run's epochs and its end.

    `status` is FINISHED, KILLED (it can be resumed) or FAILED.
    """

    def add_row(self, row: Mapping[str, Any]) -> None:
        """One finished epoch."""

    def end(self, run: Run, status: str) -> None:
        """The end of the run; no call follows."""


@contextmanager
def tracked(
    run: Run, wanted: Sequence[str], settings: Settings, say: Callable[[str], None], *, resumed: bool
) -> Iterator[tuple[Tracker, ...]]:
    """The requested trackers, until the end of the run.

    Raises:
        MissingDependency: one is not installed. UsageError: it cannot be reached or written to.

    """
    known = read_json(run.path / TRACKED_FILE) if resumed and (run.path / TRACKED_FILE).exists() else {}
    trackers: list[Tracker] = []
    status = "FAILED"
    try:
        for text in dict.fromkeys(wanted):
            kind, place = parse_track(text)
            trackers.append(_Guarded(_open_tracker(kind, place, run, settings, known), kind, say))
        if known:
            write_json(run.path / TRACKED_FILE, known)
        yield tuple(trackers)
        status = "FINISHED"
    except (Interrupted, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        for tracker in trackers:
            tracker.end(run, status)


class _Guarded:
    """A tracker whose failure is reported once; the run continues without it."""

    def __init__(self, tracker: Tracker, name: str, say: Callable[[str], None]) -> None:
        self.tracker: Tracker | None = tracker
        self.name = name
        self.say = say

    def add_row(self, row: Mapping[str, Any]) -> None:
        self._try(lambda tracker: tracker.add_row(row))

    def end(self, run: Run, status: str) -> None:
        self._try(lambda tracker: tracker.end(run, status))

    def _try(self, act: Callable[[Tracker], None]) -> None:
        if self.tracker is None:
            return
        try:
            act(self.tracker)
        except Exception as error:  # noqa: BLE001 - whatever a server or a full disk raises in these packages
            self.tracker = None
            self.say(f"- {self.name} gets no more of this run ({_first_line(error)}); training continues")


def _open_tracker(kind: str, place: str, run: Run, settings: Settings, known: dict[str, Any]) -> Tracker:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    flat = dict(_flattened(settings.model_dump(mode="json")))
    try:
        if kind == "tensorboard":
            return _TensorBoard(run)
        if kind == "mlflow":
            return _Mlflow(run, place, flat, known)
        return _Wandb(run, place, flat, known)
    except ImportError as error:
        raise MissingDependency(kind) from error
    except CatseyeError:
        raise
    except Exception as error:
        raise UsageError(
            f"--track {kind} cannot be written to ({_first_line(error)}); check its address, or leave it out"
        ) from error


class _TensorBoard:
    """Events in RUN/tensorboard."""

    def __init__(self, run: Run) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(run.path / "tensorboard"))

    def add_row(self, row: Mapping[str, Any]) -> None:
        for name, value in _numbers_of_row(row).items():
            self.writer.add_scalar(name, value, row["epoch"])
        self.writer.flush()

    def end(self, run: Run, status: str) -> None:
        self.writer.close()


class _Mlflow:
    """A run of the experiment "catseye", in ./mlruns or at MLFLOW_TRACKING_URI."""

    def __init__(self, run: Run, place: str, settings: Mapping[str, str], known: dict[str, Any]) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        uri = place or os.environ.get("MLFLOW_TRACKING_URI") or "mlruns"
        self.client: Any = MlflowClient(uri if ":" in uri else Path(uri).absolute().as_uri())
        if "mlflow" in known:
            self.id = str(known["mlflow"])
            self.client.update_run(self.id, status="RUNNING")
            return
        experiment = self.client.get_experiment_by_name("catseye")
        number = experiment.experiment_id if experiment else self.client.create_experiment("catseye")
        self.id = known["mlflow"] = self.client.create_run(number, run_name=run.path.name).info.run_id
        params = [Param(name, value) for name, value in settings.items()]
        for start in range(0, len(params), 100):  # a call takes no more
            self.client.log_batch(self.id, params=params[start : start + 100])

    def add_row(self, row: Mapping[str, Any]) -> None:
        for name, value in _numbers_of_row(row).items():
            self.client.log_metric(self.id, name, value, step=row["epoch"])

    def end(self, run: Run, status: str) -> None:
        if status == "FINISHED":
            for name, value in _results(run).items():
                self.client.log_metric(self.id, name, value)
            for path in _files(run):
                self.client.log_artifact(self.id, str(path))
        self.client.set_terminated(self.id, status)


class _Wandb:
    """A run in RUN/wandb, uploaded by `wandb sync` or with WANDB_MODE=online."""

    def __init__(self, run: Run, project: str, settings: Mapping[str, str], known: dict[str, Any]) -> None:
        import wandb

        self.wandb: Any = wandb
        resumed = {"id": known["wandb"], "resume": "allow"} if "wandb" in known else {}
        quiet = wandb.Settings(silent=True, console="off", disable_git=True, save_code=False)
        self.run: Any = wandb.init(
            project=project or "catseye", name=run.path.name, dir=str(run.path), config=dict(settings),
            mode=os.environ["WANDB_MODE"], settings=quiet, **resumed,
        )  # fmt: skip
        known["wandb"] = self.run.id

    def add_row(self, row: Mapping[str, Any]) -> None:
        self.run.log(_numbers_of_row(row), step=row["epoch"])

    def end(self, run: Run, status: str) -> None:
        if status == "FINISHED":
            self.run.summary.update(_results(run))
            self.run.log({path.stem: self.wandb.Image(str(path)) for path in _files(run) if path.suffix == ".png"})
            self.run.save(str(run.model_path), base_path=str(run.path), policy="now")
        self.run.finish(exit_code=0 if status == "FINISHED" else 1)


def _numbers_of_row(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "epoch" and isinstance(value, int | float)}


def _results(run: Run) -> dict[str, float]:
    metrics = run.metrics
    split = metrics.get("split", "test")
    return {f"{split}_accuracy": metrics["accuracy"], f"{split}_macro_f1": metrics["macro"]["f1"]}


def _files(run: Run) -> list[Path]:
    return [path for name in (*FIGURES, "settings.toml", MODEL_FILE) if (path := run.path / name).exists()]


def _flattened(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
