"""WebDataset's shards: tars in which an image and its label share a key.

Enters: the entries of tars. Leaves: `ImageSet`. Called by `open_data.py`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from catseye.counting import agree, count
from catseye.data.names import Names
from catseye.data.sources.archives.tars import TarEntries, TarReader
from catseye.data.sources.image_set import NOT_SPLIT, ImageSet
from catseye.data.sources.lists.labels import is_missing
from catseye.data.sources.split_names import side_of
from catseye.errors import DataError
from catseye.preprocess import FILE_SUFFIXES

LABEL_SUFFIXES = (".cls", ".json")
_LABEL_KEYS = ("label", "class", "cls", "class_name", "category", "target")


def is_webdataset(entries: TarEntries) -> bool:
    """Whether an image shares its key with a file that has its label."""
    keys = {key for key, suffix in map(_key_of, entries.names[:2000]) if suffix in LABEL_SUFFIXES}
    return any(key in keys for key, suffix in map(_key_of, entries.names[:2000]) if suffix in FILE_SUFFIXES)


def _key_of(name: str) -> tuple[str, str]:
    """The key, up to the first dot of the file's name, and the rest in lower case.

    >>> _key_of("cat/1.seg.png"), _key_of("a.b/2.cls")
    (('cat/1', '.seg.png'), ('a.b/2', '.cls'))
    """
    folder, slash, last = name.rpartition("/")
    stem, dot, rest = last.partition(".")
    return folder + slash + stem, f"{dot}{rest}".lower()


def read_shards(source: str, shards: Sequence[TarEntries]) -> ImageSet:
    """The images of all shards; the name of a shard may name its split.

    The label is the text of KEY.cls, or `label` or `class` of KEY.json. Samples without one are left out, with a note.

    Raises:
        DataError: there is no image with a label, or a label cannot be read.

    """
    samples: list[_Sample] = []
    unlabelled = 0
    for number, shard in enumerate(shards):
        side, _ = side_of(shard.path.stem)
        for row, label in _images_and_labels(shard):
            if is_missing(label):
                unlabelled += 1
            else:
                samples.append(_Sample(shard.names[row], label, NOT_SPLIT if side is None else side, number, row))
    if not samples:
        raise DataError(f"{source}: no image with a label; a sample is KEY.jpg with KEY.cls, or KEY.json with a label")
    num_names, sides = len({sample.name for sample in samples}), {sample.side for sample in samples}
    if num_names == len(samples):
        samples.sort(key=lambda sample: sample.name)
        names = Names(sample.name for sample in samples)
    else:  # the same keys in several shards
        names = Names(f"{shards[sample.shard].path.stem}/{sample.name}" for sample in samples)
    if NOT_SPLIT in sides and len(sides) > 1:
        splits = np.full(len(samples), NOT_SPLIT, np.int8)
    else:
        splits = np.array([sample.side for sample in samples], np.int8)
    classes = sorted({sample.label for sample in samples}, key=_by_number)
    number_of = {name: index for index, name in enumerate(classes)}
    return ImageSet(
        source=source,
        classes=tuple(classes),
        names=names,
        labels=np.array([number_of[sample.label] for sample in samples], np.int64),
        splits=splits,
        read=_reader_of_samples(shards, samples, names),
        notes=(f"{count(unlabelled, 'sample')} without a label {agree(unlabelled, 'is', 'are')} left out",)
        if unlabelled
        else (),
        remarks=(f"WebDataset: {count(len(shards), 'shard')}",),
    )


class _Sample(NamedTuple):
    """One image of a shard; `row` is its entry, `shard` the number of the tar."""

    name: str
    label: str
    side: int
    shard: int
    row: int


def _reader_of_samples(shards: Sequence[TarEntries], samples: Sequence[_Sample], names: Names) -> TarReader:
    return TarReader(
        [shard.path for shard in shards],
        names,
        np.array([sample.shard for sample in samples], np.int32),
        np.array([shards[sample.shard].offsets[sample.row] for sample in samples], np.int64),
        np.array([shards[sample.shard].sizes[sample.row] for sample in samples], np.int64),
    )


def _by_number(name: str) -> tuple[bool, int, str]:
    return not name.isdigit(), int(name) if name.isdigit() else 0, name


def _images_and_labels(shard: TarEntries) -> Iterator[tuple[int, str]]:
    """The entry of each image and its label; the files of a key follow each other."""
    with shard.path.open("rb") as stream:
        key, image, label = "", -1, ""
        for row, name in enumerate(shard.names):
            own_key, suffix = _key_of(name)
            if own_key != key:
                if image >= 0:
                    yield image, label
                key, image, label = own_key, -1, ""
            if suffix in FILE_SUFFIXES and image < 0:
                image = row
            elif suffix in LABEL_SUFFIXES and not (label and suffix == ".json"):
                stream.seek(int(shard.offsets[row]))
                content = stream.read(min(int(shard.sizes[row]), 1_000_000))
                label = _label_in(f"{shard.path}:{name}", suffix, content) or label
        if image >= 0:
            yield image, label


def _label_in(name: str, suffix: str, content: bytes) -> str:
    try:
        text = content.decode("utf-8")
        if suffix == ".cls":
            return text.strip()
        value = json.loads(text)
    except (UnicodeError, ValueError, RecursionError) as error:
        raise DataError(f"{name} holds no label ({error})") from None
    if isinstance(value, Mapping):
        value = next((value[key] for key in _LABEL_KEYS if key in value), "")
    return str(value) if isinstance(value, str | int) else ""
