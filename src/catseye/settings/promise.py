"""What can be combined with a time limit (`--time`), and what it decides itself.

Enters: the options and settings that were named. Leaves: nothing, or an error. Called by cli and by training, before
torch is loaded.
"""

from collections.abc import Mapping
from typing import Any

from catseye.errors import UsageError
from catseye.settings.typed import parse_duration

LEAST_S = 10.0  # loading the libraries takes part of it
# What a search for the best model leaves to the user in these tables; it chooses all other settings itself.
KEPT = {
    "training": {"time_s", "class_weights", "memory_gb", "precision", "checkpoint_s"},
    "transfer": {"strategy", "weights"},
    "augment": set(),
    "distillation": set(),
}
_WHY = {
    "epochs": "trials decide how long to train",
    "resume": "a run keeps its own time limit",
    "teacher": "a teacher needs images, trials begin with features",
    "track": "a search has no single run to report",
    "tensorboard": "a search has no single run to report",
    "recipe": "trials replace the recipe",
}


def promised_s(text: str | float) -> float:
    """The seconds of `--time`.

    Raises:
        UsageError: it is not a duration, or too short to train anything.

    """
    seconds = float(text) if isinstance(text, int | float) else parse_duration(text, "--time")
    if not LEAST_S <= seconds <= 1_000_000:
        raise UsageError(
            f"--time is {LEAST_S:.0f}s or more, since it counts from the command to the result; got {text}"
        )
    return seconds


def refuse_beside_time(named: Mapping[str, object], own: Mapping[str, Any]) -> None:
    """Refuse options and settings that `--time` decides itself.

    These are the ones that prescribe how to train. `named` are options of the command; `own` are the user's settings as
    nested tables.

    Raises:
        UsageError: one of them was given.

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
    """The first of the user's settings that a search would choose itself.

    Returns its dotted name, or None.
    """
    for table, kept in KEPT.items():
        for key in own.get(table, {}):
            if key not in kept:
                return f"{table}.{key}"
    return None
