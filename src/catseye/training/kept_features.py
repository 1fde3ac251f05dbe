"""Features of a frozen backbone in the folder of an unfinished run.

A resumed run need not compute them again.

Enters: tensors, and what they depend on. Leaves: the same tensors, unless that has changed. Called by network.py,
run_folder.py and the trials.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor

from catseye.errors import ModelFileError
from catseye.runs import FEATURES_FILE
from catseye.tensor_files import read_tensors, write_tensors

MOST_BYTES = 1_000_000_000  # larger ones are computed again: writing them takes too long
_KEY = "of"


def features_key(**parts: Any) -> str:
    """A digest of what features depend on."""
    return sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def keep_features(path: Path, tensors: Mapping[str, Tensor], key: str) -> None:
    """Write them, unless they are too large."""
    if sum(each.numel() * each.element_size() for each in tensors.values()) <= MOST_BYTES:
        write_tensors(path, tensors, {_KEY: key})


def find_features(path: Path, key: str) -> dict[str, Tensor] | None:
    """The features kept for this key, or None.

    None if the file is missing, damaged or has another key.
    """
    if not path.exists():
        return None
    try:
        tensors, metadata = read_tensors(path, sealed=True)
    except ModelFileError:
        return None
    return tensors if metadata.get(_KEY) == key else None


def drop_features(folder: Path) -> None:
    """Remove all of them from a run folder."""
    stem = FEATURES_FILE.partition(".")[0]
    for path in folder.glob(f"{stem}*.safetensors"):
        path.unlink(missing_ok=True)
