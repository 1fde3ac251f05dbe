"""Safetensors files with a seal: a sha256 that detects any changed bit.

Enters: tensors and texts. Leaves: a file, or its content; the seal is over all that the file holds. Called by runs.py
and everything that stores tensors.
"""

import json
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as render_tensors
from torch import Tensor

from catseye.errors import ModelFileError
from catseye.files import write_atomically

MAX_HEADER_BYTES = 32_000_000  # a manifest may have 8 MB, and JSON in JSON is longer
_SEAL = "sha256"


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, previous: Path | None = None
) -> None:
    """Write a safetensors file with a sha256 over its content, atomically.

    `previous` keeps the old file under that name.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = render_tensors(plain, {**metadata, _SEAL: _seal(plain, metadata)})
    write_atomically(path, content, previous=previous)


def read_tensors(path: Path, *, sealed: bool = False) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; nothing in it is ever executed.

    A sha256 in it must match; with `sealed` there must be one.

    Raises:
        ModelFileError: it is missing, damaged or of another format.

    """
    return parse_tensor_file(read_whole(path), path, sealed=sealed)


def read_whole(path: Path) -> bytes:
    """The bytes of a file, read once.

    The same bytes are then checked, used and hashed.

    Raises:
        ModelFileError: it cannot be read.

    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror})") from None


def parse_tensor_file(content: bytes, path: Path, *, sealed: bool = False) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata from the bytes of a safetensors file.

    `path` is for messages. A sha256 in it must match; with `sealed` there must be one.

    Raises:
        ModelFileError: they are damaged or of another format.

    """
    try:
        metadata = _check_header(content)
        tensors = parse_tensors(content)
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is not a valid safetensors file ({error})") from None
    except (TypeError, KeyError, AttributeError):
        raise ModelFileError(f"{path} is not a valid safetensors file (its header is malformed)") from None
    seal = metadata.pop(_SEAL, None)
    if (seal is not None or sealed) and seal != _seal(tensors, metadata):
        raise ModelFileError(f"{path} is damaged: its content does not match its sha256; use another copy")
    return tensors, metadata


def _check_header(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file, after a check of its header.

    Names must be unique, and every byte must belong to one tensor. Two readers could see different models in any other
    file; the safetensors library takes the last of equal names.

    Raises:
        ValueError: the header is wrong.

    """
    size = int.from_bytes(content[:8], "little")
    if not 2 <= size <= min(MAX_HEADER_BYTES, len(content) - 8):
        raise ValueError(f"a header has 2 to {MAX_HEADER_BYTES:,} bytes inside the file; got {size:,}")
    header = json.loads(content[8 : 8 + size], object_pairs_hook=_named_once)
    metadata: dict[str, str] = dict(header.pop("__metadata__", None) or {})
    place = 0
    for begin, end in sorted(tuple(entry["data_offsets"]) for entry in header.values()):
        if begin != place or end < begin:
            raise ValueError(f"its tensors overlap or leave a gap at byte {min(begin, place)}")
        place = end
    if place != len(content) - 8 - size:
        raise ValueError(f"its tensors end at byte {place:,} of {len(content) - 8 - size:,}")
    return metadata


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"it names {twice[:80]!r} twice")
    return entries


def _seal(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """A sha256 over metadata, names, types, shapes and bytes.

    It does not depend on their order in the file.
    """
    digest = sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
