"""Watches the worker processes that decode images.

A worker that dies or hangs is an error, and none is left running.
Enters: a torch `DataLoader`. Leaves: its batches. Called by loaders.py.
"""

import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from torch.utils.data import DataLoader

from catseye.errors import WorkerError

POLL_S = 2  # how soon a dead worker is noticed
TIMEOUT_S = 120.0  # how long a worker may be silent before it counts as hanging
EXIT_CODE_S = 2.0  # the longest wait for a dead worker's exit code
_ADVICE = "--set data.workers=0 decodes without worker processes"


def watched(loader: DataLoader[Any]) -> Generator[Any, None, None]:
    """The batches of a loader.

    Raises:
        WorkerError: a worker died, delivered nothing for `TIMEOUT_S`, or ran out of shared memory.

    """
    if loader.num_workers == 0:
        yield from loader
        return
    with _quiet_deaths():
        try:
            batches: Any = iter(loader)
        except OSError as error:
            raise _explain(str(error), []) or error from None
    requested_at, hung = time.monotonic(), threading.Event()
    try:
        while True:
            try:
                with _bounded(batches._workers, hung):
                    batch = next(batches)
            except StopIteration:
                return
            except (RuntimeError, OSError, EOFError) as error:
                # The loader checks its workers at every time-out of its own.
                if "timed out" in str(error) and time.monotonic() - requested_at < TIMEOUT_S:
                    continue
                message = "timed out" if hung.is_set() else str(error)
                if isinstance(error, ConnectionError | EOFError) and not hung.is_set():
                    # The worker that held the batch is just ending.
                    multiprocessing.connection.wait([worker.sentinel for worker in batches._workers], POLL_S)
                    message = f"exited unexpectedly ({error})"
                raise _explain(message, batches._workers) or error from None
            yield batch
            requested_at = time.monotonic()
    finally:
        _end_workers(batches)


@contextmanager
def _bounded(workers: list[Any], hung: threading.Event) -> Iterator[None]:
    """End the workers if one takes too long: reading from it has no time-out."""

    def end() -> None:
        hung.set()
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)

    timer = threading.Timer(TIMEOUT_S + POLL_S, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _quiet_deaths() -> Iterator[None]:
    """Undo torch's SIGCHLD handler: it raises anywhere, even amid an update."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield  # no such signal, or torch does not install it here
        return
    before = signal.getsignal(signal.SIGCHLD)
    yield
    if signal.getsignal(signal.SIGCHLD) is not before:
        signal.signal(signal.SIGCHLD, before)


def _explain(message: str, workers: list[Any]) -> WorkerError | None:
    if "exited unexpectedly" in message:  # torch may notice before the exit code is known
        gone = multiprocessing.connection.wait([worker.sentinel for worker in workers], timeout=EXIT_CODE_S)
        for worker in workers:
            if worker.sentinel in gone:
                worker.join(EXIT_CODE_S)  # its sentinel is ready shortly before its exit code
    codes = [worker.exitcode for worker in workers if worker.exitcode not in (None, 0)]
    if "No space left on device" in message or "shared memory" in message or -signal.SIGBUS in codes:
        return WorkerError(
            "the shared memory that worker processes pass their batches through (/dev/shm) is full; make it larger "
            f"(docker run --shm-size=1g) or set a smaller training.batch_size; {_ADVICE}"
        )
    if "timed out" in message:
        return WorkerError(
            f"no worker process has delivered a batch for {TIMEOUT_S:g} s: one hangs or is stopped; check the disk "
            f"with the images; {_ADVICE}"
        )
    if "exited unexpectedly" in message or codes:
        signalled = [code for code in codes if code < 0]  # others may have ended by themselves as a consequence
        how = f"killed by signal {-signalled[0]}" if signalled else "ended by itself"
        kill = ", which the system does when memory runs out" if -signal.SIGKILL in codes else ""
        return WorkerError(f"a worker process that decodes images was {how}{kill}; {_ADVICE}")
    return None


def _end_workers(batches: Any) -> None:
    """End the workers; a stopped one is resumed first, since it could not end."""
    for worker in batches._workers:
        if worker.is_alive():
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGCONT)
    batches._shutdown_workers()
