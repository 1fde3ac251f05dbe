"""The folder in which workers keep their counters, so that each reports the sum.

Enters: nothing. Leaves: a folder of this server's own, locked for as long as the server or one of its workers lives.
The next server removes the folders of servers that were killed. Called by supervisor, worker and command.
"""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from catseye.errors import CatseyeError

PREFIX = "catseye-metrics-"
SWITCH = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's variable; it also reads it in lower case
_LOCK = "lock"


def use_metrics_folder(folder: str) -> None:
    """Keep the counters in `folder`, or in memory if that is empty.

    An earlier value of the variable was meant for another program. Call this before prometheus_client is imported,
    which reads the variable only once.
    """
    for name in (SWITCH, SWITCH.lower()):
        os.environ.pop(name, None)
    if folder:
        os.environ[SWITCH] = folder


def new_metrics_folder() -> Path:
    """A new temporary folder, after the folders of dead servers have been removed.

    Raises:
        CatseyeError: no folder for temporary files can be written to.

    """
    for place in _temporary_folders():
        with suppress(OSError):
            _remove_dead(place)
            return Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    raise CatseyeError(
        "several workers keep their counters in a folder for temporary files; none can be written to; "
        "name one: TMPDIR=/a/folder catseye serve … --workers N, or serve with one worker"
    )


def _temporary_folders() -> list[Path]:
    shared_memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a folder of our own in it
    try:
        default = Path(tempfile.gettempdir())
    except OSError:  # no /tmp, or it cannot be written
        return [shared_memory]
    # Python falls back to the working directory, which is no place for these folders.
    return [shared_memory, default] if default == Path.cwd() else [default, shared_memory]


def hold_metrics_folder(folder: Path) -> int:
    """Mark the folder as in use until the returned descriptor is closed.

    The kernel closes it when a process is killed.
    """
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _lock(descriptor, only_if_free=False)
    return descriptor


def _remove_dead(place: Path) -> None:
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or gone already
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(folder / _LOCK, os.O_RDWR)
            try:
                if _lock(descriptor, only_if_free=True):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _lock(descriptor: int, *, only_if_free: bool) -> bool:
    import fcntl  # not on Windows, where processes cannot share a socket and there is one worker

    kind = fcntl.LOCK_EX | fcntl.LOCK_NB if only_if_free else fcntl.LOCK_SH
    try:
        fcntl.flock(descriptor, kind)
    except BlockingIOError:
        return False
    return True
