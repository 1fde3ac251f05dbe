"""Durations, trackers and shapes, read from text that users type.

Enters: text. Leaves: values, or an error that gives the format. Called by cli and by the rooms that use them.
"""

import re

from catseye.errors import UsageError

TRACKERS = ("tensorboard", "mlflow", "wandb")


def parse_duration(text: str, option: str = "--budget") -> float:
    """Seconds of a duration such as 90s, 10m, 1.5h or plain seconds.

    Raises:
        UsageError: it is not a duration.

    >>> parse_duration("10m")
    600.0

    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)\s*([smh]?)", text.strip().lower())
    if not match or float(match[1]) == 0:
        raise UsageError(f"{option} is a time above 0 such as 90s, 10m or 1h; got {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def say_duration(seconds: float) -> str:
    """A length of time in words.

    >>> [say_duration(seconds) for seconds in (1, 45, 600, 7200)]
    ['1 second', '45 seconds', '10 minutes', '2 hours']
    """
    if seconds < 120 and seconds % 60:
        number, unit = round(seconds), "second"
    elif seconds < 3600 or (seconds % 3600 and seconds < 10_800):
        number, unit = round(seconds / 60), "minute"
    else:
        number, unit = round(seconds / 3600), "hour"
    return f"{number} {unit}{'' if number == 1 else 's'}"


def parse_track(text: str) -> tuple[str, str]:
    """A tracker and its place: an address for MLflow, a project for Weights & Biases.

    Raises:
        UsageError: there is no such tracker.

    >>> parse_track("mlflow:http://127.0.0.1:5000"), parse_track("wandb")
    (('mlflow', 'http://127.0.0.1:5000'), ('wandb', ''))

    """
    kind, colon, place = text.partition(":")
    if kind not in TRACKERS or (colon and (kind == "tensorboard" or not place)):
        raise UsageError(f"--track is tensorboard, mlflow, mlflow:URI, wandb or wandb:PROJECT; got {text!r}")
    return kind, place


def parse_shape(text: str) -> tuple[int, int, int]:
    """Read an input shape.

    Raises:
        UsageError: it is not CxHxW, or no network accepts it.

    >>> parse_shape("3x32x32")
    (3, 32, 32)

    """
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise UsageError(f"--input is CxHxW; got {text!r}; for example 3x32x32")
    channels, height, width = (int(part) for part in parts)
    if channels not in (1, 3) or not (1 <= height <= 1024 and 1 <= width <= 1024):
        raise UsageError(f"--input has 1 or 3 channels and sides of 1 to 1024 pixels; got {text!r}")
    return channels, height, width


def parse_place(text: str) -> tuple[int, int]:
    """A place in a map.

    Raises:
        UsageError: it is not ROW,COLUMN.

    >>> parse_place("3,4")
    (3, 4)

    """
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise UsageError(f"--at is ROW,COLUMN; got {text!r}; for example --at 3,4")
    return int(parts[0]), int(parts[1])
