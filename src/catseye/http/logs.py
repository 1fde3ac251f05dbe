"""One JSON object per line on stderr, written by a thread: a reader that stops reading must not stop the server.

Enters: facts as keywords. Leaves: lines. Never an image, never a header of the client's, never a file name; text
that a client chose is escaped by JSON. Called by app and server.
"""

import json
import sys
import threading
import time
from collections import deque
from typing import Any, TextIO

MAX_WAITING = 10_000  # lines; what comes on top is counted instead
ATOMIC_BYTES = 4096
_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


class Log:
    """`log("request", status=200)`; `quiet` leaves out requests that were answered well."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False, **always: Any) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._always = always
        self.quiet = quiet
        self._lines: deque[str] = deque()
        self._num_dropped = 0
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def __call__(self, event: str, **facts: Any) -> None:
        """Note one line. Costs microseconds and cannot block."""
        if len(self._lines) >= MAX_WAITING:
            self._num_dropped += 1
            return
        self._lines.append(_encode({"time": round(time.time(), 3), "event": event, **self._always, **facts}))
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Write what is left, for at most a second."""
        self._closed = True
        self._wake.set()
        self._thread.join(timeout=1)

    def _write(self) -> None:
        while True:
            self._wake.wait()
            closing = self._closed
            self._wake.clear()
            if self._num_dropped:
                dropped, self._num_dropped = self._num_dropped, 0
                self._lines.append(_encode({"time": round(time.time(), 3), "event": "log-dropped", "lines": dropped}))
            lines = deque(self._lines.popleft() for _ in range(len(self._lines)))
            try:
                while lines:
                    # Few enough to be written in one piece beside other workers' (POSIX: 4096 bytes into a pipe).
                    text = lines.popleft() + "\n"
                    while lines and len(text) + len(lines[0]) < ATOMIC_BYTES:
                        text += lines.popleft() + "\n"
                    self._stream.write(text)
                    self._stream.flush()
            except (OSError, ValueError):
                return  # nobody reads; serving goes on
            if closing:
                return
            time.sleep(0.05)  # one write for many lines
