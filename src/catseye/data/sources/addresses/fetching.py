"""Opens files at an address. Called by remote.py and hub_sets.py."""

import io
import os
from typing import Any


def open_seekable(system: Any, path: str) -> Any:
    """A file of an fsspec file system that can be read at any position.

    It is downloaded whole if the server does not send parts of files.
    """
    stream = system.open(path, "rb")
    try:
        stream.seek(-8, os.SEEK_END)
        stream.read(8)
    except (OSError, ValueError):
        return io.BytesIO(system.cat_file(path))
    stream.seek(0)
    return stream


def reason_of(error: Exception) -> str:
    """The first line of an error (at most 200 characters), or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
