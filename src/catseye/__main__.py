"""The start of `catseye` and `python -m catseye`: a signal that comes while modules load is heard too."""

import os
import sys

# `python -m` looks for modules in the working directory first, where a data set may hold a queue.py of its own. Only
# where catseye itself lies there is that directory meant.
if __name__ == "__main__" and sys.path and os.path.realpath(sys.path[0] or os.curdir) == os.path.realpath(os.curdir):
    _here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120 - pathlib is not loaded yet
    if _here != os.path.realpath(os.curdir):
        del sys.path[0]

import atexit
import signal
from types import FrameType
from typing import NoReturn


def _end(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _end_unbegun(number: int, _: FrameType | None) -> NoReturn:
    # Not by an exception: a module that tries whether another one is there may take it for its answer.
    os.write(2, b"stopped before any work began; nothing was saved\n")
    os._exit(128 + number)


def run_cli() -> None:
    """Run the command line and end with its exit code."""
    # The kernel spares the first process of a container every signal that it does not handle. Without this, a SIGTERM
    # before the verb's own handler is lost, and the container is killed half a minute later.
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end)
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a shell's background commands ignore it
    if heeded:
        signal.signal(signal.SIGINT, _end_unbegun)
    from catseye.cli import main as run

    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    except SystemExit as end:
        if end.code != 128 + signal.SIGINT:
            raise
        # A module that was interrupted while it loaded can crash the interpreter where that takes itself down, or make
        # it end by the signal instead of by this code.
        atexit._run_exitfuncs()
        os._exit(end.code)


if __name__ == "__main__":
    run_cli()
