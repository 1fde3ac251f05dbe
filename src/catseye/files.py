"""Files that are complete or absent: written beside their place, then renamed.

Enters: a path and everything the file is to hold. Leaves: that file, or the old one and a `SaveError`. The file is
synced before it is renamed, the folder after it. Called by runs.py and everything that writes into a run folder.
`path_of` is for everything that takes a model.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from catseye.errors import SaveError, UsageError

StrPath = str | os.PathLike[str]
"""A path, or an object that has one: a run, what `train` returns, a loaded classifier, an exported file."""
RETRY_AFTER_S = 0.2
_FULL = (errno.ENOSPC, errno.EDQUOT)
_held: set[int] = set()


def path_of(model: StrPath) -> Path:
    """The path of a model.

    Raises:
        UsageError: it is neither a path nor an object that has one.

    """
    try:
        return Path(os.fspath(model))
    except TypeError:
        kind = type(model).__name__
        raise UsageError(
            f"a model is a path, or what catseye.train, open_run, load or export returns; got an object of type {kind}"
        ) from None


def write_atomically(path: Path, content: bytes | str, *, previous: Path | None = None) -> None:
    """Write a file beside its place, sync it, rename it.

    Afterwards the file is the new one or still the old one. With `previous`, the old file is kept under that name.
    After an input/output error of the disk, the step is tried once more.

    Raises:
        SaveError: the disk is full, fails twice, or the folder may not be written to.

    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    whole = content.encode() if isinstance(content, str) else content
    try:
        _twice(lambda: _write_synced(beside, whole))
        if previous is not None and path.exists():
            # Between this and the next line the newest file has the older name: readers check both.
            _twice(lambda: path.replace(previous))
        _twice(lambda: beside.replace(path))
        _twice(lambda: sync_folder(path.parent))
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        cause = "the disk is full" if error.errno in _FULL else error.strerror
        raise SaveError(f"{path} cannot be written ({cause}); what was saved before is intact") from None


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _twice(act: Callable[[], object]) -> None:
    # A write is repeated from its first byte: after a failed fsync the kernel may have dropped any of them.
    try:
        act()
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        time.sleep(RETRY_AFTER_S)
        act()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, as fsync does for the bytes of a file."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they survive a power failure.

    Raises:
        OSError: it cannot be made.

    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_folder(each.parent)


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes that do the same.

    Unlike a lock file, this lock cannot be deleted. If the system cannot lock folders (Windows, some network file
    systems), this does nothing.

    Raises:
        BlockingIOError: another process holds it.

    """
    if os.name != "posix":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    _held.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass
        yield
    finally:
        if descriptor in _held:  # a forked process has closed it already
            _held.remove(descriptor)
            os.close(descriptor)


def _let_go() -> None:
    # A loader process that briefly outlives a killed trainer must not keep its folder locked.
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def remove_leftovers(folder: Path) -> None:
    """Remove unfinished files of a killed process."""
    for path in folder.glob(".*.new"):
        with suppress(OSError):
            path.unlink()
