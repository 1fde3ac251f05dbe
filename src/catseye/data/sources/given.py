"""Images that a program has in its hands: arrays, Pillow images, data sets of torch and Hugging Face, data frames.

Enters: such an object, with labels beside it or in it. Leaves: `ImageSet`. Called by open_data.py. Nothing is imported
for it: an object is known by what it offers. Nothing is copied either, so a run can only name what it was given:
`memory:…` finds it again while it is in use in this process, and later it has to be given again.
"""

import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from weakref import finalize, ref

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseye.counting import count
from catseye.data.sources.image_set import NOT_SPLIT, ImageSet, PartsReader, a_few
from catseye.data.sources.split_names import side_of
from catseye.decoding.arrays_in_files import channel_axis
from catseye.decoding.channels import array_to_file
from catseye.errors import DataError, ImageError, UsageError
from catseye.preprocess import Pixels, read_file

PREFIX = "memory:"
NAMED_BY = 32  # images whose contents go into the name
# A name leads to its images as long as anybody holds their reader, as everything does that was made of them.
_READERS: dict[str, list[ref[Any]]] = {}  # equal images may have been given several times
_LISTED: dict[str, ImageSet] = {}  # without their readers


@dataclass(frozen=True)
class WithLabels:
    """Images and, beside them, their labels."""

    images: Any
    labels: Any


def with_labels(data: Any, labels: Any = None) -> Any:
    """What `open_source` takes: `data` itself where it brings its own labels."""
    return data if labels is None else WithLabels(data, labels)


def is_place(source: Any) -> bool:
    """Whether DATA is a place rather than an object that holds images."""
    return isinstance(source, str | os.PathLike)


def in_use(name: str) -> ImageSet:
    """The images that a run of this process was given.

    Raises:
        DataError: they are gone, or were given to another process.

    """
    reader = next((reader for held in _READERS.get(name, ()) if (reader := held()) is not None), None)
    if reader is None:
        raise DataError(
            f"the images were given in Python ({name}) and are not kept; give them again: data=(images, labels)"
        )
    return replace(_LISTED[name], read=reader)


def list_given(source: Any) -> ImageSet:
    """The images of an object; data frames, which name files, are read by table.py.

    Raises:
        DataError: there is no image in it, or no label. UsageError: it is no object that holds labelled images.

    """
    if isinstance(source, ImageSet):
        return source
    if isinstance(source, tuple) and len(source) == 2 and not is_place(source[0]):
        source = WithLabels(*source)
    if isinstance(source, WithLabels):
        found = _from_lists(source.images, source.labels)
    elif isinstance(source, Mapping):
        found = _from_sides(source)
    elif hasattr(source, "column_names") and hasattr(source, "features"):
        found = _from_columns(source)
    elif hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        found = _from_pairs(source)
    else:
        raise UsageError(
            "DATA is a path, (images, labels), a data set of torch or Hugging Face, or a data frame; got an object of "
            f"type {type(source).__name__}"
        )
    return kept(found)


