"""The start of `catseye` and `python -m catseye`: a signal that comes while modules load is heard too."""

import os
import signal
import sys
from types import FrameType


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


# The kernel spares the first process of a container every signal that it does not handle. Without this, a SIGTERM
# before the verb's own handler is lost, and the container is killed half a minute later.
if os.getpid() == 1:
    signal.signal(signal.SIGTERM, _end)

from catseye.cli import main  # noqa: E402 - loading it is what takes long

if __name__ == "__main__":
    main()
