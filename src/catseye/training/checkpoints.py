"""The state of an unfinished run in one safetensors file.

It has weights, average, optimizer and position.

Enters: a `TrainState` and a `TrainingPosition`. Leaves: checkpoint.safetensors, the one before it, and the state
read back. `Checkpoints` decides when to save. No generator's state is stored: every draw is derived from (seed, step).
Created by `run_folder.py`; `fit.py` calls it at safe points.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field, TypeAdapter, ValidationError
from rich.console import Console
from torch import Tensor

from catseye.errors import CatseyeError, DataError, Interrupted, ModelFileError, TrainingError, WorkerError
from catseye.machine.devices import is_out_of_memory, release_freed_memory
from catseye.runs import CHECKPOINT_FILE, PREVIOUS_FILE, Run
from catseye.tensor_files import read_tensors, write_tensors
from catseye.training.kept_features import drop_features
from catseye.training.signals import StopRequest
from catseye.training.step import TrainState

_KEY = "position"


@dataclass
class TrainingPosition:
    """The position of a run: `epoch` and `batch` are the next ones.

    The sums are those of the current epoch.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    num_correct: int = 0
    num_images: Annotated[int, Field(validation_alias=AliasChoices("num_images", "num_pictures"))] = 0  # the older name
    seconds_s: float = 0.0
    best: float | None = None
    best_epoch: int = -1
    num_parts: int = 1

    def begin_next_epoch(self) -> None:
        """Count an epoch as done and reset the sums."""
        self.epoch += 1
        self.batch, self.loss_sum, self.num_correct, self.num_images, self.seconds_s = 0, 0.0, 0, 0, 0.0


@dataclass
class Checkpoints:
    """Saves a run: every `every_s` seconds, at a signal, and at an error."""

    run: Run
    state: TrainState
    stop: StopRequest
    every_s: float
    _saved_at: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        """Whether `visit` would do something.

        All processes must call it together, so that all react to a signal to one of them.
        """
        return self.stop.agree() is not None or self._late

    @property
    def _late(self) -> bool:
        return time.monotonic() - self._saved_at >= self.every_s

    def visit(self, position: TrainingPosition) -> None:
        """Save if it is due; end the run after a signal.

        Called wherever the state is consistent.

        Raises:
            Interrupted: a signal came; the run is saved.

        """
        if self._late or self.stop.agreed:
            self.save(position)
        if self.stop.agreed:
            raise Interrupted(f"stopped and saved; {self._advice}", self.stop.agreed)

    def look(self, position: TrainingPosition) -> None:
        """Visit if due."""
        if self.due():
            self.visit(position)

    def save(self, position: TrainingPosition) -> None:
        """Save, if this is the process that writes; the previous file is kept.

        Raises:
            TrainingError: the weights contain NaN. SaveError: the file cannot be written.

        """
        release_freed_memory()  # the gaps left by an epoch's tensors are too small for a copy of the weights
        if self.state.processes.first:
            save_checkpoint(self.run.path / CHECKPOINT_FILE, self.state, position)
        self._saved_at = time.monotonic()

    @contextmanager
    def kept(self, position: TrainingPosition) -> Iterator[None]:
        """Save the run after its last complete step, if an error ends the training."""
        try:
            yield
        except (TrainingError, WorkerError, DataError) as error:
            try:
                self.save(position)
            except CatseyeError:  # what was saved before is kept
                raise self._with_advice(error, position) from None
            if self.stop.received is not None:  # a signal to the whole process group ends the workers first
                self.stop.agreed = self.stop.received
                self.visit(position)
            raise self._with_advice(error, position) from None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            # It may have interrupted an update, so the state in memory is not saved.
            reason = f"out of memory ({(str(error) or 'MemoryError').splitlines()[0]})"
            short = TrainingError(f"{reason}; use a smaller training.batch_size, data.input_px or network")
            raise self._with_advice(short, position) from None

    def _with_advice(self, error: CatseyeError, position: TrainingPosition) -> CatseyeError:
        message = f"{error}. " + (f"The last good state is saved; {self._advice}" if self.run.checkpoints else "")
        if position.best_epoch >= 0:
            message += f"; the weights of epoch {position.best_epoch + 1} are in {self.run.model_path}"
        return type(error)(message.strip())

    @property
    def _advice(self) -> str:
        return f"continue with: catseye train --resume {self.run.path}"

    def discard(self) -> None:
        """Remove the checkpoints of a finished run, the older one first."""
        drop_features(self.run.path)
        for name in (PREVIOUS_FILE, CHECKPOINT_FILE):
            (self.run.path / name).unlink(missing_ok=True)


def load_newest(run: Run, state: TrainState, console: Console) -> TrainingPosition:
    """Load the newest undamaged checkpoint of a run into a freshly built state.

    Without any, the run starts again.

    Raises:
        ModelFileError: all of them are damaged, or belong to other settings.

    """
    damaged: list[str] = []
    for path in run.checkpoints:
        try:
            tensors, metadata = read_tensors(path, sealed=True)
        except ModelFileError as error:
            damaged.append(str(error))
            console.print(f"- {error}", highlight=False, soft_wrap=True, markup=False)
            continue
        position = load_checkpoint(path, tensors, metadata, state)
        if path.name == PREVIOUS_FILE:
            console.print(
                f"- taking the checkpoint before it, {path.name}", highlight=False, markup=False, soft_wrap=True
            )
        return position
    if damaged:
        raise ModelFileError(f"{run.path} has no undamaged checkpoint ({damaged[0]}); train again with another --out")
    return TrainingPosition()


def save_checkpoint(path: Path, state: TrainState, position: TrainingPosition) -> None:
    """Write everything that the next step depends on.

    The previous file is kept beside it.

    Raises:
        TrainingError: a weight is NaN or infinite.

    """
    position.step, position.num_parts = state.step, state.num_parts
    floats = [value for value in state.model.state_dict().values() if value.is_floating_point()]
    if not all(bool(value.isfinite().all()) for value in floats):
        raise TrainingError(f"the weights contain NaN or infinity at step {state.step}; they are not saved")
    tensors = {f"model.{name}": value for name, value in state.model.state_dict().items()}
    if state.ema is not None:
        tensors |= {f"ema.{name}": value for name, value in state.ema.state_dict().items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items() if isinstance(value, Tensor)}
    text = TypeAdapter(TrainingPosition).dump_json(position).decode()
    write_tensors(path, tensors, {_KEY: text}, previous=path.with_name(PREVIOUS_FILE))


def load_checkpoint(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], state: TrainState
) -> TrainingPosition:
    """Load the saved state, which was read from `path`, into a freshly built state.

    Raises:
        ModelFileError: it belongs to other settings.

    """
    try:
        position = TypeAdapter(TrainingPosition).validate_json(metadata.get(_KEY, ""))
        state.model.load_state_dict(_tensors_below(tensors, "model."))
        if state.ema is not None:
            state.ema.model.load_state_dict(_tensors_below(tensors, "ema."))
        _load_optimizer(state, _tensors_below(tensors, "optimizer."))
    except (ValidationError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"{path} does not fit this run ({str(error).splitlines()[0]})") from None
    state.step, state.num_parts = position.step, position.num_parts
    return position


def _tensors_below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _load_optimizer(state: TrainState, tensors: dict[str, Tensor]) -> None:
    values: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        values.setdefault(int(index), {})[name] = value
    whole = state.optimizer.state_dict()
    whole["state"] = values
    state.optimizer.load_state_dict(whole)
