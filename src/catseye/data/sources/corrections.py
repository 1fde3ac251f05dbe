"""Decisions of people about labels: corrections.csv, and its use on images.

Enters: the file that `catseye review` and `catseye label` append to. Leaves: `Correction`s, or an `ImageSet` with
corrected labels. Called by open_data.py and by review. An image is recognised by its content, so that a moved or
renamed file still matches; the user's files are not changed.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from catseye.counting import agree, count
from catseye.data.sources.image_set import Corrected, ImageSet, content_digest, take_images
from catseye.data.sources.missing_labels import NO_LABEL, with_unlabelled
from catseye.errors import DataError, ImageError
from catseye.machine.cores import num_cores

CORRECTION_COLUMNS = ("image", "content_hash", "size_bytes", "old_label", "new_label", "decision", "who", "when")
KINDS = ("keep", "relabel", "drop", "unsure", "merge", "undo")
_WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d")
_DIGEST = re.compile(r"[0-9a-f]{32}")
_PORTION = 1024


@dataclass(frozen=True)
class Correction:
    """One decision about an image, or about a class (merge, where `digest` is empty).

    keep: the label is right. relabel: it is `new`. drop: not in this data set. unsure: undecided; the label stays.
    merge: `old` and `new` are one class, named `new`. undo: cancels the last decision about this image or class.
    """

    image: str
    digest: str
    size_bytes: int
    old: str
    new: str
    kind: str
    who: str
    when: str

    def row(self) -> bytes:
        """The line of the file, with its line end."""
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerow(astuple(self))
        return stream.getvalue().encode("utf-8", "surrogateescape")


HEADER = (",".join(CORRECTION_COLUMNS) + "\n").encode()


def parse_corrections(content: bytes, source: str) -> tuple[list[Correction], int]:
    """The decisions of a file, and how many of its bytes are complete rows.

    The last row is incomplete if the process was killed while it was written.

    Raises:
        DataError: it is not a file of corrections, or a row is not a correction.

    """
    end = content.rfind(b"\n") + 1
    if not content.removeprefix(b"\xef\xbb\xbf").startswith(HEADER) and not HEADER.startswith(content):
        raise DataError(f"{source} is not a file of corrections: its first line is not {HEADER.decode().strip()}")
    while end:
        try:
            rows = _rows_of(content[:end])
            if len(rows) < 2 or len(rows[-1]) == len(CORRECTION_COLUMNS):  # else the end is inside a quoted name
                break
        except csv.Error:
            pass
        end = content.rfind(b"\n", 0, end - 1) + 1
    if not end:
        return [], 0
    return [_read_row(row, number, source) for number, row in enumerate(rows[1:], 2)], end


def _rows_of(content: bytes) -> list[list[str]]:
    text = content.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def _read_row(row: list[str], number: int, source: str) -> Correction:
    if len(row) != len(CORRECTION_COLUMNS):
        raise DataError(f"{source} row {number}: a row has {len(CORRECTION_COLUMNS)} cells; got {len(row)}; remove it")
    image, digest, size, old, new, kind, who, when = row
    if kind not in KINDS:
        raise DataError(f"{source} row {number}: a decision is one of {', '.join(KINDS)}; got {kind!r}")
    if not (digest == "" if kind == "merge" else digest == "" or _DIGEST.fullmatch(digest)):
        raise DataError(f"{source} row {number}: a content hash has 32 hexadecimal digits; got {digest!r}")
    if not size.isascii() or not (size or "0").isdigit():
        raise DataError(f"{source} row {number}: a size is a number of bytes; got {size!r}")
    if kind in ("relabel", "merge") and not new:
        raise DataError(f"{source} row {number}: a {kind} needs a new label; got none")
    return Correction(image, digest, int(size or 0), old, new, kind, who, when)


def read_corrections(path: Path) -> tuple[list[Correction], bytes]:
    """The decisions of a file, and the complete rows that they were read from.

    Raises:
        DataError: it cannot be read, or is not a file of corrections.

    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); catseye review DATA --out {path.name} writes such a file"
        ) from None
    rows, end = parse_corrections(content, str(path))
    return rows, content[:end]


@dataclass(frozen=True)
class Standing:
    """The decisions that count: the last one of each image, and all merges.

    Each comes with its position in the file.
    """

    by_digest: dict[str, tuple[int, Correction]]
    merges: list[tuple[int, Correction]]

    def label_of(self, digest: str, label: str) -> str | None:
        """The label of an image of this content and old label; None if it is left out."""
        place, decided = self.by_digest.get(digest, (-1, None))
        if decided is not None:
            if decided.kind == "drop":
                return None
            if decided.kind in ("relabel", "keep") and decided.new:
                label = decided.new
        for later, merge in self.merges:
            if later > place and label == merge.old:
                label = merge.new
        return label


def standing(rows: Iterable[Correction]) -> Standing:
    """The decisions that count after every undo."""
    stacks: dict[str, list[tuple[int, Correction]]] = defaultdict(list)
    merges: list[tuple[int, Correction]] = []
    for place, row in enumerate(rows):
        if row.kind == "merge":
            merges.append((place, row))
        elif row.kind != "undo":
            stacks[row.digest].append((place, row))
        elif row.digest:
            if stacks[row.digest]:
                stacks[row.digest].pop()
        else:
            undone = [pair for pair in merges if (pair[1].old, pair[1].new) == (row.old, row.new)]
            if undone:
                merges.remove(undone[-1])
    return Standing({digest: stack[-1] for digest, stack in stacks.items() if stack}, merges)


