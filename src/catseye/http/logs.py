"""One JSON object per line on stderr, written by a thread.

Enters: facts as keywords; inside `everything`, also the log records, warnings and failed threads of libraries. Leaves:
lines, never with an image, a client's header or a file name; JSON escapes a client's text. A slow reader cannot stop
the server: while too many lines wait, further ones are only counted, in the log and in the metrics. Called by app and
server.
"""

import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, TextIO

MAX_WAITING = 10_000  # lines; further ones are only counted
ATOMIC_BYTES = 4096
MAX_TEXT = 1000  # characters of one fact
_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=str).encode


class Log:
    """`log("request", status=200)`; `quiet` leaves out successful requests."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False, **always: Any) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._descriptor = _descriptor(self._stream)
        self._always = always
        self.quiet = quiet
        self.num_dropped = 0
        self._num_told = 0
        self._lines: deque[str] = deque()
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def __call__(self, event: str, **facts: Any) -> None:
        """Note one line. Costs microseconds and cannot block."""
        if len(self._lines) >= MAX_WAITING:
            self.num_dropped += 1
            return
        self._lines.append(self._line(event, facts))
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Write what is left, for at most a second."""
        self._closed = True
        self._wake.set()
        self._thread.join(timeout=1)

    @contextlib.contextmanager
    def everything(self) -> Iterator[None]:
        """Also log libraries' records, warnings and failed threads in this context."""
        root, hook = logging.getLogger(), threading.excepthook
        before = root.handlers[:]
        root.handlers[:] = [_ToLog(self)]
        logging.captureWarnings(True)
        threading.excepthook = self._thread_failed
        try:
            yield
        finally:
            threading.excepthook = hook
            logging.captureWarnings(False)
            root.handlers[:] = before

    def _thread_failed(self, failed: threading.ExceptHookArgs) -> None:
        name = failed.thread.name if failed.thread is not None else "a thread"
        self("fault", thread=name, error=f"{failed.exc_type.__name__}: {failed.exc_value}"[:500])

    def _line(self, event: str, facts: dict[str, Any]) -> str:
        line = _encode({"time": round(time.time(), 3), "event": event, **self._always, **facts})
        if len(line) < ATOMIC_BYTES:
            return line
        short = {name: fact if isinstance(fact, int | float) else str(fact)[:200] for name, fact in facts.items()}
        return _encode({"time": round(time.time(), 3), "event": event, **self._always, **short})

    def _write(self) -> None:
        while True:
            self._wake.wait()
            closing = self._closed
            self._wake.clear()
            dropped = self.num_dropped - self._num_told
            if dropped:
                self._num_told += dropped
                self._lines.append(self._line("log-dropped", {"lines": dropped}))
            lines = self._lines
            try:
                while lines:  # not taken out all at once: lines held here while a write blocks would not be counted
                    # Few enough for one atomic write beside other workers (POSIX: 4096 bytes into a pipe).
                    text = lines.popleft() + "\n"
                    while lines and len(text) + len(lines[0]) < ATOMIC_BYTES:
                        text += lines.popleft() + "\n"
                    self._put(text)
            except (OSError, ValueError):
                return  # nobody reads any more; serving goes on, and lines are counted
            if closing:
                return
            time.sleep(0.05)  # one write for many lines

    def _put(self, text: str) -> None:
        if self._descriptor is None:
            self._stream.write(text)
            self._stream.flush()
            return
        # Not through Python's buffer: its lock, held while a full pipe blocks, would keep the process from ending.
        left = text.encode()
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # another program that shares our stderr made it non-blocking
                time.sleep(0.05)


class _ToLog(logging.Handler):
    """Hands records of Python's logging to a `Log`."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One record, one line."""
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - a record whose arguments do not fit its text
            text = str(record.msg)
        facts: dict[str, Any] = {"logger": record.name, "level": record.levelname.lower(), "text": text[:MAX_TEXT]}
        if record.exc_info and record.exc_info[1] is not None:
            facts["error"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"[:500]
        self._log("library", **facts)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):  # a stream in memory
        return None
