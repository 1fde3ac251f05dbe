"""SIGINT and SIGTERM as a request that the training loop answers at the next safe place."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While entered, the first signal is remembered; a second one ends the process at once.

    `agree` makes one number out of those of all processes: a signal to one of them is then answered by all, at the
    same step.
    """

    def __init__(self, agree: Callable[[int], int] = int) -> None:
        self.received: int | None = None
        self.agreed: int | None = None
        self._agree = agree
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        # Python delivers signals to the main thread only; elsewhere (a notebook's worker) there is nothing to catch.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._remember) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def asked(self) -> int | None:
        """The signal that has come by now, the same in all processes; each of them must ask."""
        self.agreed = self._agree(self.received or 0) or None
        return self.agreed

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
