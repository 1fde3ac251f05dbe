"""What people decided about labels: the rows of corrections.csv, and images with these decisions applied.

Enters: the file that `catseye review` and `catseye label` append to. Leaves: `Correction`s, or an `ImageSet` with other
labels. Called by open_data.py and by review. Decisions are found by the content of an image, so that a moved or
renamed file still matches; nothing of the user's is touched.
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

from catseye.data.sources.image_set import Corrected, ImageSet, content_digest, so_many, take_images
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
    """One decision. `digest` is empty for a merge, which is about all images of the class `old`.

    keep: the label is right. relabel: it is `new`. drop: not this data set. unsure: nobody can say; the label stays.
    merge: `old` and `new` are one class, named `new`. undo: the last decision about this image or class does not count.
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
        """The line of the file, its end included."""
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerow(astuple(self))
        return stream.getvalue().encode("utf-8", "surrogateescape")


HEADER = (",".join(CORRECTION_COLUMNS) + "\n").encode()


def parse_corrections(content: bytes, source: str) -> tuple[list[Correction], int]:
    """The decisions of a file, and how many of its bytes are whole rows: a kill may have cut the last one.

    Raises:
        DataError: it is no file of corrections, or a row in it is none.

    """
    end = content.rfind(b"\n") + 1
    if not content.removeprefix(b"\xef\xbb\xbf").startswith(HEADER) and not HEADER.startswith(content):
        raise DataError(f"{source} is no file of corrections; its first line is {HEADER.decode().strip()}")
    while end:
        try:
            rows = _rows_of(content[:end])
            if len(rows) < 2 or len(rows[-1]) == len(CORRECTION_COLUMNS):  # else cut inside a quoted name
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
        raise DataError(f"{source} row {number}: {len(CORRECTION_COLUMNS)} cells; got {len(row)}; remove that row")
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
    """The decisions of a file, and the whole rows that they were read from.

    Raises:
        DataError: it cannot be read, or is none.

    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); corrections are made by catseye review DATA --out {path.name}"
        ) from None
    rows, end = parse_corrections(content, str(path))
    return rows, content[:end]


@dataclass(frozen=True)
class Standing:
    """The decisions that count: the last one of each image, and merges in their order, each with its place."""

    by_digest: dict[str, tuple[int, Correction]]
    merges: list[tuple[int, Correction]]

    def label_of(self, digest: str, label: str) -> str | None:
        """What becomes of an image of this content and label; None where it is left out."""
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
    """Which decisions count, after every undo."""
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
    """The images with the labels that people decided on. What is left out stays listed, in `corrected.left_out`;
    images without a label that got one stand behind the others.

    Raises:
        DataError: the file cannot be read or is none.

    """
    rows, content = read_corrections(path)
    decided = standing(rows)
    images, digests = _with_labelled(images, decided)
    before = images.labels != NO_LABEL
    names = [images.classes[label] if label != NO_LABEL else "" for label in images.labels.tolist()]
    found = [decided.label_of(digests.get(index, ""), name) for index, name in enumerate(names)]
    left_out = np.array([name is None for name in found], bool)
    changed = sum(new is not None and old != "" and new != old for new, old in zip(found, names, strict=True))
    kept = [old if new is None else new for new, old in zip(found, names, strict=True)]
    classes = _order_classes(images.classes, {name for name, out in zip(kept, left_out, strict=True) if not out})
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number.get(name, 0) for name in kept], np.int64)
    matched = set(digests.values())
    added = [name for name in classes if name not in images.classes]
    given_classes = (*images.classes, *added) if not before.all() else images.classes
    place = {name: index for index, name in enumerate(given_classes)}
    now = np.array([place.get(name, 0) for name in kept], np.int64)  # of those that DATA gives no label
    corrected = Corrected(
        source=str(path),
        content=content,
        given_labels=np.where(before, images.labels, now),
        given_classes=given_classes,
        left_out=left_out,
        num_decisions=len(decided.by_digest) + len(decided.merges),
        num_relabelled=changed,
        num_unmatched=len(decided.by_digest.keys() - matched),
        num_labelled=int((~before).sum()),
        num_given_classes=len(images.classes),
    )
    return replace(images, classes=classes, labels=labels, corrected=corrected)


def _with_labelled(images: ImageSet, decided: Standing) -> tuple[ImageSet, dict[int, str]]:
    """The images, behind them those without a label that a decision gives one; and the digests of all decided ones."""
    whole, num = with_unlabelled(images), len(images)
    digests = find_decided(whole, decided)
    if len(whole) == num:
        return images, digests
    new = [index for index in range(num, len(whole)) if decided.label_of(digests.get(index, ""), "")]
    if not new:
        return images, {index: digest for index, digest in digests.items() if index < num}
    numbers = np.array([*range(num), *new], np.int64)
    place = {index: row for row, index in enumerate(numbers.tolist())}
    return take_images(whole, numbers), {place[each]: digest for each, digest in digests.items() if each in place}


def find_decided(images: ImageSet, decided: Standing) -> dict[int, str]:
    """Image number -> digest, of the images that a decision is about; only files of such a size are read."""
    sizes = {row.size_bytes for _, row in decided.by_digest.values()}

    def look(index: int) -> str:
        try:
            if images.read.size_bytes(index) not in sizes:
                return ""
            return content_digest(images.read(index)).hex()
        except ImageError:  # told by whoever decodes it
            return ""

    found: dict[int, str] = {}
    with ThreadPoolExecutor(num_cores()) as pool:
        for start in range(0, len(images) if sizes else 0, _PORTION):
            portion = range(start, min(start + _PORTION, len(images)))
            for index, digest in zip(portion, pool.map(look, portion), strict=True):
                if digest in decided.by_digest:
                    found[index] = digest
    return found


def _order_classes(before: Sequence[str], present: set[str]) -> tuple[str, ...]:
    """The classes that have images, in the order they had; new ones sorted in, or last where the order is another."""
    kept = [name for name in before if name in present]
    new = sorted(present - set(kept))
    return tuple(sorted([*kept, *new]) if list(before) == sorted(before) else [*kept, *new])


def describe_corrections(corrected: Corrected) -> str:
    """What was done, in one sentence."""
    left_out = int(corrected.left_out.sum())
    parts = [f"{so_many(corrected.num_relabelled, 'image')} relabelled", f"{left_out:,} left out"]
    if num := corrected.num_labelled:
        parts.insert(0, f"{so_many(num, 'image')} without a label {'has' if num == 1 else 'have'} one now")
    if num := corrected.num_unmatched:
        parts.append(f"{so_many(num, 'decision')} about images that are not here")
    return f"corrections: {so_many(corrected.num_decisions, 'decision')} in {corrected.source}: {', '.join(parts)}"


def correction_facts(corrected: Corrected) -> dict[str, object]:
    """What data.json keeps of them."""
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
    told = images.corrected
    given = replace(images, labels=told.given_labels, classes=told.given_classes, corrected=None)
    if not told.num_labelled:
        return given
    num = len(images) - told.num_labelled
    return replace(take_images(given, np.arange(num)), classes=told.given_classes[: told.num_given_classes])


def read_decided_list(path: Path) -> list[tuple[str, str]]:
    """File name and class of every image that a file of corrections gives a label to; for DATA.

    Raises:
        DataError: it cannot be read.

    """
    rows, _ = read_corrections(path)
    decided = standing(rows)
    found: dict[str, str] = {}
    for row in rows:
        if row.image and row.digest in decided.by_digest:
            kind = decided.by_digest[row.digest][1].kind
            label = decided.label_of(row.digest, row.old)
            if kind != "unsure" and label:
                found[row.image] = label
            else:
                found.pop(row.image, None)
    return list(found.items())
