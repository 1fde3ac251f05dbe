"""SIGINT, SIGTERM and SIGHUP as a request, handled at the next safe point."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from catseye.notebook import in_notebook

# SIGHUP comes when the terminal is closed; Windows has none.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class StopRequest:
    """Remembers the first signal; a second one ends the process at once.

    `agree` combines the signal numbers of all processes, so that all react to a signal to one of them, at the same
    step.
    """

    def __init__(self, agree: Callable[[int], int] = int) -> None:
        self.received: int | None = None
        self.agreed: int | None = None
        self._combine = agree
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        # Python delivers signals to the main thread only; elsewhere (a notebook's worker) there is nothing to catch.
        if threading.current_thread() is threading.main_thread():
            # `nohup` ignores SIGHUP on purpose; that is kept.
            always = (signal.SIGINT, signal.SIGTERM)
            handled = [each for each in _SIGNALS if each in always or signal.getsignal(each) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._remember) for number in handled}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def agree(self) -> int | None:
        """The signal received so far, the same in all processes; all must call it."""
        self.agreed = self._combine(self.received or 0) or None
        return self.agreed

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        for each, handler in self._before.items():
            # In a notebook the default would end the kernel; the kernel's own handler raises KeyboardInterrupt.
            signal.signal(each, handler if in_notebook() else signal.SIG_DFL)
