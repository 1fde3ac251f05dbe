"""What is inside an ONNX file, read from its bytes alone; nothing is run.

A short protobuf reader, because the runtime has no `onnx` package, and because an untrusted file is checked before
ONNX Runtime reads it (ONNX Runtime 1.32 reads external data below the working directory even for a model passed as
bytes). It knows only the messages that can contain a tensor: graphs, nodes, attributes, subgraphs, functions, training
graphs, sparse tensors. Called by `onnx.py`.

Source: field numbers of onnx/onnx.proto (IR version 13); wire format of protobuf.dev/programming-guides/encoding.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from catseye.errors import ModelFileError

# A ResNet-50 has 10,000; a file with far more is made to exhaust its reader: each field may become an object of 250
# bytes in ONNX Runtime, and once did here.
MAX_FIELDS = 500_000
MAX_DEPTH = 100  # protobuf's own limit
MAX_ELEMENTS = 2**40
# Operators of other domains need code or files of their own; a classifier needs neither.
DOMAINS = {"", "ai.onnx", "com.microsoft"}
REFUSED = {"EPContext"}  # names a file with a compiled graph

_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 14: "metadata", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "initializer", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
# What `_record` reads, by field number.
_KEPT = {
    "model": frozenset({1, 2, 3, 7}),
    "opset": frozenset({1, 2}),
    "metadata": frozenset({1, 2}),
    "node": frozenset({4, 7}),
    "initializer": frozenset({1, 2, 4, 9, 13, 14}),
    "tensor": frozenset({1, 2, 4, 9, 13, 14}),
}
_FLOATS = {1: "<f4", 10: "<f2", 11: "<f8"}  # TensorProto.DataType: FLOAT, FLOAT16, DOUBLE

Value = int | memoryview
_EMPTY = memoryview(b"")


@dataclass
class Structure:
    """The contents of an ONNX file.

    `num_parameters` counts the elements of all initialisers.
    """

    ir_version: int = 0
    producer: str = ""
    opset: int = 0
    operators: Counter[str] = field(default_factory=Counter)
    metadata: dict[str, str] = field(default_factory=dict)
    num_parameters: int = 0
    has_graph: bool = False


class _Damaged(ValueError):
    """The bytes are not a valid protobuf message."""


class _Message:
    """A message that is being read; `kept` has the fields that `_record` reads."""

    def __init__(self, kind: str, view: memoryview, budget: list[int]) -> None:
        self.kind = kind
        self.kept: list[tuple[int, int, Value]] = []
        self._children, self._wanted = _CHILDREN.get(kind, {}), _KEPT.get(kind, frozenset())
        self._fields = _fields(view, budget)

    def next_child(self) -> tuple[str, memoryview] | None:
        """Kind and bytes of the next message inside; None at the end."""
        for number, wire, value in self._fields:
            if number in self._wanted:
                self.kept.append((number, wire, value))
            if number in self._children:
                if wire != _LENGTH or isinstance(value, int):
                    raise _Damaged(f"field {number} of a {self.kind} is not a message")
                return self._children[number], value
        return None


def read_structure(content: bytes, source: str) -> Structure:
    """Read an ONNX file's bytes and refuse what an untrusted file must not contain.

    Raises:
        ModelFileError: not an ONNX model, weights in other files, weights with NaN, or foreign operators.

    """
    structure = Structure()
    budget = [MAX_FIELDS]
    # Depth first, one message at a time: memory grows with the nesting and not with the number of fields.
    open_messages = [_Message("model", memoryview(content), budget)]
    try:
        while open_messages:
            message = open_messages[-1]
            child = message.next_child()
            if child is None:
                _record(structure, message.kind, message.kept, source)
                open_messages.pop()
            elif len(open_messages) == MAX_DEPTH:
                raise _Damaged(f"messages nested more than {MAX_DEPTH} deep")
            else:
                open_messages.append(_Message(*child, budget))
    except (_Damaged, UnicodeDecodeError) as error:
        raise ModelFileError(f"{source} is not an ONNX file ({error})") from None
    if not structure.has_graph or not structure.ir_version:
        raise ModelFileError(f"{source} is not an ONNX file (no graph in it)")
    return structure


def _record(structure: Structure, kind: str, fields: list[tuple[int, int, Value]], source: str) -> None:
    if kind == "model":
        structure.has_graph = any(number == 7 for number, _, _ in fields)
        structure.ir_version = max((_int(value) for number, _, value in fields if number == 1), default=0)
        structure.producer = " ".join(_field_text(value) for number, _, value in fields if number in (2, 3))
    elif kind == "opset":
        values = {number: value for number, _, value in fields}
        if _field_text(values.get(1, _EMPTY)) in ("", "ai.onnx"):
            structure.opset = _int(values.get(2, 0))
    elif kind == "metadata":
        values = {number: value for number, _, value in fields}
        key, text = (_field_text(values.get(place, _EMPTY)) for place in (1, 2))
        if key in structure.metadata:
            raise ModelFileError(f"{source} has {key!r} twice in its metadata; such a file is not opened")
        structure.metadata[key] = text
    elif kind == "node":
        _record_node(structure, fields, source)
    elif kind == "initializer":
        structure.num_parameters += _check_tensor(fields, source)
    elif kind == "tensor":
        _check_tensor(fields, source)


def _record_node(structure: Structure, fields: list[tuple[int, int, Value]], source: str) -> None:
    values = {number: value for number, _, value in fields if number in (4, 7)}
    operator, domain = (_field_text(values.get(place, _EMPTY)) for place in (4, 7))
    if domain not in DOMAINS or operator in REFUSED:
        name = f"{domain}::{operator}" if domain else operator
        raise ModelFileError(f"{source} uses the operator {name[:80]!r}, which is not opened; only standard ones are")
    structure.operators[operator] += 1


def _check_tensor(fields: list[tuple[int, int, Value]], source: str) -> int:
    """Refuse external data and NaN; return the number of elements."""
    data_type, elements = 0, 1
    floats: list[memoryview] = []
    for number, wire, value in fields:
        # data_location (14) DEFAULT = 0 means inside; any entry of external_data (13) means outside.
        if number == 13 or (number == 14 and (wire != _VARINT or value != 0)):
            raise ModelFileError(f"{source} keeps weights in another file (external data), which is never opened")
        if number == 1:
            for dim in [value] if isinstance(value, int) else list(_varints(value)):
                elements *= dim
                if not 0 <= elements <= MAX_ELEMENTS:
                    raise _Damaged(f"a tensor with a dimension of {dim}")
        elif number == 2:
            data_type = _int(value)
        elif number in (4, 9) and isinstance(value, memoryview):
            floats.append(value)
    if kind := _FLOATS.get(data_type):
        for raw in floats:
            if raw.nbytes % np.dtype(kind).itemsize:
                raise _Damaged("a tensor whose bytes do not fit its type")
            if np.isnan(np.frombuffer(raw, kind)).any():
                raise ModelFileError(f"{source} has weights that are NaN; use another file")
    return elements


def _fields(view: memoryview, budget: list[int]) -> Iterator[tuple[int, int, Value]]:
    """Number, wire type and value of each field of a message."""
    position, size = 0, len(view)
    while position < size:
        budget[0] -= 1
        if budget[0] < 0:
            raise _Damaged(f"more than {MAX_FIELDS:,} fields")
        tag, position = _varint(view, position)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise _Damaged(f"field number {number}")
        if wire == _VARINT:
            value, position = _varint(view, position)
            yield number, wire, value
            continue
        if wire == _LENGTH:
            length, position = _varint(view, position)
        elif wire in (_FIXED_64, _FIXED_32):
            length = 8 if wire == _FIXED_64 else 4
        else:
            raise _Damaged(f"wire type {wire}")
        if length > size - position:
            raise _Damaged("it is truncated")
        yield number, wire, view[position : position + length]
        position += length


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for count in range(10):
        if position >= len(view):
            raise _Damaged("it is truncated")
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, position
    raise _Damaged("a number longer than 10 bytes")


def _varints(view: memoryview) -> Iterator[int]:
    position = 0
    while position < len(view):
        value, position = _varint(view, position)
        yield value


def _int(value: Value) -> int:
    return value if isinstance(value, int) else 0


def _field_text(value: Value) -> str:
    if isinstance(value, int):
        raise _Damaged("a number instead of a text")
    return str(value, "utf-8")
