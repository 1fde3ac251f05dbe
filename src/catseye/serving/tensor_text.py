"""JSON with one long array of numbers, read without stopping everybody else.

Enters: the text of a request of the Open Inference Protocol. Leaves: what `json.loads` would give, except that a long
array of numbers is an array of NumPy. Called by `inference_v2.py`, in a thread where the text is long.

`json.loads` keeps the interpreter to itself until it is done: a second and more for the text of a full body, thread or
not. So the one thing in it that is long, digits between brackets, is cut out first and read in short pieces, between
which others have their turn; what is left has to be short.
"""

import json
import re
import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONG_BYTES = 16_384  # from here on an array is read in pieces, and the whole text in a thread
MAX_REST_BYTES = 262_144  # of a text without its long arrays
_PIECE = 32_768
MAX_BRACKETS = 4_000_000
# Tried at the beginning of a run only, and never given back: else a row of opening brackets would take for ever.
_LONG_RUN = re.compile(rb"(?<![0-9eE+\-.,\[\]\s])[0-9eE+\-.,\[\]\s]{%d,}+" % LONG_BYTES)
_NO_BRACKETS = bytes.maketrans(b"[]", b"  ")
_NO_BRACKET = bytes(set(range(256)) - set(b"[]"))


@dataclass(frozen=True, eq=False)
class LongArray:
    """Numbers that stood in a long array, flat."""

    values: NDArray[np.float64]


def read_tensor_json(text: bytes) -> Any:
    """What the text says; a long array of numbers, nested or not, as a `LongArray`.

    Raises:
        ValueError: it is no JSON, holds NaN or infinity, or more than numbers where it is long. RecursionError.

    """
    arrays: dict[str, bytes] = {}
    nonce = secrets.randbits(48) | 1 << 47  # nobody can write our mark into a request

    def cut(found: re.Match[bytes]) -> bytes:
        run, mark = found[0], f"{len(arrays)}.0e{nonce}"
        begin, end = run.find(b"["), run.rfind(b"]") + 1
        if begin < 0 or end <= begin:
            return run
        arrays[mark] = run[begin:end]
        return run[:begin] + mark.encode() + run[end:]

    if len(text) > LONG_BYTES:
        text = _LONG_RUN.sub(cut, text)
        if len(text) > MAX_REST_BYTES:
            raise ValueError("too long")

    def number(digits: str) -> Any:
        return LongArray(_numbers(arrays[digits])) if digits in arrays else float(digits)

    return json.loads(text, parse_constant=_no_constant, parse_float=number)


def numbers_of(data: Any) -> NDArray[np.float64]:
    """The numbers of `data`, flat. Text, true and null are no numbers, though NumPy would take them for some.

    Raises:
        ValueError: there is something else in it, or its rows differ in length. OverflowError. RecursionError.

    """
    if isinstance(data, LongArray):
        return data.values
    found = np.array(data, np.float64).ravel()
    if not _only_numbers(data):
        raise ValueError("no numbers")
    return found


def _only_numbers(data: Any) -> bool:
    if isinstance(data, list):
        return all(map(_only_numbers, data))
    return type(data) is int or type(data) is float


def _numbers(text: bytes) -> NDArray[np.float64]:
    """Brackets are left out: how the numbers are nested is said by the shape, and the protocol allows any way."""
    _require_one_array(text)
    found = []
    at = 0
    while at < len(text):
        end = text.find(b",", at + _PIECE)
        end = len(text) if end < 0 else end
        piece = text[at:end].translate(_NO_BRACKETS)
        try:
            found.append(np.array(json.loads(b"[" + piece + b"]"), np.float64))
        except OverflowError:
            raise ValueError("a number of hundreds of digits") from None
        if not found[-1].size:  # two commas, or nothing at all
            raise ValueError("no number")
        at = end + 1
    return np.concatenate(found)


def _require_one_array(text: bytes) -> None:
    """Each bracket has its partner, and the first one's is the last one."""
    brackets = np.frombuffer(text.translate(None, _NO_BRACKET), np.uint8)
    if len(brackets) > MAX_BRACKETS:
        raise ValueError("too many brackets")
    depth = np.cumsum(np.where(brackets == ord("["), 1, -1).astype(np.int32))
    if depth[-1] != 0 or (depth[:-1] <= 0).any():
        raise ValueError("brackets do not match")


def _no_constant(name: str) -> float:
    raise ValueError(name)