def kept(images: ImageSet) -> ImageSet:
    """The same, under a name by which it is found again while it is in use: made of labels and of some contents."""
    digest = sha256(images.labels.tobytes() + repr((images.classes, len(images))).encode())
    digest.update(images.splits.tobytes())
    for index in range(0, len(images), max(1, len(images) // NAMED_BY)):
        digest.update(images.names[index].encode("utf-8", "surrogateescape"))
        with suppress(ImageError):  # what is wrong with it is told where all are looked at
            content = images.read(index)
            digest.update(content if isinstance(content, bytes) else content.tobytes())
    named = replace(images, source=f"{PREFIX}{images.source}-{digest.hexdigest()[:12]}")
    _READERS.setdefault(named.source, []).append(ref(named.read))
    _LISTED[named.source] = replace(named, read=_ReaderGone())
    finalize(named.read, _forget, named.source)
    return named


def _forget(name: str) -> None:
    _READERS[name] = [held for held in _READERS.get(name, ()) if held() is not None]
    if not _READERS[name]:
        del _READERS[name], _LISTED[name]


class _ReaderGone:
    """Stands for a reader that is held elsewhere."""

    def __call__(self, index: int) -> bytes | Pixels:
        raise ImageError("the images were given in Python and are not kept; give them again")

    def size_bytes(self, index: int) -> int:
        raise ImageError("the images were given in Python and are not kept; give them again")


@dataclass(frozen=True)
class GivenReader:
    """Reads what `get` gives for a number: a path, bytes, an array, a tensor or a Pillow image."""

    get: Callable[[int], Any]
    names: Sequence[str]
    _sizes: dict[int, int] = field(default_factory=dict, repr=False)

    def __call__(self, index: int) -> bytes | Pixels:
        """The bytes of a file, or the pixels."""
        return as_content(self.get(index), self.names[index])

    def size_bytes(self, index: int) -> int:
        """The size of what `__call__` returns; where that has to be made first, it is made once."""
        if index not in self._sizes:
            item = self.get(index)
            plain = isinstance(item, np.ndarray) and item.dtype == np.uint8
            self._sizes[index] = item.nbytes if plain else _size(as_content(item, self.names[index]))
        return self._sizes[index]


def _size(content: bytes | Pixels) -> int:
    return len(content) if isinstance(content, bytes) else int(content.nbytes)


def as_content(item: Any, name: str = "an image") -> bytes | Pixels:
    """One image of any kind as the bytes of a file, or as pixels (H, W, C) uint8.

    Floats from 0 to 1 become 0 to 255. More than 8 bits, transparency and palettes go through a lossless file, so that
    they meet the same rules as anybody's files.

    Raises:
        ImageError: it is no image, or its values have no meaning that is known.

    """
    if isinstance(item, bytes):
        return item
    if isinstance(item, str | os.PathLike):
        return read_file(Path(item))
    if isinstance(item, Mapping) and ("bytes" in item or "path" in item):  # an undecoded image of Hugging Face
        return item["bytes"] if item.get("bytes") is not None else read_file(Path(str(item["path"])))
    if isinstance(item, Image.Image):
        if item.mode in ("L", "RGB"):
            array = np.asarray(item)
            return array.reshape(item.height, item.width, -1)
        return _encoded(item)
    if hasattr(item, "detach"):  # a tensor
        item = item.detach().cpu().numpy()
    try:
        return _from_numbers(np.asarray(item))
    except (TypeError, ValueError) as error:
        raise ImageError(f"{name} is no image: {error}") from None


def _from_numbers(array: NDArray[Any]) -> bytes | Pixels:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim == 3 and array.shape[0] not in (1, 3) and array.shape[2] not in (1, 3, 4):
        channel_axis(array.shape)
        return array_to_file(array)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3, 4):  # torch's order
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(f"its shape is (H, W), (H, W, C) or (C, H, W); got {array.shape}")
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"floats are read from 0 (black) to 1 (white); got {low:.3g} to {high:.3g}; scale them, or give uint8"
            )
        array = (array * 255).round().astype(np.uint8)
    if array.dtype == np.uint16 and array.shape[2] == 1:
        return _encoded(Image.fromarray(np.ascontiguousarray(array[:, :, 0])))
    if array.dtype != np.uint8:
        raise ValueError(f"values are uint8, uint16 (grey) or floats from 0 to 1; got {array.dtype}")
    if array.shape[2] == 4:
        return _encoded(Image.fromarray(np.ascontiguousarray(array)))
    return np.ascontiguousarray(array)


def _encoded(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "TIFF" if image.mode == "F" else "PNG", **({} if image.mode == "F" else {"compress_level": 1}))
    return stream.getvalue()


def _from_lists(images: Any, labels: Any) -> ImageSet:
    try:
        num = len(images)
        values = plain_labels(labels)
    except TypeError:
        raise UsageError(
            f"images and labels are given as two lists of equal length; got {type(images).__name__} and "
            f"{type(labels).__name__}"
        ) from None
    if num != len(values):
        raise DataError(f"there is one label per image; got {count(num, 'image')} and {count(len(values), 'label')}")
    paths = bool(num) and is_place(images[0])
    names = [os.fspath(images[index]) for index in range(num)] if paths else _numbered(num)
    return _labelled("arrays", names, values, GivenReader(images.__getitem__, names))


def _numbered(num: int) -> list[str]:
    return [f"{index:06d}" for index in range(num)]


def plain_labels(labels: Any) -> list[Any]:
    """Labels of a list, an array, a tensor or a series, as Python's own values."""
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    values = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    if values and isinstance(values[0], list):
        raise DataError(
            "labels are one number or text per image; got a list for each; where they are one-hot: labels.argmax(1)"
        )
    return values


def _labelled(
    kind: str, names: Sequence[str], values: Sequence[Any], reader: GivenReader, classes: Sequence[str] | None = None
) -> ImageSet:
    """`values` are numbers into `classes`, or the classes themselves: texts by alphabet, numbers by size."""
    missing = [index for index, value in enumerate(values) if value is None or value != value]
    if missing:
        raise DataError(
            f"every image needs a label; got none for {len(missing):,} of {len(values):,}, first {missing[0]}"
        )
    if not values:
        raise DataError("there are no images; got 0")
    if classes is None or not all(isinstance(value, int) for value in values):
        known = sorted(set(values), key=_by_size)
        number = {value: index for index, value in enumerate(known)}
        classes, values = [_text_of(value) for value in known], [number[value] for value in values]
    wrong = [value for value in values if not 0 <= value < len(classes)]
    if wrong:
        raise DataError(f"labels are numbers from 0 to {len(classes) - 1}, one per class; got {wrong[0]}")
    if len(set(classes)) < len(classes):
        raise DataError(f"class names differ from each other; got {a_few(list(classes))}")
    return ImageSet(
        source=kind,
        classes=tuple(classes),
        names=names,
        labels=np.array(values, np.int64),
        splits=np.full(len(values), NOT_SPLIT, np.int8),
        read=reader,
    )


