"""Labelled images, listed but not yet read: `ImageSet`, and how an image is read.

Every source becomes an `ImageSet`. Called by the other files of this room, and by everything that works with images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from catseye.preprocess import Pixels, Ranges

TRAIN, VAL, TEST, NOT_SPLIT = 0, 1, 2, -1
SPLIT_LABELS = ("train", "val", "test")
MAX_FILE_BYTES = 500_000_000


class Reader(Protocol):
    """Reads one image by its number."""

    def __call__(self, index: int) -> bytes | Pixels:
        """The bytes of the file, or the pixels if there is no file. Raises ImageError."""
        ...

    def size_bytes(self, index: int) -> int:
        """The size of what `__call__` will return. Raises ImageError."""
        ...


MakeReader = Callable[[Sequence[str]], Reader]


@dataclass(frozen=True)
class Corrected:
    """Which decisions of people were applied, and the labels before.

    `given_labels` (N,) index `given_classes`, as in DATA; splits are drawn from them, so that corrections do not move
    images between splits. `left_out` (N,): dropped images. `content`: the decisions, as they were read.
    """

    source: str
    content: bytes
    given_labels: NDArray[np.int64]
    given_classes: tuple[str, ...]
    left_out: NDArray[np.bool_]
    num_decisions: int
    num_relabelled: int
    num_unmatched: int
    num_labelled: int = 0  # images without a label in DATA that have one now; they come last
    num_given_classes: int = 0  # the first ones of `given_classes`; the others are new with such images


@dataclass(frozen=True)
class Unlabelled:
    """Images that DATA lists without a label, with their splits, (U,)."""

    names: Sequence[str]
    splits: NDArray[np.int8]
    read: Reader


@dataclass(frozen=True)
class ImageSet:
    """Labelled images, listed but not yet read.

    `labels` (N,) int64 index `classes`; `splits` (N,) int8 hold TRAIN, VAL, TEST or NOT_SPLIT. `notes` say what is
    left out or looks wrong, `remarks` how DATA was read. `groups` (N,) int64, if a list names groups: images with the
    same number belong in the same split; `group_name` is their column. `unlabelled` are not among the N.
    """

    source: str
    classes: tuple[str, ...]
    names: Sequence[str]
    labels: NDArray[np.int64]
    splits: NDArray[np.int8]
    read: Reader
    mirror_safe: bool = True  # False if a mirrored image has another class or none (digits)
    notes: tuple[str, ...] = ()
    published: bool = False  # the split belongs to a well-known data set: its score is reported even if images leak
    groups: NDArray[np.int64] | None = None
    group_name: str = ""
    remarks: tuple[str, ...] = ()
    corrected: Corrected | None = None
    value_range: Ranges | None = None  # (black, white) of values with more than 8 bits; or such a pair per channel
    unlabelled: Unlabelled | None = None
    channels: int | None = None  # if the images are neither grey nor in colour

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class ArrayReader:
    """Images that are already pixels: (N, H, W, C) uint8."""

    pixels: Pixels

    def __call__(self, index: int) -> Pixels:
        """The pixels."""
        image: Pixels = self.pixels[index]
        return image

    def size_bytes(self, index: int) -> int:
        """The size of the pixels."""
        return int(self.pixels[index].nbytes)


@dataclass(frozen=True)
class PartReader:
    """Reads some of the images of another reader."""

    whole: Reader
    numbers: NDArray[np.int64]

    def __call__(self, index: int) -> bytes | Pixels:
        """The image whose number is at `index`."""
        return self.whole(int(self.numbers[index]))

    def size_bytes(self, index: int) -> int:
        """Its size."""
        return self.whole.size_bytes(int(self.numbers[index]))


@dataclass(frozen=True)
class PartsReader:
    """Joins several readers; `parts` are (number of images, reader)."""

    parts: Sequence[tuple[int, Reader]]

    def _find(self, index: int) -> tuple[Reader, int]:
        for num, reader in self.parts:
            if index < num:
                return reader, index
            index -= num
        raise IndexError(index)

    def __call__(self, index: int) -> bytes | Pixels:
        """The image, from its reader."""
        reader, number = self._find(index)
        return reader(number)

    def size_bytes(self, index: int) -> int:
        """Its size."""
        reader, number = self._find(index)
        return reader.size_bytes(number)


def take_images(images: ImageSet, numbers: NDArray[np.int64]) -> ImageSet:
    """Some of the images, in this order, as DATA labels them."""
    return replace(
        images,
        names=[images.names[index] for index in numbers.tolist()],
        labels=images.labels[numbers],
        splits=images.splits[numbers],
        read=PartReader(images.read, numbers),
        groups=None if images.groups is None else images.groups[numbers],
        corrected=None,
    )


def content_digest(content: bytes | Pixels) -> bytes:
    """A hash of 16 bytes: equal contents have equal ones."""
    return blake2b(content if isinstance(content, bytes) else content.tobytes(), digest_size=16).digest()


def a_few(names: Sequence[str], most: int = 8) -> str:
    """Names in quotes, the first `most` of them.

    >>> a_few(["cat", "dog", "fly"], 2)
    "'cat', 'dog' … (3 in all)"
    """
    shown = ", ".join(repr(printable_name(name)) for name in names[:most])
    return shown if len(names) <= most else f"{shown} … ({len(names):,} in all)"


def printable_name(name: str) -> str:
    r"""A name that any terminal can show; bytes that are not UTF-8 become \xNN.

    >>> printable_name("caf\udce9")
    'caf\\xe9'
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
