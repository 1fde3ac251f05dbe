"""The folder in which several workers keep their counters, so that each can tell the sum of all.

Enters: nothing. Leaves: a folder of this server's own, held with a lock for as long as it or a worker of it lives.
Folders of servers that were killed are swept away by the next one. Called by supervisor, worker and command.
"""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from catseye.errors import CatseyeError

PREFIX = "catseye-metrics-"
SWITCH = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own; it also reads the small letters
_LOCK = "lock"


def use_metrics_folder(folder: str) -> None:
    """Count there from now on; empty: in memory. Whatever the variable said before was meant for another program.

    Before prometheus_client is imported: it looks once.
    """
    for name in (SWITCH, SWITCH.lower()):
        os.environ.pop(name, None)
    if folder:
        os.environ[SWITCH] = folder


def new_metrics_folder() -> Path:
    """A new folder where temporary files go, after those of dead servers were removed.

    Raises:
        CatseyeError: there is no place for it.

    """
    for place in _temporary_folders():
        with suppress(OSError):
            _remove_dead(place)
            return Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    raise CatseyeError(
        "several workers count in a folder for temporary files; got none that can be written; "
        "name one: TMPDIR=/a/folder catseye serve … --workers N, or serve with one worker"
    )


def _temporary_folders() -> list[Path]:
    shared_memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a folder of our own in it
    try:
        found = Path(tempfile.gettempdir())
    except OSError:  # no /tmp, or it cannot be written
        return [shared_memory]
    # Python falls back to the working directory, where no one would look for these folders.
    return [shared_memory, found] if found == Path.cwd() else [found, shared_memory]


def hold_metrics_folder(folder: Path) -> int:
    """Mark it as in use until the returned descriptor is closed, as the kernel does when a process is killed."""
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
    import fcntl  # several workers share a socket, which Windows' processes do not

    kind = fcntl.LOCK_EX | fcntl.LOCK_NB if only_if_free else fcntl.LOCK_SH
    try:
        fcntl.flock(descriptor, kind)
    except BlockingIOError:
        return False
    return True
