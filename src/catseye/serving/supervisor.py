"""`--workers N`: starts, watches and replaces N serving processes on one socket.

Enters: `ServerSettings` and the listening socket. Leaves: an exit code. All workers accept from the same socket, so a
waiting connection is taken by any worker that is alive. The kernel closes the connections of a killed worker at once,
and their callers may try again. A worker that hangs (stopped, or deadlocked in native code) sends no heartbeat and is
killed. While no worker is ready, this process answers 503 itself. It loads no model. Called by command.
"""

import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from catseye.errors import CatseyeError
from catseye.http.logs import Log
from catseye.http.stopping import let_nobody_in, somebody_waits
from catseye.serving.metrics_folder import hold_metrics_folder, new_metrics_folder
from catseye.serving.settings import ServerSettings
from catseye.serving.worker import REFUSED, worker_settings

TICK_S = 0.05
FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 30.0
GOOD_AFTER_S = 10.0  # after this long a worker's earlier failures no longer count
GRACE_S = 10.0  # added to the deadline before a worker that does not end is killed
LOADING_S = 600.0  # a worker that is not ready by then is killed
LAST_CALLERS_S = 2.0
# -P: `-m` would import a queue.py of the working directory instead of Python's own.
_COMMAND = """
import sys
sys.path.append(sys.argv.pop(2))
from catseye.serving.worker import run_worker
sys.exit(run_worker())
"""
_ROOT = Path(__file__).parents[2]
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"x-content-type-options: nosniff\r\ncontent-length: %d\r\n\r\n%s"
)
_TEXT = b'{"error":"no worker is ready; try again in a moment","code":"not-ready"}'


