"""The run folder of a training command, its first files, and its record.

Enters: `--out` and a `RunSession`. Leaves: a `Run`, locked against a second trainer, and a `RunRecord` for
the training. Called by fit.py and timeline.py; the files are written by runs.py and checkpoints.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from catseye.errors import DataError, UsageError
from catseye.files import StrPath, write_atomically
from catseye.manifest import Architecture, Manifest, Provenance
from catseye.runs import (
    CHECKPOINT_FILE,
    CORRECTIONS_FILE,
    FEATURES_FILE,
    OWN_CODE,
    PREVIOUS_FILE,
    Run,
    create_run,
    locked,
    open_run,
    save_model,
    write_json,
)
from catseye.settings.merge import to_toml
from catseye.training.assemble import Assembled
from catseye.training.cached_features import tensors_of
from catseye.training.captured import CapturedSteps, choose_captured
from catseye.training.checkpoints import Checkpoints, TrainingPosition, load_newest
from catseye.training.distributed import Processes, restarts_allowed
from catseye.training.divergence import LossWatch
from catseye.training.history import History
from catseye.training.kept_features import keep_features
from catseye.training.session import RunSession
from catseye.training.signals import StopRequest
from catseye.training.step import TrainState
from catseye.training.tracking import tracked


@dataclass
class RunRecord:
    """The state of a run while it trains.

    It has its position, rows, checkpoints, and the manifest of its model.

    `captured`: steps launched on a GPU whose results have not been read; None if each step is awaited.
    """

    run: Run
    manifest: Manifest
    position: TrainingPosition
    history: History
    checkpoints: Checkpoints
    watch: LossWatch
    captured: CapturedSteps | None = None

    def keep(self, state: Mapping[str, Tensor]) -> None:
        """Write these weights as the run's model."""
        save_model(self.run.model_path, state, self.manifest)


@contextmanager
def keep_record(
    session: RunSession, built: Assembled, run: Run, position: TrainingPosition, *, track: Sequence[str] = ()
) -> Iterator[RunRecord]:
    """The record of a run from `position` on.

    Meanwhile a signal is handled at the next safe point.
    """
    processes = session.place.processes
    wanted, place = session.settings.training.capture, session.place
    mine = track if processes.first else ()
    with (
        StopRequest(processes.largest) as stop,
        tracked(run, mine, session.settings, place.say, resumed=position.epoch > 0) as trackers,
    ):
        yield RunRecord(
            run,
            make_manifest(session, built.network.architecture),
            position,
            History(run, position.epoch, trackers),
            Checkpoints(run, built.state, stop, session.settings.training.checkpoint_s),
            LossWatch(built.state.num_classes),
            choose_captured(built.state, place.device, wanted=wanted, say=place.say),
        )


def choose_run(out: StrPath | None, session: RunSession) -> tuple[Run, bool]:
    """The run folder, made by the first process, and whether it is resumed.

    It is resumed if it holds the unfinished run of a restarted command.
    """
    path, half_done = "", False
    processes = session.place.processes
    if processes.first:
        begun = _half_done(out, session)
        name = f"{Path(session.prepared.images.source).stem}-{session.settings.model.name}"
        path, half_done = str((begun or create_run(out, name)).path), begun is not None
    path, half_done = processes.broadcast((path, half_done))
    return Run(Path(path)), half_done


def _half_done(out: StrPath | None, session: RunSession) -> Run | None:
    """The run that this command began in `out`, if torchrun may restart it.

    Raises:
        UsageError: restarts are allowed but no folder is named. DataError: the images have changed.

    """
    if not restarts_allowed():
        return None
    if out is None:
        raise UsageError("--max-restarts needs --out, so that a restarted run finds its folder; name one")
    run = Run(Path(out))
    settings = run.path / "settings.toml"
    if run.finished or not settings.is_file() or settings.read_text(encoding="utf-8") != to_toml(session.settings):
        return None
    if run.data["sha256"] != session.prepared.data_sha256:
        source = session.prepared.images.source
        raise DataError(f"{source} has changed since {out} began; put it back or give another --out")
    return run


