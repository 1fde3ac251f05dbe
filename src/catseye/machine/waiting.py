"""A progress line for work that takes over two seconds: done, rate, time left.

Enters: finished steps. Leaves: text on standard error: in a terminal one line that is updated in place, in a log or
notebook a line every ten seconds; nothing if the work ends within two seconds. Called by every loop over images except
the epochs of a training.

>>> with Waiting("looking", 3) as waiting:
...     for _ in range(3):
...         waiting.step(1)
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TextIO

SILENT_S = 2.0
EVERY_S = {True: 0.5, False: 10.0}  # key: whether the output is a terminal
_SILENT: ContextVar[bool] = ContextVar("silent", default=False)


@contextmanager
def silenced(wanted: bool = True) -> Iterator[None]:
    """No progress lines for work that starts inside, in this thread."""
    token = _SILENT.set(_SILENT.get() or wanted)
    try:
        yield
    finally:
        _SILENT.reset(token)


class Waiting:
    """A progress line: `with Waiting("reading", 500) as waiting: … waiting.step(32)`.

    Steps beyond `total` are ignored.
    """

    def __init__(self, what: str, total: int, unit: str = "images", stream: TextIO | None = None) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self._num_steps = 0
        self._stream: TextIO | None = stream or sys.stderr
        if _SILENT.get() or os.environ.get("RANK", "0") != "0":
            self._stream = None  # of several processes that train together, only the first shows progress
        self._begun = time.monotonic()
        self._due = self._begun + SILENT_S
        self._width = 0

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._width:
            self._write("\r" + " " * self._width + "\r")

    def step(self, count: int = 1) -> None:
        """Add `count` to what is done."""
        self.done = min(self.done + count, self.total)
        self._num_steps += 1
        now = time.monotonic()
        if self._stream is None or now < self._due or self.done >= self.total:
            return
        terminal = self._is_terminal()
        self._due = now + EVERY_S[terminal]
        line = self.line(now - self._begun)
        if terminal:
            self._write("\r" + line.ljust(self._width))
            self._width = max(self._width, len(line))
        else:
            self._write(f"- {line}\n")

    def line(self, seconds: float) -> str:
        """The line that is shown after `seconds`.

        >>> waiting = Waiting("evaluating", 1000)
        >>> waiting.done = 250
        >>> waiting.line(5.0)
        'evaluating: 250 of 1,000 images, 50 images/s, 15 s left'
        """
        done = f"{self.what}: {self.done:,} of {self.total:,} {self.unit}"
        if self._num_steps == 1:  # it includes what is only started once
            return done
        rate = self.done / seconds if seconds > 0 else 0.0
        speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        left = "" if not rate else f", {duration((self.total - self.done) / rate)} left"
        return f"{done}, {speed} {self.unit}/s{left}"

    def _is_terminal(self) -> bool:
        try:
            return self._stream is not None and self._stream.isatty()
        except (AttributeError, ValueError):
            return False

    def _write(self, text: str) -> None:
        """Write to the stream; if it was closed, the work goes on."""
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._width = 0


def duration(seconds: float) -> str:
    """Seconds in the two largest units.

    >>> [duration(value) for value in (0.4, 59.6, 61, 3725)]
    ['1 s', '1 min 0 s', '1 min 1 s', '1 h 2 min']
    """
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
