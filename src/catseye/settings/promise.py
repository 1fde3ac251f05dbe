"""What goes together with a promised time (`--time`), and what it decides by itself. Asked before torch is loaded.

Enters: the options and settings that were named. Leaves: nothing, or an error. Called by cli and by training.
"""

from collections.abc import Mapping
from typing import Any

from catseye.errors import UsageError
from catseye.settings.typed import parse_duration

LEAST_S = 10.0  # loading the libraries takes a part of it
# Settings of these tables that a search for the best model leaves to the user; all others it chooses itself.
KEPT = {
    "training": {"time_s", "class_weights", "memory_gb", "precision", "checkpoint_s"},
    "transfer": {"strategy", "weights"},
    "augment": set(),
    "distillation": set(),
}
_WHY = {
    "epochs": "trials decide how long is trained",
    "resume": "a run keeps the time it was promised",
    "teacher": "a teacher answers images, trials begin with features",
    "track": "trials have no epochs of one run",
    "tensorboard": "trials have no epochs of one run",
    "recipe": "trials take the place of a recipe",
}


def promised_s(text: str | float) -> float:
    """The seconds that `--time` promises.

    Raises:
        UsageError: it is no time, or too short to train anything.

    """
    seconds = float(text) if isinstance(text, int | float) else parse_duration(text, "--time")
    if not LEAST_S <= seconds <= 1_000_000:
        raise UsageError(
            f"--time is {LEAST_S:.0f}s or more, since it counts from the command to the result; got {text}"
        )
    return seconds


def refuse_beside_time(named: Mapping[str, object], own: Mapping[str, Any]) -> None:
    """A promised time leaves no room for options and settings that say how training is done.

    `named` are options of the command; `own` are the user's settings as nested tables.

    Raises:
        UsageError: one of them is there.

    """
    for option, value in named.items():
        if option == "nproc" and value not in (None, 1):
            raise UsageError("--time works in one process; leave --nproc out, or train with --epochs")
        if option == "recipe" and value == "auto":
            continue
        if option in _WHY and value not in (None, False, "", ()):
            raise UsageError(f"--{option} would do nothing with --time: {_WHY[option]}; leave one of them out")
    if (setting := search_decides(own)) is not None:
        raise UsageError(f"{setting} would do nothing with --time: it is chosen by trial; leave one of them out")
    strategy = own.get("transfer", {}).get("strategy", "trials")
    if strategy not in ("auto", "trials", "none"):
        raise UsageError(f"--strategy {strategy} would do nothing with --time: it is chosen by trial; leave it out")


def search_decides(own: Mapping[str, Any]) -> str | None:
    """The first of the user's own settings that a search would choose itself, by its dotted name."""
    for table, kept in KEPT.items():
        for key in own.get(table, {}):
            if key not in kept:
                return f"{table}.{key}"
    return None
