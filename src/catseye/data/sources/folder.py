"""All files below a folder, and a reader for them.

Called by `open_data.py` (folders) and `table.py` (lists).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from catseye.data.sources.image_set import printable_name
from catseye.data.sources.leftovers import is_leftover
from catseye.errors import DataError, ImageError
from catseye.preprocess import read_file


@dataclass(frozen=True)
class FolderReader:
    """Reads files below one folder."""

    root: Path
    names: Sequence[str]

    def __call__(self, index: int) -> bytes:
        """The file's bytes."""
        return read_file(self.root / self.names[index])

    def size_bytes(self, index: int) -> int:
        """The file's size."""
        try:
            return os.stat(os.path.join(self.root, self.names[index])).st_size  # noqa: PTH116, PTH118  (a Path is slow)
        except (OSError, ValueError) as error:
            raise ImageError(f"{self.root / self.names[index]} cannot be read ({error})") from None


def walk_files(root: Path) -> tuple[list[str], list[str]]:
    """All files and folders below `root`, without leftovers, in no order.

    Names are relative to it, with forward slashes. Links to folders are followed, but not back to a folder above.

    Raises:
        DataError: a folder cannot be listed.

    """
    files: list[str] = []
    folders: list[str] = []
    stack: list[tuple[str, tuple[Path, ...]]] = [("", (root.resolve(),))]  # folder, and the real paths above it
    while stack:
        prefix, above = stack.pop()
        try:
            with os.scandir(root / prefix) as entries:  # entry by entry: a folder may hold a million
                for entry in entries:
                    if is_leftover(entry.name):
                        continue
                    name = f"{prefix}{entry.name}"
                    if entry.is_dir():
                        folders.append(name)
                        real = Path(entry.path).resolve() if entry.is_symlink() else above[-1] / entry.name
                        if real not in above:
                            stack.append((f"{name}/", (*above, real)))
                    elif entry.is_file() or entry.is_symlink():
                        files.append(name)
        except OSError as error:
            place = printable_name(str(root / prefix))
            raise DataError(
                f"folder {place} cannot be listed ({error.strerror}); make it readable for your user, or move it out "
                "of DATA"
            ) from None
    return files, folders
