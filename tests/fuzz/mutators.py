"""Mutations that keep a format's frame: JSON stays JSON, lengths stay right, so that what lies behind them is reached.

Enters: an input and a source of chance. Leaves: another input. libFuzzer's own mutation is used as often, and inside
texts; `blind` is that one.
"""

import json
import random
from collections.abc import Callable
from typing import Any

from tests.fuzz.entries import MARK

Blind = Callable[[bytes], bytes]
_ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 10**30, 1e308, -0.0, 0.5, "", "a", "\ud800", "\0", "x" * 300,
    [], {},
    [[]], [None], [1, "a"], {"a": None}, "catseye", "F32", "image",
)  # fmt: skip
_NUMBERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 2**16, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
_DEEPEST = 8


def mutated(name: str, data: bytes, chance: random.Random, blind: Blind) -> bytes:
    """One step away from `data`."""
    change = _FRAMES.get(name)
    if change is None or chance.random() < 0.4:
        return blind(data)
    try:
        return change(data, chance, blind)
    except (ValueError, RecursionError, IndexError, KeyError):
        return blind(data)


# --- JSON -------------------------------------------------------------------------------------------------------------


def _json(data: bytes, chance: random.Random, blind: Blind) -> bytes:
    said = json.loads(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        said = _changed(said, chance, blind)
    return json.dumps(said).encode()


def _changed(said: Any, chance: random.Random, blind: Blind) -> Any:
    """A copy with one place changed."""
    if isinstance(said, dict) and said and chance.random() < 0.85:
        key = chance.choice(list(said))
        how = chance.random()
        if how < 0.1:
            return {name: value for name, value in said.items() if name != key}
        if how < 0.2:
            return {**said, _text(key, blind): said[key]}
        return {**said, key: _changed(said[key], chance, blind)}
    if isinstance(said, list) and said and chance.random() < 0.85:
        at = chance.randrange(len(said))
        how = chance.random()
        if how < 0.1:
            return said[:at] + said[at + 1 :]
        if how < 0.2:
            return said[:at] + [said[at]] * chance.choice((2, 3, 50)) + said[at:]
        return [*said[:at], _changed(said[at], chance, blind), *said[at + 1 :]]
    if isinstance(said, str) and chance.random() < 0.5:
        return _text(said, blind)
    if isinstance(said, int | float) and chance.random() < 0.5:
        return said * chance.choice((-1, 2, 10, 1000, 0.5)) + chance.choice((-1, 0, 1))
    return chance.choice(_ODD)


def _text(said: str, blind: Blind) -> str:
    return blind(said.encode("utf-8", "replace")).decode("utf-8", "replace")


def _behind_length(num_bytes: int) -> Callable[[bytes, random.Random, Blind], bytes]:
    def change(data: bytes, chance: random.Random, blind: Blind) -> bytes:
        size = int.from_bytes(data[:num_bytes], "little")
        text = _json(data[num_bytes : num_bytes + size], chance, blind)
        return len(text).to_bytes(num_bytes, "little") + text + data[num_bytes + size :]

    return change


def _tensor_request(data: bytes, chance: random.Random, blind: Blind) -> bytes:
    said, _, body = data.partition(b"\n")
    if said == b"-":
        return b"-\n" + _json(body, chance, blind)
    text = _json(body[: int(said)], chance, blind)
    return b"%d\n" % len(text) + text + body[int(said) :]


def _ir(data: bytes, chance: random.Random, blind: Blind) -> bytes:
    size = int.from_bytes(data[:4], "little")
    xml, weights = data[4 : 4 + size], data[4 + size :]
    xml, weights = (blind(xml), weights) if chance.random() < 0.9 else (xml, blind(weights))
    return len(xml).to_bytes(4, "little") + xml + weights


def _entries(data: bytes, chance: random.Random, blind: Blind) -> bytes:
    if data[:1] != b"E":
        return blind(data)
    pieces = data[1:].split(MARK)
    at = chance.randrange(len(pieces))
    if chance.random() < 0.05 and len(pieces) > 2:
        pieces[at : at + 2] = []
    elif pieces[at][:1] in b"{[" and chance.random() < 0.7:
        pieces[at] = _json(pieces[at], chance, blind)
    else:
        pieces[at] = blind(pieces[at])
    return b"E" + MARK.join(pieces)


# --- protobuf ---------------------------------------------------------------------------------------------------------


def _protobuf(data: bytes, chance: random.Random, blind: Blind) -> bytes:
    """Without a schema: whatever reads as a message is taken for one."""
    fields = _message(data, 0)
    if fields is None:
        return blind(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        _change_field(fields, chance, blind)
    return _bytes_of(fields)


def _message(data: bytes, depth: int) -> list[list[Any]] | None:
    """[tag, value] in a list each; value: a number, bytes or a message. None where it is no message."""
    fields: list[list[Any]] = []
    at = 0
    while at < len(data):
        tag, at = _number(data, at)
        wire = tag & 7
        if not 0 < tag >> 3 < 100:
            return None
        if wire == 0:
            value, at = _number(data, at)
            fields.append([tag, value])
            continue
        size = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            size, at = _number(data, at)
        if size is None or size > len(data) - at:
            return None
        piece = data[at : at + size]
        at += size
        inner = None
        if wire == 2 and piece and depth < _DEEPEST:
            try:
                inner = _message(piece, depth + 1)
            except IndexError:
                inner = None
        fields.append([tag, piece if inner is None else inner])
    return fields


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise IndexError("no number")


def _bytes_of(fields: list[list[Any]]) -> bytes:
    out = bytearray()
    for tag, value in fields:
        out += _written(tag)
        if isinstance(value, int):
            out += _written(value)
            continue
        piece = _bytes_of(value) if isinstance(value, list) else value
        if tag & 7 == 2:
            out += _written(len(piece))
        out += piece
    return bytes(out)


def _written(value: int) -> bytes:
    out = bytearray()
    value &= 2**64 - 1
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _change_field(fields: list[list[Any]], chance: random.Random, blind: Blind) -> None:
    if not fields:
        return
    at = chance.randrange(len(fields))
    tag, value = fields[at]
    how = chance.random()
    if isinstance(value, list) and how < 0.85:
        _change_field(value, chance, blind)
    elif how < 0.1:
        del fields[at]
    elif how < 0.2:
        fields[at:at] = [list(fields[at])] * chance.choice((1, 1, 2, 20))
    elif how < 0.25:
        fields[at] = [(chance.randrange(1, 30) << 3) | tag & 7, value]
    elif how < 0.3:
        fields[at] = list(chance.choice(fields))
    elif isinstance(value, int):
        fields[at][1] = (
            chance.choice(_NUMBERS) if chance.random() < 0.5 else max(0, value + chance.choice((-1, 1, 2, 8)))
        )
    elif isinstance(value, list):
        fields[at][1] = []
    elif tag & 7 == 2:
        fields[at][1] = _json(value, chance, blind) if value[:1] == b"{" else blind(value)
    else:
        fields[at][1] = chance.randbytes(len(value))


_FRAMES: dict[str, Callable[[bytes, random.Random, Blind], bytes]] = {
    "event": _json,
    "plan": _json,
    "v2": _tensor_request,
    "safetensors": _behind_length(8),
    "engine": _behind_length(4),
    "openvino": _ir,
    "torch": _entries,
    "zip": _entries,
    "onnx": _protobuf,
}
