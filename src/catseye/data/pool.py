"""Work on many images, shared out over the cores in portions.

Enters: a function of a portion of numbers, and how many numbers there are. Leaves: its results, portion by portion.
Called by the survey, the check and the decoding into memory, which read every file once. No torch.

Many images are shared out over processes, a few over threads: decoding a small image is mostly Python, which the
interpreter lock limits to one core. Forked processes inherit the function and the arrays it writes into
(`shared_array`), so that only small results are copied.
"""

import ctypes
import mmap
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from catseye.errors import WorkerError
from catseye.machine.cores import num_cores

MANY = 2_000  # images; for fewer, starting processes costs more time than the lock
PORTION = 128
_AHEAD = 2  # portions queued per process, so that it never waits for the next one
_PR_SET_PDEATHSIG = 1

Result = TypeVar("Result")
Work = Callable[[range], Result]


def shared_out(
    work: Work[Result], num: int, *, share: int = 1, portion: int = PORTION
) -> Iterator[tuple[range, Result]]:
    """Run `work` on every number below `num`, portion by portion, in any order.

    `share` processes do the same on this machine at the same time and share its cores.

    Raises:
        WorkerError: a process died. Errors of `work` are raised again.

    """
    cores = max(1, num_cores() // share)
    portions = [range(start, min(start + portion, num)) for start in range(0, num, portion)]
    if cores > 1 and num >= MANY and _can_fork():
        yield from _by_processes(work, portions, cores)
    elif cores > 1 and len(portions) > 1:
        with ThreadPoolExecutor(cores) as pool:
            for start in range(0, len(portions), 64):  # a few at a time, so that the queue of results stays short
                part = portions[start : start + 64]
                yield from zip(part, pool.map(work, part), strict=True)
    else:
        yield from ((each, work(each)) for each in portions)


def shared_array(shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> NDArray[Any]:
    """An array of zeros that this process shares with those forked from it later."""
    num_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if not num_bytes:
        return np.zeros(shape, dtype)
    return np.frombuffer(mmap.mmap(-1, num_bytes), dtype).reshape(shape)


def room_for(num: int, row: tuple[int, ...]) -> NDArray[np.uint8]:
    """Rows that all workers of `shared_out` over `num` numbers can write to."""
    return shared_array((num, *row)) if num >= MANY and _can_fork() else np.empty((num, *row), np.uint8)


def settle_worker() -> None:
    """Runs first in every worker: ignore Ctrl-C, and end with the trainer.

    The trainer itself handles Ctrl-C.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        # A forked worker holds the lock of the run folder too, so an orphan would keep the run from being resumed.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _can_fork() -> bool:
    # A daemonic process, such as another pool's worker, must not start processes.
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


def _by_processes(work: Work[Result], portions: list[range], cores: int) -> Iterator[tuple[range, Result]]:
    context = multiprocessing.get_context("fork")
    workers: dict[Connection, Any] = {}
    waiting = iter(portions)
    left: dict[Connection, int] = {}
    try:
        for _ in range(min(cores, len(portions))):
            mine, theirs = context.Pipe()
            worker = context.Process(target=_run_worker, args=(work, theirs, os.getpid()), daemon=True)
            worker.start()
            theirs.close()
            workers[mine], left[mine] = worker, 0
        for pipe in [pipe for pipe in workers for _ in range(_AHEAD)]:
            _hand_portion(pipe, waiting, left)
        while any(left.values()):
            for ready in wait([pipe for pipe, num_left in left.items() if num_left]):
                pipe = next(each for each in workers if each is ready)
                try:
                    portion, result, error = pipe.recv()
                except (EOFError, ConnectionError):
                    raise _death_of(workers[pipe]) from None
                left[pipe] -= 1
                if error is not None:
                    raise error
                _hand_portion(pipe, waiting, left)
                yield portion, result
    finally:
        for pipe, worker in workers.items():
            pipe.close()
            worker.kill()
            worker.join()


def _hand_portion(pipe: Connection, waiting: Iterator[range], left: dict[Connection, int]) -> None:
    portion = next(waiting, None)
    if portion is not None:
        with suppress(BrokenPipeError):  # it has died, which the next read reports
            pipe.send(portion)
        left[pipe] += 1


def _run_worker(work: Work[Result], pipe: Connection, parent: int) -> None:
    """What a worker does until its parent closes the pipe."""
    settle_worker()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the inherited handler would save a run
    if os.getppid() != parent:  # it ended before `settle_worker` could tie this process to it
        return
    while True:
        try:
            portion = pipe.recv()
        except (EOFError, ConnectionError):
            return
        try:
            answer: tuple[range, Any, BaseException | None] = (portion, work(portion), None)
        except Exception as error:  # noqa: BLE001 - raised again by the parent
            answer = (portion, None, error)
        with suppress(BrokenPipeError):
            pipe.send(answer)


def _death_of(worker: Any) -> WorkerError:
    worker.join(2)
    code = worker.exitcode
    how = f"killed by signal {-code}" if code is not None and code < 0 else "ended by itself"
    kill = ", which the system does when memory runs out" if code == -signal.SIGKILL else ""
    return WorkerError(f"a process that reads images was {how}{kill}; start again, or set data.storage=stream")