def _by_size(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, int | float)
    return not number, float(value) if number else 0.0, str(value)


def _text_of(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value)


def _from_pairs(source: Any) -> ImageSet:
    """A data set as torch has them: `source[i]` is (image, label).

    Labels are taken from `targets`, `labels` or `samples` where it has them, so that no image is decoded for its label.
    """
    num = len(source)
    if not num:
        raise DataError(f"there are no images; got an empty {type(source).__name__}")
    values = next((list_ for list_ in map(source_list(source), ("targets", "labels")) if list_ is not None), None)
    if values is None and (samples := getattr(source, "samples", None)) is not None:
        values = [label for _, label in samples]
    if values is None or len(values) != num:
        values = [_image_and_label(source, index)[1] for index in range(num)]
    values = plain_labels(np.asarray([_as_python(value) for value in values]))
    classes = getattr(source, "classes", None)
    names = _numbered(num)
    reader = GivenReader(lambda index: _image_and_label(source, index)[0], names)
    known = list(map(str, classes)) if classes is not None else None
    return _labelled("dataset", names, values, reader, known)


def source_list(source: Any) -> Callable[[str], Any]:
    """Reads an attribute that may be a list of labels."""
    return lambda name: value if hasattr(value := getattr(source, name, None), "__len__") else None


def _as_python(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _image_and_label(source: Any, index: int) -> tuple[Any, Any]:
    item = source[index]
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    raise UsageError(
        f"a data set gives (image, label) for a number; {type(source).__name__}[{index}] gives {item!r:.80}"
    )


def _from_columns(source: Any) -> ImageSet:
    """A data set as Hugging Face has them: columns, one of images, one of class numbers with their names."""
    features = dict(source.features)
    kinds = {name: type(kind).__name__ for name, kind in features.items()}
    image = _the_column(kinds, "Image", ("image", "img", "picture", "photo"), "images")
    label = _the_column(kinds, "ClassLabel", ("label", "labels", "class", "target", "y"), "labels")
    classes = getattr(features[label], "names", None)
    values = plain_labels(source[label][:] if hasattr(source[label], "__getitem__") else source[label])
    undecoded = source
    if kinds[image] == "Image" and hasattr(source, "cast_column") and hasattr(features[image], "decode"):
        # The files as they are: what a decoder of ours makes of them is what the server will make of them too.
        undecoded = source.cast_column(image, type(features[image])(decode=False))
    names = _numbered(len(values))
    reader = GivenReader(lambda index: undecoded[index][image], names)
    return _labelled("dataset", names, values, reader, list(classes) if classes else None)


def _the_column(kinds: Mapping[str, str], kind: str, usual: Sequence[str], what: str) -> str:
    typed = [name for name, each in kinds.items() if each == kind]
    if len(typed) == 1:
        return typed[0]
    for name in usual:
        if name in (typed or kinds):
            return name
    raise DataError(f"no column of {what} among {a_few(list(kinds))}; rename one to {usual[0]!r}")


def _from_sides(source: Mapping[Any, Any]) -> ImageSet:
    """{"train": …, "test": …}: each with any of the other kinds."""
    parts: list[tuple[int, ImageSet]] = []
    for name, part in source.items():
        side, rest = side_of(str(name))
        if side is None or rest:
            raise DataError(f"a mapping has the splits train, val and test; got {name!r}")
        parts.append((side, list_given(part)))
    if not parts:
        raise DataError("there are no images; got an empty mapping")
    classes = list(dict.fromkeys(name for _, part in parts for name in part.classes))
    if any(set(part.classes) != set(classes) for _, part in parts):
        classes = sorted(classes)
    number = {name: index for index, name in enumerate(classes)}
    rows = [(part, index) for _, part in parts for index in range(len(part))]
    names = [
        f"{name}/{part.names[index]}"
        for name, (_, part) in zip(source, parts, strict=True)
        for index in range(len(part))
    ]
    return ImageSet(
        source="splits",
        classes=tuple(classes),
        names=names,
        labels=np.array([number[part.classes[part.labels[index]]] for part, index in rows], np.int64),
        splits=np.array([side for side, part in parts for _ in range(len(part))], np.int8),
        read=PartsReader([(len(part), part.read) for _, part in parts]),
    )
