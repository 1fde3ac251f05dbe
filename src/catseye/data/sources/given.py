"""Images given in Python: arrays, Pillow images, other libraries' data sets.

Enters: such an object, with labels beside it or in it. Leaves: `ImageSet`. Called by open_data.py. Neither torch nor
`datasets` is imported: an object is recognised by its attributes.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from catseye.counting import count
from catseye.data.sources.image_objects import GivenReader
from catseye.data.sources.image_set import NOT_SPLIT, ImageSet, PartsReader, a_few
from catseye.data.sources.memory_names import name_in_memory
from catseye.data.sources.split_names import plain_side
from catseye.errors import DataError, UsageError


@dataclass(frozen=True)
class WithLabels:
    """Images and, beside them, their labels."""

    images: Any
    labels: Any


def with_labels(data: Any, labels: Any = None) -> Any:
    """What `open_source` takes: `data` itself if it has labels of its own."""
    return data if labels is None else WithLabels(data, labels)


def is_place(source: Any) -> bool:
    """Whether DATA is a path or an address rather than an object that holds images."""
    return isinstance(source, str | os.PathLike)


def list_given(source: Any) -> ImageSet:
    """The images of an object, except a data frame (frames.py).

    Raises:
        DataError: there is no image in it, or no label. UsageError: it is not an object that holds labelled images.

    """
    if isinstance(source, ImageSet):
        return source
    if isinstance(source, tuple) and len(source) == 2 and not is_place(source[0]):
        source = WithLabels(*source)
    if isinstance(source, WithLabels):
        images = _from_lists(source.images, source.labels)
    elif isinstance(source, Mapping):
        images = _from_splits(source)
    elif hasattr(source, "column_names") and hasattr(source, "features"):
        images = _from_columns(source)
    elif hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        images = _from_pairs(source)
    else:
        raise UsageError(
            "DATA is a path, (images, labels), a data set of torch or Hugging Face, or a data frame; got an object of "
            f"type {type(source).__name__}"
        )
    return name_in_memory(images)


def _from_lists(images: Any, labels: Any) -> ImageSet:
    try:
        num = len(images)
        values = plain_labels(labels)
    except TypeError:
        raise UsageError(
            f"images and labels are two lists of equal length; got {type(images).__name__} and {type(labels).__name__}"
        ) from None
    if num != len(values):
        raise DataError(f"there is one label per image; got {count(num, 'image')} and {count(len(values), 'label')}")
    paths = bool(num) and is_place(images[0])
    names = [os.fspath(images[index]) for index in range(num)] if paths else _numbered(num)
    return _labelled("arrays", names, values, GivenReader(images.__getitem__, names))


def _numbered(num: int) -> list[str]:
    return [f"{index:06d}" for index in range(num)]


def plain_labels(labels: Any) -> list[Any]:
    """Labels of a list, an array, a tensor or a series, as Python values."""
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    values = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    if values and isinstance(values[0], list):
        raise DataError(
            "labels are one number or text per image; got a list for each; if they are one-hot, use labels.argmax(1)"
        )
    return values


def _labelled(
    kind: str, names: Sequence[str], values: Sequence[Any], reader: GivenReader, classes: Sequence[str] | None = None
) -> ImageSet:
    """Labels from class numbers or class names.

    `values` index `classes`, or are the classes themselves: text is sorted by alphabet, numbers by size.
    """
    missing = [index for index, value in enumerate(values) if value is None or value != value]
    if missing:
        raise DataError(
            f"every image needs a label; got none for {len(missing):,} of {len(values):,}, first for image {missing[0]}"
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
    """A data set like those of torch: `source[i]` is (image, label).

    Labels are taken from its `targets`, `labels` or `samples` if it has them: then no image is decoded for its label.
    """
    num = len(source)
    if not num:
        raise DataError(f"there are no images; got an empty {type(source).__name__}")
    lists = (getattr(source, name, None) for name in ("targets", "labels"))
    values = next((labels for labels in lists if hasattr(labels, "__len__")), None)
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


def _as_python(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _image_and_label(source: Any, index: int) -> tuple[Any, Any]:
    item = source[index]
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    raise UsageError(
        f"a data set returns (image, label) for a number; {type(source).__name__}[{index}] returned {item!r:.80}"
    )


def _from_columns(source: Any) -> ImageSet:
    """A data set like those of Hugging Face, with columns of images and classes."""
    features = dict(source.features)
    kinds = {name: type(kind).__name__ for name, kind in features.items()}
    image = _column_of(kinds, "Image", ("image", "img", "picture", "photo"), "images")
    label = _column_of(kinds, "ClassLabel", ("label", "labels", "class", "target", "y"), "labels")
    classes = getattr(features[label], "names", None)
    values = plain_labels(source[label][:] if hasattr(source[label], "__getitem__") else source[label])
    undecoded = source
    if kinds[image] == "Image" and hasattr(source, "cast_column") and hasattr(features[image], "decode"):
        # The files as they are: catseye decodes them exactly as the server will.
        undecoded = source.cast_column(image, type(features[image])(decode=False))
    names = _numbered(len(values))
    reader = GivenReader(lambda index: undecoded[index][image], names)
    return _labelled("dataset", names, values, reader, list(classes) if classes else None)


def _column_of(kinds: Mapping[str, str], kind: str, usual: Sequence[str], content: str) -> str:
    typed = [name for name, each in kinds.items() if each == kind]
    if len(typed) == 1:
        return typed[0]
    for name in usual:
        if name in (typed or kinds):
            return name
    raise DataError(f"no column of {content} among {a_few(list(kinds))}; rename one of them to {usual[0]!r}")


def _from_splits(source: Mapping[Any, Any]) -> ImageSet:
    """{"train": …, "test": …}, each an object of another kind."""
    parts: list[tuple[int, ImageSet]] = []
    for name, part in source.items():
        side = plain_side(str(name))
        if side is None:
            raise DataError(f"the keys of a mapping are train, val and test; got {name!r}")
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