def apply_corrections(images: ImageSet, path: Path) -> ImageSet:
    """The images with the labels that people decided on.

    Dropped images stay in the list and are marked in `corrected.left_out`; images that had no label follow the others.

    Raises:
        DataError: the file cannot be read, or is not a file of corrections.

    """
    rows, content = read_corrections(path)
    decided = standing(rows)
    images, digests = _with_labelled(images, decided)
    was_labelled = images.labels != NO_LABEL
    names = [images.classes[label] if label != NO_LABEL else "" for label in images.labels.tolist()]
    decisions = [decided.label_of(digests.get(index, ""), name) for index, name in enumerate(names)]
    left_out = np.array([name is None for name in decisions], bool)
    changed = sum(new is not None and old != "" and new != old for new, old in zip(decisions, names, strict=True))
    final = [old if new is None else new for new, old in zip(decisions, names, strict=True)]
    classes = _order_classes(images.classes, {name for name, out in zip(final, left_out, strict=True) if not out})
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number.get(name, 0) for name in final], np.int64)
    matched = set(digests.values())
    added = [name for name in classes if name not in images.classes]
    given_classes = (*images.classes, *added) if not was_labelled.all() else images.classes
    given_number = {name: index for index, name in enumerate(given_classes)}
    new_labels = np.array([given_number.get(name, 0) for name in final], np.int64)  # for images without one in DATA
    corrected = Corrected(
        source=str(path),
        content=content,
        given_labels=np.where(was_labelled, images.labels, new_labels),
        given_classes=given_classes,
        left_out=left_out,
        num_decisions=len(decided.by_digest) + len(decided.merges),
        num_relabelled=changed,
        num_unmatched=len(decided.by_digest.keys() - matched),
        num_labelled=int((~was_labelled).sum()),
        num_given_classes=len(images.classes),
    )
    return replace(images, classes=classes, labels=labels, corrected=corrected)


def _with_labelled(images: ImageSet, decided: Standing) -> tuple[ImageSet, dict[int, str]]:
    """The images, then those that only a decision labels; digests of decided ones."""
    whole, num = with_unlabelled(images), len(images)
    digests = find_decided(whole, decided)
    if len(whole) == num:
        return images, digests
    new = [index for index in range(num, len(whole)) if decided.label_of(digests.get(index, ""), "")]
    if not new:
        return images, {index: digest for index, digest in digests.items() if index < num}
    numbers = np.array([*range(num), *new], np.int64)
    row_of = {index: row for row, index in enumerate(numbers.tolist())}
    return take_images(whole, numbers), {row_of[each]: digest for each, digest in digests.items() if each in row_of}


def find_decided(images: ImageSet, decided: Standing) -> dict[int, str]:
    """Image number -> digest, for images that a decision is about.

    Only images of the size of one of these are read.
    """
    sizes = {row.size_bytes for _, row in decided.by_digest.values()}

    def digest_of(index: int) -> str:
        try:
            if images.read.size_bytes(index) not in sizes:
                return ""
            return content_digest(images.read(index)).hex()
        except ImageError:  # reported when it is decoded
            return ""

    digests: dict[int, str] = {}
    with ThreadPoolExecutor(num_cores()) as pool:
        for start in range(0, len(images) if sizes else 0, _PORTION):
            portion = range(start, min(start + _PORTION, len(images)))
            for index, digest in zip(portion, pool.map(digest_of, portion), strict=True):
                if digest in decided.by_digest:
                    digests[index] = digest
    return digests


def _order_classes(before: Sequence[str], present: set[str]) -> tuple[str, ...]:
    """The classes that have images, in their old order.

    New ones are sorted in, or come last if the order is not alphabetical.
    """
    kept = [name for name in before if name in present]
    new = sorted(present - set(kept))
    return tuple(sorted([*kept, *new]) if list(before) == sorted(before) else [*kept, *new])


def describe_corrections(corrected: Corrected) -> str:
    """What the corrections changed, in one sentence."""
    left_out = int(corrected.left_out.sum())
    parts = [f"{count(corrected.num_relabelled, 'image')} relabelled", f"{left_out:,} left out"]
    if num := corrected.num_labelled:
        parts.insert(0, f"{count(num, 'image')} without a label now {agree(num, 'has', 'have')} one")
    if num := corrected.num_unmatched:
        parts.append(f"{count(num, 'decision')} about images that are not in DATA")
    return f"corrections: {count(corrected.num_decisions, 'decision')} in {corrected.source}: {', '.join(parts)}"


def correction_facts(corrected: Corrected) -> dict[str, object]:
    """What data.json records of the corrections."""
    return {
        "file": corrected.source,
        "sha256": sha256(corrected.content).hexdigest(),
        "num_decisions": corrected.num_decisions,
        "num_relabelled": corrected.num_relabelled,
        "num_labelled": corrected.num_labelled,
        "num_left_out": int(corrected.left_out.sum()),
        "num_unmatched": corrected.num_unmatched,
    }


def uncorrected(images: ImageSet) -> ImageSet:
    """The images as DATA labels them."""
    if images.corrected is None:
        return images
    before = images.corrected
    given = replace(images, labels=before.given_labels, classes=before.given_classes, corrected=None)
    if not before.num_labelled:
        return given
    num = len(images) - before.num_labelled
    return replace(take_images(given, np.arange(num)), classes=before.given_classes[: before.num_given_classes])
