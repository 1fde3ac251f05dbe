"""Native readers in a fork: what a mutated file does to them is measured, and does not end the fuzzer.

`catseye` opens such a file in a child first, so a child that dies is a refusal (`runtimes/trial.py`). One that hangs,
takes too much memory, or fails with anything but a `CatseyeError` is a finding.
"""

import contextlib
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

from catseye.errors import CatseyeError
from tests.fuzz.targets import MOST_MB, MOST_S

GOOD, UNEXPECTED = 0, 3
LEFT_S = 4 * MOST_S  # other programs want the processor too; what counts is processor time


class FindingError(AssertionError):
    """What a run must not do."""


def in_child(work: Callable[[], object]) -> None:
    """Run `work` in a fork.

    Raises:
        FindingError: it hung, took too much memory, or failed with an error that is none of ours.

    """
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        _work_and_end(work, writer)
    os.close(writer)
    with open(reader, "rb") as said:  # noqa: PTH123 - a descriptor
        code, used = _wait(process)
        held, _, text = said.read(4000).decode("utf-8", "replace").partition("\n")
    seconds, megabytes = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024 - float(held or 0)
    if code == -signal.SIGALRM or seconds > MOST_S:
        raise FindingError(f"a run takes at most {MOST_S:g} s; got {seconds:.1f} s of processor time")
    if megabytes > MOST_MB:
        raise FindingError(f"a run takes at most {MOST_MB} MB; got {megabytes:.0f}")
    if code == UNEXPECTED:
        raise FindingError(f"only a CatseyeError may leave a reader; got {text}")


def _work_and_end(work: Callable[[], object], writer: int) -> None:
    for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)  # the fuzzer's own would write the input down as its own crash
    signal.setitimer(signal.ITIMER_REAL, LEFT_S)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What it has of its parent's memory is not the file's doing.
    held = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    os.write(writer, f"{held}\n".encode())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    code = GOOD
    try:
        work()
    except CatseyeError:
        pass
    except BaseException as error:  # noqa: BLE001 - all else is what is looked for
        with contextlib.suppress(OSError):
            os.write(writer, f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:3000])
        code = UNEXPECTED
    os._exit(code)


def _wait(process: int) -> tuple[int, resource.struct_rusage]:
    end = time.monotonic() + 2 * LEFT_S
    while True:
        found, status, used = os.wait4(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), used
        if time.monotonic() > end:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.001)
