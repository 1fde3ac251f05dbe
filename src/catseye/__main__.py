"""The start of `catseye` and `python -m catseye`: a signal that comes while modules load is heard too."""

import os
import sys

# `python -m` looks for modules in the working directory first, where a data set may hold a queue.py of its own. Only
# where catseye itself lies there is that directory meant.
if __name__ == "__main__" and sys.path and os.path.realpath(sys.path[0] or os.curdir) == os.path.realpath(os.curdir):
    _here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120 - pathlib is not loaded yet
    if _here != os.path.realpath(os.curdir):
        del sys.path[0]

import signal
from types import FrameType


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


# The kernel spares the first process of a container every signal that it does not handle. Without this, a SIGTERM
# before the verb's own handler is lost, and the container is killed half a minute later.
if os.getpid() == 1:
    signal.signal(signal.SIGTERM, _end)

try:
    from catseye.cli import main
except BaseException as error:  # Ctrl-C while modules load
    from catseye.errors import was_interrupted

    if not was_interrupted(error):
        raise
    sys.exit(130)

if __name__ == "__main__":
    main()
