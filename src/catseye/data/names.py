"""A million file names in one block of bytes.

A list of strings costs about 80 bytes a name, and every loader worker ends up with its own copy: reference counts are
written into the pages that fork shares. One array of bytes and one of offsets stay shared. Made by `sources/`.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np


class Names(Sequence[str]):
    """An immutable sequence of file names; equal to any sequence of the same names.

    >>> names = Names(["ant/1.jpg", "bee/2.jpg"])
    >>> names[1], len(names), names == ["ant/1.jpg", "bee/2.jpg"]
    ('bee/2.jpg', 2, True)
    """

    __slots__ = ("_content", "_ends")

    def __init__(self, names: Iterable[str]) -> None:
        content = bytearray()
        ends = array("q", [0])
        for name in names:
            content += name.encode("utf-8", "surrogateescape")
            ends.append(len(content))
        self._content = content
        self._ends = np.frombuffer(ends, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} names; got number {index}")
        return self._content[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        begin = 0
        for end in self._ends[1:]:
            yield self._content[begin:end].decode("utf-8", "surrogateescape")
            begin = end

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Names):
            return self._content == other._content and bool(np.array_equal(self._ends, other._ends))
        if isinstance(other, Sequence) and not isinstance(other, str):
            return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))
        return NotImplemented

    def __repr__(self) -> str:
        return f"Names({self[:3]}{', …' if len(self) > 3 else ''}, {len(self)} in all)"
