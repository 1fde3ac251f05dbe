"""The file of decisions: one writer, each row on the disk before it counts.

Enters: decisions. Leaves: rows of corrections.csv. Called by the desks of this room. The file is only ever appended to;
an incomplete last row, left by a kill, is removed when the file is opened again: that decision was never confirmed.
"""

import getpass
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from catseye.counting import count
from catseye.data.sources.corrections import HEADER, Correction, Standing, parse_corrections, standing
from catseye.errors import SaveError, UsageError
from catseye.files import sync_folder


class CorrectionLog:
    """The file of decisions, locked against every other process."""

    def __init__(self, path: Path, who: str = "") -> None:
        self.path = path.absolute()
        self.who = who or _user()
        self.rows: list[Correction] = []
        try:
            new = not self.path.exists()
            self._descriptor = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666
            )
        except OSError as error:
            raise UsageError(f"--out {path} cannot be written ({error.strerror}); give another file") from None
        try:
            _hold(self._descriptor, self.path)
            content = self._read()
            self.rows, end = parse_corrections(content, str(self.path))
            if end < len(content):
                os.ftruncate(self._descriptor, end)
                os.fsync(self._descriptor)
            if not end:
                self._write(HEADER)
            if new:
                sync_folder(self.path.parent)
        except BaseException:
            os.close(self._descriptor)
            raise

    def close(self) -> None:
        """Release the file."""
        os.close(self._descriptor)

    @property
    def standing(self) -> Standing:
        """The decisions in force."""
        return standing(self.rows)

    def stamp(self) -> str:
        """The current time in the format of the file."""
        return datetime.now().astimezone().isoformat(timespec="seconds")

    def append(self, rows: Sequence[Correction]) -> None:
        """Add decisions; when this returns they are safe from a power cut.

        Raises:
            SaveError: the disk is full or fails; the file is unchanged.

        """
        self._write(b"".join(row.row() for row in rows))
        self.rows += rows

    def _read(self) -> bytes:
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        parts = []
        while part := os.read(self._descriptor, 1 << 20):
            parts.append(part)
        return b"".join(parts)

    def _write(self, content: bytes) -> None:
        before = os.fstat(self._descriptor).st_size
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, before)
            raise SaveError(
                f"{self.path} cannot be written ({error.strerror}); the decision is not kept, "
                f"{count(len(self.rows), 'row')} before it are"
            ) from None


def _hold(descriptor: int, path: Path) -> None:
    """Lock an open file against other processes, if the system can.

    Raises:
        UsageError: another process has locked it.

    """
    try:
        import fcntl
    except ImportError:  # Windows: another page's rows would still be whole rows
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"another page writes to {path}; close that one, or choose another file with --out") from None
    except OSError:  # some network file systems cannot lock
        pass


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for this user id
        return ""
