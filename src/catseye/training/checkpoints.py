"""The state of an unfinished run in one safetensors file: weights, average, optimizer, position.

Enters: a `Trainer` and a `Position`. Leaves: checkpoint.safetensors, and the way back. Called by `fit.py`.
No generator's state is stored, because every draw is derived from (seed, step).
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from catseye.errors import ModelFileError
from catseye.runs import read_tensors, write_tensors
from catseye.training.step import Trainer

_KEY = "position"


@dataclass
class Position:
    """Where a run stands: `epoch` and `batch` are the next ones to do; the sums belong to the epoch begun."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    num_correct: int = 0
    num_pictures: int = 0
    seconds_s: float = 0.0
    best: float | None = None
    best_epoch: int = -1


def save_checkpoint(path: Path, trainer: Trainer, position: Position) -> None:
    """Write everything that the next step depends on."""
    tensors = {f"model.{name}": value for name, value in trainer.model.state_dict().items()}
    if trainer.ema is not None:
        tensors |= {f"ema.{name}": value for name, value in trainer.ema.state_dict().items()}
    for index, state in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items() if isinstance(value, Tensor)}
    write_tensors(path, tensors, {_KEY: TypeAdapter(Position).dump_json(position).decode()})


def load_checkpoint(path: Path, trainer: Trainer) -> Position:
    """Put a saved state into a freshly built trainer.

    Raises:
        ModelFileError: the file is damaged or belongs to other settings.

    """
    tensors, metadata = read_tensors(path)
    try:
        position = TypeAdapter(Position).validate_json(metadata.get(_KEY, ""))
        trainer.model.load_state_dict(_part(tensors, "model."))
        if trainer.ema is not None:
            trainer.ema.model.load_state_dict(_part(tensors, "ema."))
        _load_optimizer(trainer, _part(tensors, "optimizer."))
    except (ValidationError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"{path} does not fit this run ({str(error).splitlines()[0]})") from None
    trainer.step = position.step
    return position


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _load_optimizer(trainer: Trainer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    whole = trainer.optimizer.state_dict()
    whole["state"] = state
    trainer.optimizer.load_state_dict(whole)
