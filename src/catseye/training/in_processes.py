"""`catseye.train(…, nproc=4)`: the same training in several processes.

They start as the command line starts them.

Enters: DATA and options that can be written down. Leaves: the finished run. Called by train.py. Code and data in
memory cannot be passed to these processes; a script started by torchrun can use them.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from catseye.data.sources import Images, is_place
from catseye.errors import TrainingError, UsageError
from catseye.evaluation.metrics import metrics_of_json
from catseye.runs import create_run, open_run
from catseye.settings.reading import SHORT_NAMES

if TYPE_CHECKING:
    from catseye.training.finish import TrainedRun

_HERE = ("console", "progress", "begun_s")


def train_in_processes(data: Images | None, options: dict[str, Any]) -> "TrainedRun":
    """Train in `nproc` processes and return the run.

    Raises:
        UsageError: an option is code or an object. TrainingError: the processes ended without a run.

    """
    from catseye.training.finish import TrainedRun
    from catseye.training.launch import launch

    num, restarts = options.pop("nproc"), options.pop("max_restarts", 0)
    if options.get("out") is None and options.get("resume") is None:
        options["out"] = create_run(None, "nproc").path
    words = command_words(data, options)
    code = launch(num, restarts, words)
    folder = options.get("resume") or options["out"]
    if code:
        raise TrainingError(
            f"training in {num} processes ended with {code}; its state so far is in {os.fspath(folder)}"
        )
    run = open_run(folder)
    metrics = run.metrics
    return TrainedRun(run, metrics_of_json(metrics), str(metrics.get("split", "test")))


def command_words(data: Images | None, options: Mapping[str, Any]) -> list[str]:
    """The command line of a training.

    Raises:
        UsageError: an option cannot be written down.

    >>> command_words("photos", {"epochs": 3, "pretrained": True, "set": {"training.lr": 0.1}})
    ['train', 'photos', '--epochs', '3', '--pretrained', '--set', 'training.lr=0.1']

    """
    if data is not None and not is_place(data):
        raise UsageError(
            "nproc starts processes that read DATA themselves, so DATA must be a path; save the images first"
        )
    words = ["train", *([os.fspath(data)] if data is not None else [])]
    for name, value in options.items():
        if value in (None, False) or name in _HERE:
            continue
        option = f"--{SHORT_NAMES.get(name, name).replace('_', '-')}"
        if name in ("set", "settings", "overrides"):
            pairs = (
                [f"{key}={_toml(setting)}" for key, setting in value.items()] if isinstance(value, Mapping) else value
            )
            words += [word for pair in pairs for word in ("--set", pair)]
        elif value is True:
            words.append(option)
        elif isinstance(value, str | int | float | os.PathLike):
            words += [option, str(os.fspath(value) if isinstance(value, os.PathLike) else value)]
        else:
            raise UsageError(
                f"nproc starts processes by a command line, which cannot carry {name}; write a script and start it: "
                f"torchrun --nproc-per-node N script.py"
            )
    return words


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value)
