"""Worker processes that decode images, watched: one that dies or hangs is an error, and none is left behind.

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
EXIT_CODE_S = 2.0  # the most that a dead worker's exit code is waited for
_ADVICE = "--set data.workers=0 decodes without worker processes"


def watched(loader: DataLoader[Any]) -> Generator[Any, None, None]:
    """The batches of a loader.

    Raises:
        WorkerError: a worker died, gave no answer for `TIMEOUT_S`, or had no shared memory left.

    """
    if loader.num_workers == 0:
        yield from loader
        return
    with _quiet_deaths():
        try:
            batches: Any = iter(loader)
        except OSError as error:
            raise _explain(str(error), []) or error from None
    asked, hung = time.monotonic(), threading.Event()
    try:
        while True:
            try:
                with _bounded(batches._workers, hung):
                    batch = next(batches)
            except StopIteration:
                return
            except (RuntimeError, OSError, EOFError) as error:
                # The loader's own time-out is the rhythm in which it looks after its workers.
                if "timed out" in str(error) and time.monotonic() - asked < TIMEOUT_S:
                    continue
                said = "timed out" if hung.is_set() else str(error)
                if isinstance(error, ConnectionError | EOFError) and not hung.is_set():
                    # The worker that held the batch is just going.
                    multiprocessing.connection.wait([worker.sentinel for worker in batches._workers], POLL_S)
                    said = f"exited unexpectedly ({error})"
                raise _explain(said, batches._workers) or error from None
            yield batch
            asked = time.monotonic()
    finally:
        _end_workers(batches)


@contextmanager
def _bounded(workers: list[Any], hung: threading.Event) -> Iterator[None]:
    """End the workers where one is waited for too long: fetching a batch from a stopped one has no time-out."""

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
    """Undo the SIGCHLD handler that torch installs: it raises wherever the trainer is, even amid an update."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield  # no such signal, or torch does not install it here
        return
    before = signal.getsignal(signal.SIGCHLD)
    yield
    if signal.getsignal(signal.SIGCHLD) is not before:
        signal.signal(signal.SIGCHLD, before)


def _explain(said: str, workers: list[Any]) -> WorkerError | None:
    if "exited unexpectedly" in said:  # torch may notice before the kernel has told the exit code
        gone = multiprocessing.connection.wait([worker.sentinel for worker in workers], timeout=EXIT_CODE_S)
        for worker in workers:
            if worker.sentinel in gone:
                worker.join(EXIT_CODE_S)  # its files are closed before it can be waited for
    codes = [worker.exitcode for worker in workers if worker.exitcode not in (None, 0)]
    if "No space left on device" in said or "shared memory" in said or -signal.SIGBUS in codes:
        return WorkerError(
            "the shared memory that worker processes hand their batches over in (/dev/shm) is full; give it more "
            f"(docker run --shm-size=1g) or take a smaller training.batch_size; {_ADVICE}"
        )
    if "timed out" in said:
        return WorkerError(
            f"no worker process has delivered a batch for {TIMEOUT_S:g} s: one hangs or is stopped; look at the disk "
            f"that the images are on; {_ADVICE}"
        )
    if "exited unexpectedly" in said or codes:
        signalled = [code for code in codes if code < 0]  # the others may end by themselves because of it
        how = f"killed by signal {-signalled[0]}" if signalled else "ended by itself"
        kill = ", as the system does where memory runs out" if -signal.SIGKILL in codes else ""
        return WorkerError(f"a worker process that decodes images was {how}{kill}; {_ADVICE}")
    return None


def _end_workers(batches: Any) -> None:
    """Ends the workers; a stopped one is woken first, because only then it can go."""
    for worker in batches._workers:
        if worker.is_alive():
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGCONT)
    batches._shutdown_workers()
