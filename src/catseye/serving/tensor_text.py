"""Reads JSON with one long array of numbers without blocking other requests.

Enters: the text of a request of the Open Inference Protocol. Leaves: what `json.loads` would give, except that a long
array of numbers is a NumPy array. Called by `inference_v2.py`; in a thread if the text is long.

`json.loads` holds the interpreter lock until it is done, even in a thread: a second or more for the largest body. So
the long part, digits between brackets, is cut out first and read in short pieces, between which other threads can run;
the rest has to be short.
"""

import json
import re
import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONG_BYTES = 16_384  # from this size on an array is read in pieces, and the whole text in a thread
MAX_REST_BYTES = 262_144  # of a text without its long arrays
_PIECE = 32_768
MAX_BRACKETS = 4_000_000
# Matches only from the beginning of a run and never backtracks: else many opening brackets would take forever.
_LONG_RUN = re.compile(rb"(?<![0-9eE+\-.,\[\]\s])[0-9eE+\-.,\[\]\s]{%d,}+" % LONG_BYTES)
_NO_BRACKETS = bytes.maketrans(b"[]", b"  ")
_NO_BRACKET = bytes(set(range(256)) - set(b"[]"))


@dataclass(frozen=True, eq=False)
class LongArray:
    """The numbers of a long array, flat."""

    values: NDArray[np.float64]


def read_tensor_json(text: bytes) -> Any:
    """The parsed text; a long array of numbers, nested or not, is a `LongArray`.

    Raises:
        ValueError: it is not JSON, holds NaN or infinity, or something long besides numbers. RecursionError.

    """
    arrays: dict[str, bytes] = {}
    nonce = secrets.randbits(48) | 1 << 47  # so that no request can contain our mark

    def cut(match: re.Match[bytes]) -> bytes:
        run, mark = match[0], f"{len(arrays)}.0e{nonce}"
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
    """The numbers of `data`, flat.

    Text, true and null are refused, though NumPy would convert them.

    Raises:
        ValueError: it holds anything but numbers, or its rows differ in length. OverflowError. RecursionError.

    """
    if isinstance(data, LongArray):
        return data.values
    numbers = np.array(data, np.float64).ravel()
    if not _only_numbers(data):
        raise ValueError("no numbers")
    return numbers


def _only_numbers(data: Any) -> bool:
    if isinstance(data, list):
        return all(map(_only_numbers, data))
    return type(data) is int or type(data) is float


def _numbers(text: bytes) -> NDArray[np.float64]:
    """The numbers of a JSON array, flat.

    Brackets are ignored: the request gives the shape, and the protocol allows any nesting.
    """
    _require_one_array(text)
    pieces = []
    at = 0
    while at < len(text):
        end = text.find(b",", at + _PIECE)
        end = len(text) if end < 0 else end
        piece = text[at:end].translate(_NO_BRACKETS)
        try:
            pieces.append(np.array(json.loads(b"[" + piece + b"]"), np.float64))
        except OverflowError:
            raise ValueError("a number of hundreds of digits") from None
        if not pieces[-1].size:  # two commas, or nothing at all
            raise ValueError("no number")
        at = end + 1
    return np.concatenate(pieces)


def _require_one_array(text: bytes) -> None:
    """Every bracket is closed, and the first one by the last."""
    brackets = np.frombuffer(text.translate(None, _NO_BRACKET), np.uint8)
    if len(brackets) > MAX_BRACKETS:
        raise ValueError("too many brackets")
    depth = np.cumsum(np.where(brackets == ord("["), 1, -1).astype(np.int32))
    if depth[-1] != 0 or (depth[:-1] <= 0).any():
        raise ValueError("brackets do not match")


def _no_constant(name: str) -> float:
    raise ValueError(name)