def find_unfinished(path: StrPath) -> Run:
    """The run folder to continue.

    Raises:
        ModelFileError: it is not a run folder.

    """
    return open_run(path)


def refuse_finished(run: Run) -> None:
    """Refuse a finished run; called while the folder is locked.

    Raises:
        UsageError: the run is finished.

    """
    if run.finished:
        raise UsageError(f"{run.path} has nothing to continue: it is finished; train again with another --out")


def run_held(run: Run, processes: Processes) -> AbstractContextManager[None]:
    """The first of several processes locks the run folder for all of them."""
    return locked(run) if processes.first else nullcontext()


def begin_run(run: Run, session: RunSession, built: Assembled) -> TrainingPosition:
    """Write the files needed to resume and evaluate; returns the start position.

    Raises:
        UsageError: a process on another machine does not see the folder.

    """
    if session.place.processes.first:
        for name in (CHECKPOINT_FILE, PREVIOUS_FILE, "history.jsonl"):  # of a first attempt
            (run.path / name).unlink(missing_ok=True)
        corrected = session.prepared.images.corrected
        if corrected is not None:  # the original file may change
            write_atomically(run.path / CORRECTIONS_FILE, corrected.content)
        write_json(run.path / "data.json", session.describe_data())
        if session.decided:
            write_json(run.path / "auto.json", session.decided)
        if paths := session.own.paths():
            write_json(run.path / OWN_CODE, paths)
        if built.network.plan:
            write_json(run.path / "transfer.json", built.network.plan.to_json())
        if built.network.features_key:
            keep_features(run.path / FEATURES_FILE, tensors_of(built.loaders), built.network.features_key)
        # Written last: it makes the folder a run.
        write_atomically(run.path / "settings.toml", to_toml(session.settings))
    session.place.processes.wait()
    if not (run.path / "settings.toml").exists():
        raise UsageError(f"the run folder must be visible on every machine; {run.path} is not; choose a shared --out")
    return TrainingPosition()


def begin_search(run: Run, session: RunSession) -> None:
    """Write the files needed to resume and evaluate a search.

    Its trials write their own results.
    """
    corrected = session.prepared.images.corrected
    if corrected is not None:
        write_atomically(run.path / CORRECTIONS_FILE, corrected.content)
    write_json(run.path / "data.json", session.describe_data())
    write_json(run.path / "auto.json", dict(session.decided or {}))
    write_atomically(run.path / "settings.toml", to_toml(session.settings))  # written last: it makes the folder a run


def continue_run(run: Run, state: TrainState, console: Console) -> TrainingPosition:
    """Load the newest undamaged checkpoint into the state; returns its position."""
    position = load_newest(run, state, console)
    place = f"epoch {position.epoch + 1}, batch {position.batch + 1}"
    console.print(f"continuing {run.path} at {place}", highlight=False, markup=False, soft_wrap=True)
    return position


def note_place(run: Run, session: RunSession) -> None:
    """Update data.json if the images of a continued run were moved."""
    if session.place.processes.first and session.prepared.images.source != run.data["source"]:
        folder = str(session.data_dir.resolve()) if session.data_dir else None
        write_json(run.path / "data.json", {**run.data, "source": session.prepared.images.source, "data_dir": folder})


def make_manifest(session: RunSession, architecture: Architecture) -> Manifest:
    """The manifest of the model file."""
    prepared = session.prepared
    provenance = Provenance(
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        catseye=version("catseye"),
        torch=torch.__version__,
        data_name=Path(prepared.images.source).name,
        data_sha256=prepared.data_sha256,
        settings_sha256=sha256(to_toml(session.settings).encode()).hexdigest(),
        seed=session.settings.seed,
    )
    return Manifest(
        classes=prepared.images.classes,
        preprocessing=prepared.spec,
        architecture=architecture,
        provenance=provenance,
    )