@dataclass
class Slot:
    """One worker, and when to start its successor."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    status: int = -1
    started_at: float = 0.0
    ready_at: float = 0.0
    heard_at: float = 0.0
    failures: int = 0
    start_at: float = 0.0


class Supervisor:
    """Starts `settings.workers` workers and keeps that many alive."""

    def __init__(
        self, settings: ServerSettings, listener: socket.socket, log: Log, on_ready: Callable[[], None]
    ) -> None:
        self.settings, self.listener, self.log = settings, listener, log
        self._on_ready = on_ready
        self._slots = [Slot(number) for number in range(settings.workers)]
        self._was_ready = False
        self._stop_signal = 0
        self._folder = new_metrics_folder()
        self._hold = hold_metrics_folder(self._folder)
        self._selector = selectors.DefaultSelector()
        self._answering = False

    def run(self) -> int:
        """Work until a signal; 0 if every worker ended normally."""
        self.listener.setblocking(False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        try:
            while not self._stop_signal:
                self._tick()
            return self._stop()
        finally:
            for slot in self._slots:
                if slot.process is not None and slot.process.poll() is None:
                    slot.process.kill()
                    slot.process.wait()
            os.close(self._hold)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _signalled(self, number: int, _: FrameType | None) -> None:
        self._stop_signal = number

    def _tick(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.process is None:
                if now >= slot.start_at:
                    self._start(slot)
            elif (code := slot.process.poll()) is not None:
                self._ended(slot, code, now)
        self._answer_while_nobody_is_ready(not any(slot.ready_at for slot in self._slots))
        self._hear()
        self._kill_the_silent(self.settings.hang_s)

    def _hear(self) -> None:
        for key, _ in self._selector.select(TICK_S):
            if key.data is None:
                self._refuse_one()
            else:
                self._heard(key.data)

    def _kill_the_silent(self, patience_s: float) -> None:
        """Kill workers that have sent no heartbeat for too long.

        Call it after `_hear`, so that heartbeats sent while this process itself was delayed are counted.
        """
        now = time.monotonic()
        for slot in self._slots:
            if slot.process is None or slot.process.poll() is not None:
                continue
            silent_s = now - (slot.heard_at if slot.ready_at else slot.started_at)
            if silent_s > (patience_s if slot.ready_at else LOADING_S):
                self.log("worker-hung", number=slot.number, process=slot.process.pid, silent_s=round(silent_s, 1))
                slot.process.kill()  # ends a stopped process, too
                slot.process.wait()

    def _start(self, slot: Slot) -> None:
        read_end, write_end = os.pipe()
        os.set_inheritable(write_end, True)
        listener = self.listener.fileno()
        settings = worker_settings(
            self.settings, worker=slot.number, listener=listener, status=write_end, metrics=self._folder
        )
        slot.process = subprocess.Popen(  # noqa: S603 - our own module, our own settings
            [sys.executable, "-P", "-c", _COMMAND, settings, str(_ROOT)],
            stdin=subprocess.PIPE,
            pass_fds=(listener, write_end),
            start_new_session=True,  # Ctrl-C reaches this process only, which then stops the workers
        )
        os.close(write_end)
        slot.status, slot.ready_at, slot.started_at = read_end, 0.0, time.monotonic()
        self._selector.register(read_end, selectors.EVENT_READ, slot)
        self.log("worker-started", number=slot.number, process=slot.process.pid)

    def _heard(self, slot: Slot) -> None:
        if not os.read(slot.status, 1000):
            self._forget_status(slot)
            return
        slot.heard_at = time.monotonic()
        if not slot.ready_at:
            slot.ready_at = slot.heard_at
            self.log("worker-ready", number=slot.number)
            if not self._was_ready:
                self._was_ready = True
                self._on_ready()

    def _forget_status(self, slot: Slot) -> None:
        if slot.status >= 0:
            self._selector.unregister(slot.status)
            os.close(slot.status)
            slot.status = -1

    def _ended(self, slot: Slot, code: int, now: float) -> None:
        assert slot.process is not None
        if slot.process.stdin is not None:
            slot.process.stdin.close()
        self._forget_status(slot)
        if code == REFUSED and not self._was_ready:
            raise CatseyeError("the worker refused to start; the reason is above")
        if slot.ready_at and now - slot.ready_at > GOOD_AFTER_S:
            slot.failures = 0
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**slot.failures)
        slot.failures += 1
        slot.start_at = now + wait_s
        self._forget_gauges(slot.process.pid)
        slot.process, slot.ready_at = None, 0.0
        self.log("worker-ended", number=slot.number, code=code, again_in_s=wait_s)

    def _forget_gauges(self, process: int) -> None:
        # What prometheus_client.multiprocess.mark_process_dead does, without importing it here.
        for path in self._folder.glob(f"gauge_live*_{process}.db"):
            path.unlink(missing_ok=True)

    def _answer_while_nobody_is_ready(self, nobody: bool) -> None:
        if nobody and not self._answering:
            self._selector.register(self.listener, selectors.EVENT_READ, None)
        elif not nobody and self._answering:
            self._selector.unregister(self.listener)
        self._answering = nobody

    def _refuse_one(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(0.2)
            try:
                connection.recv(65_536)  # unread bytes would turn the close into a reset
                connection.sendall(_BUSY % (len(_TEXT), _TEXT))
                connection.shutdown(socket.SHUT_WR)
                connection.recv(65_536)
            except OSError:
                return

    def _stop(self) -> int:
        self.log("drain", signal=self._stop_signal)
        running = [slot for slot in self._slots if slot.process is not None]
        for slot in running:
            assert slot.process is not None
            slot.process.terminate()
        begun = time.monotonic()
        drained, end = begun + self.settings.drain_s, begun + self.settings.drain_s + self.settings.finish_s + GRACE_S
        while any(slot.process is not None and slot.process.poll() is None for slot in running):
            # The workers no longer accept connections, so later ones are refused here.
            self._answer_while_nobody_is_ready(time.monotonic() > drained + 1)
            self._hear()
            self._kill_the_silent(self.settings.hang_s + GRACE_S if time.monotonic() < end else 0.0)
        self._answer_the_last()
        codes = [slot.process.returncode for slot in running if slot.process is not None]
        self.log("end", codes=codes)
        # A worker that was still loading has no handler yet and is ended by the signal; it had no requests.
        return 0 if all(code in (0, -signal.SIGTERM) for code in codes) else 1

    def _answer_the_last(self) -> None:
        """Closing the socket would reset waiting connections; they get a 503 instead."""
        let_nobody_in(self.listener)
        end = time.monotonic() + LAST_CALLERS_S
        while somebody_waits(self.listener) and time.monotonic() < end:
            self._refuse_one()
        self.listener.close()
