"""Which run folder a training command works in, and where that run stands.

Enters: `--out`, settings and images. Leaves: a `Run`, held against a second trainer, and a `TrainingPosition`. Called
by fit.py; the files themselves are runs.py's and checkpoints.py's part.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from catseye.data.prepare import Prepared
from catseye.errors import DataError, UsageError
from catseye.runs import Run, create_run, locked
from catseye.settings.merge import to_toml
from catseye.settings.schema import Settings
from catseye.training.checkpoints import TrainingPosition, load_newest
from catseye.training.distributed import Processes, restarts_allowed
from catseye.training.step import Trainer


def choose_run(out: str | Path | None, chosen: Settings, prepared: Prepared, processes: Processes) -> tuple[Run, bool]:
    """The run folder, made by the first process, and whether it is the half-done one of a command begun anew."""
    path, half_done = "", False
    if processes.first:
        begun = _half_done(out, chosen, prepared)
        run = begun or create_run(out, f"{Path(prepared.images.source).stem}-{chosen.model.name}")
        path, half_done = str(run.path), begun is not None
    path, half_done = processes.tell((path, half_done))
    return Run(Path(path)), half_done


def _half_done(out: str | Path | None, chosen: Settings, prepared: Prepared) -> Run | None:
    """The run that the same command began in `out`, where torchrun was told that it may restart the processes.

    Raises:
        UsageError: restarts are allowed but no folder is named. DataError: the images have changed.

    """
    if not restarts_allowed():
        return None
    if out is None:
        raise UsageError("a restarted run must find what it began, so --max-restarts needs --out; name a folder")
    run = Run(Path(out))
    settings = run.path / "settings.toml"
    if run.finished or not settings.is_file() or settings.read_text(encoding="utf-8") != to_toml(chosen):
        return None
    if run.data["sha256"] != prepared.data_sha256:
        raise DataError(f"{prepared.images.source} has changed since {out} began; put it back or give another --out")
    return run


def run_held(run: Run, processes: Processes) -> AbstractContextManager[None]:
    """The first of several processes holds the run folder for all of them."""
    return locked(run) if processes.first else nullcontext()


def continue_run(run: Run, trainer: Trainer, console: Console) -> TrainingPosition:
    """The position of the newest undamaged checkpoint, which is put into the trainer."""
    position = load_newest(run, trainer, console)
    place = f"epoch {position.epoch + 1}, batch {position.batch + 1}"
    console.print(f"continuing {run.path} at {place}", highlight=False, markup=False, soft_wrap=True)
    return position


def what_changed(recorded: Mapping[str, Any], splits: Mapping[str, Mapping[str, str]]) -> str:
    """The sentence for images that are not those of data.json any more."""
    before, now = ({name for names in each.values() for name in names} for each in (recorded["splits"], splits))
    first = next((f"{name} is gone or unreadable" for name in sorted(before - now)), "a size, name or class is another")
    return f"{recorded['source']} has changed since the run began ({first}); put it back or start a new run"
