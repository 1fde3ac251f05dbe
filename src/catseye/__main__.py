"""The start of `catseye` and `python -m catseye`.

Handles signals that arrive while modules load.
"""

import os
import sys

# `python -m` looks for modules in the working directory first, where a data set may have its own queue.py. That
# directory is right only if catseye itself is in it.
if __name__ == "__main__" and sys.path and os.path.realpath(sys.path[0] or os.curdir) == os.path.realpath(os.curdir):
    _here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120 - pathlib is not loaded yet
    if _here != os.path.realpath(os.curdir):
        del sys.path[0]

import atexit
import signal
from types import FrameType
from typing import NoReturn


def _end(number: int, _: FrameType | None) -> NoReturn:
    # Not by an exception: a module that tests an optional import may catch it.
    os._exit(128 + number)


def _end_unbegun(number: int, _: FrameType | None) -> NoReturn:
    os.write(2, b"stopped before any work began; nothing was saved\n")
    os._exit(128 + number)


def run_cli() -> None:
    """Run the command line and end with its exit code."""
    # The first process of a container gets only the signals that it handles. Without this, a SIGTERM that comes before
    # the verb's own handler is lost, and the container is killed half a minute later.
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end)
    is_default = (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )  # a shell's background commands ignore it
    if is_default:
        signal.signal(signal.SIGINT, _end_unbegun)
    from catseye.cli import main as run

    if is_default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    except SystemExit as end:
        if end.code != 128 + signal.SIGINT:
            raise
        # A module that was interrupted while loading can crash the interpreter at its shutdown, or make it end by the
        # signal instead of with this code.
        atexit._run_exitfuncs()
        os._exit(end.code)


if __name__ == "__main__":
    run_cli()
