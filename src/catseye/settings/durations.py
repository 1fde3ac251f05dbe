"""Lengths of time as a person writes them: 90s, 10m, 1.5h. Called by cli and by training, before torch is loaded."""

import re

from catseye.errors import UsageError


def parse_duration(text: str, option: str = "--budget") -> float:
    """Seconds of a duration such as 90s, 10m, 1.5h or plain seconds.

    Raises:
        UsageError: it is none.

    >>> parse_duration("10m")
    600.0

    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)\s*([smh]?)", text.strip().lower())
    if not found or float(found[1]) == 0:
        raise UsageError(f"{option} is a time above 0 such as 90s, 10m or 1h; got {text!r}")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


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
