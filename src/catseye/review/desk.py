"""One review: the queue of questions, the decisions, and the images for the page.

Enters: `Material` and the file of decisions. Leaves: answers as JSON types, images as bytes. Called by app.py, in
threads. Everything that is kept is in the file: a new desk on the same file continues from it.
"""

import io
import shlex
import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseye.counting import count
from catseye.data.check.findings import printable
from catseye.data.sources import SPLIT_LABELS
from catseye.data.sources.corrections import Correction, Standing
from catseye.data.sources.image_set import content_digest
from catseye.data.sources.missing_labels import NO_LABEL
from catseye.embedding.neighbours import unit_rows
from catseye.errors import UsageError
from catseye.evaluation.corrected import CorrectionsWorth
from catseye.evaluation.statistics import mcnemar, paired_interval
from catseye.preprocess import open_image
from catseye.review.items import TITLES, Item
from catseye.review.log import CorrectionLog
from catseye.review.material import Material, held_out_answers

Kind = Literal["keep", "relabel", "drop", "unsure", "merge"]
SIDES_PX = (160, 720, 2400)
NUM_NEAREST = 5
MAX_NAME = 200
Answer = dict[str, Any]


class Desk:
    """The questions and their answers."""

    def __init__(self, material: Material, queue: Sequence[Item], log: CorrectionLog, title: str) -> None:
        self.material, self.queue, self.log, self.title = material, list(queue), log, title
        self.lock = threading.Lock()
        self.undoable: list[tuple[int, list[Correction]]] = []
        self._unit: NDArray[np.float32] | None = None
        self._begun = log.standing
        self._now: Standing | None = None

    @property
    def decided(self) -> Standing:
        """The decisions in force."""
        if self._now is None:
            self._now = self.log.standing
        return self._now

    def label(self, index: int) -> str | None:
        """The class of an image by the decisions so far.

        None if the image is left out, "" if it has no label yet.
        """
        return self.decided.label_of(self.digest(index), self._given(index))

    def _given(self, index: int) -> str:
        """Its class in DATA."""
        label = int(self.material.images.labels[index])
        return "" if label == NO_LABEL else self.material.images.classes[label]

    def digest(self, index: int) -> str:
        """The digest of a file's content, even if it is not an image.

        Raises:
            ImageError: the file is gone.

        """
        known = self.material.looks.digests[index]
        return (known or content_digest(self.material.images.read(index))).hex()

    def classes(self) -> list[str]:
        """The current classes, including those that were typed in."""
        images, decided = self.material.images, self.decided
        names = {decided.label_of("", name) for name in images.classes}
        names |= {decided.label_of(digest, row.new) for digest, (_, row) in decided.by_digest.items() if row.new}
        return sorted(name for name in names if name)

    def state(self) -> Answer:
        """Everything that the page shows beside the question."""
        kinds: list[Answer] = [
            {"kind": kind, "title": title, "total": total, "done": done}
            for kind, title in TITLES.items()
            if (total := sum(item.kind == kind for item in self.queue))
            and (done := sum(item.kind == kind and self._outcome(item) != "" for item in self.queue)) >= 0
        ]
        outcomes = [self._outcome(item) for item in self.queue]
        return {
            "title": self.title,
            "file": printable(str(self.log.path)),
            "command": printable(
                shlex.join(["catseye", "train", self.material.images.source, "--corrections", str(self.log.path)])
            ),
            "classes": [printable(name) for name in self.classes()],
            "kinds": kinds,
            "items": [
                {"kind": item.kind, "name": self._name(item.images[0]), "outcome": outcome}
                for item, outcome in zip(self.queue, outcomes, strict=True)
            ],
            "open": sum(not outcome for outcome in outcomes),
            "num_decisions": len(self.decided.by_digest) + len(self.decided.merges),
            "can_undo": bool(self.undoable),
        }

    def _outcome(self, item: Item) -> str:
        try:
            decision = self.decided.by_digest.get(self.digest(item.images[0]))
        except UsageError:
            return ""
        if decision is None:
            return ""
        row = decision[1]
        return {"drop": "left out", "unsure": "cannot say"}.get(row.kind) or printable(row.new)

    def _name(self, index: int) -> str:
        return printable(self.material.images.names[index])

    def question(self, number: int) -> Answer:
        """One item, with what helps to decide it."""
        item = self._item(number)
        index = item.images[0]
        likely = self.decided.label_of("", item.likely) if item.likely else ""
        own = self.label(index)
        copies = [other for other in item.covers if other not in item.images]
        return {
            "number": number,
            "kind": item.kind,
            "title": TITLES[item.kind],
            "reason": item.reason,
            "likely": printable(likely or ""),
            "images": [self._describe(each) for each in item.images],
            "copies": [self._describe(each) for each in copies[:12]],
            "covers": len(item.covers),
            "probabilities": self._probabilities(index),
            "nearest": [
                {"label": printable(name), "images": self._nearest(index, name)}
                for name in dict.fromkeys([likely or "", own or ""])
                if name
            ],
            "outcome": self._outcome(item),
        }

    def _describe(self, index: int) -> Answer:
        images, looks = self.material.images, self.material.looks
        side = int(images.splits[index])
        label = self.label(index)
        return {
            "index": index,
            "name": self._name(index),
            "label": "left out" if label is None else printable(label) or "no label",
            "given": printable(self._given(index)) or "no label",
            "split": SPLIT_LABELS[side] if side >= 0 else "",
            "width": int(looks.width_px[index]),
            "height": int(looks.height_px[index]),
            "readable": index not in looks.faults,
        }

    def _probabilities(self, index: int) -> list[Answer]:
        shares = self.material.probabilities[index]
        if np.isnan(shares).any():
            return []
        best = np.argsort(-shares, kind="stable")[:NUM_NEAREST]
        names = self.material.images.classes
        return [{"label": printable(names[k]), "share": float(shares[k])} for k in best.tolist()]

    def _nearest(self, index: int, label: str) -> list[Answer]:
        """The images of a class that are most similar to one, without its copies."""
        material = self.material
        if material.row[index] < 0:
            return []
        if self._unit is None:
            self._unit = unit_rows(np.asarray(material.features))
        others = np.flatnonzero((material.row >= 0) & (material.groups != material.groups[index]))
        others = np.array([each for each in others.tolist() if self.label(each) == label], np.int64)
        if not len(others):
            return []
        alike = self._unit[material.row[others]] @ self._unit[material.row[index]]
        order = np.argsort(-alike, kind="stable")[:NUM_NEAREST]
        return [{**self._describe(int(others[k])), "cosine": float(alike[k])} for k in order.tolist()]

    def decide(self, number: int, kind: Kind, label: str = "") -> Answer:
        """Write one decision for all images that the item covers, and return the state.

        Raises:
            UsageError: the class is missing or its name is invalid. SaveError: the file cannot be written.

        """
        item = self._item(number)
        label = label.strip()
        if kind in ("relabel", "merge"):
            _check_class(label)
        with self.lock:
            rows = self._rows(item, kind, label)
            self.log.append(rows)
            self.undoable.append((number, rows))
            self._now = None
            return self.state()

    def _rows(self, item: Item, kind: Kind, label: str) -> list[Correction]:
        when, who = self.log.stamp(), self.log.who
        if kind == "merge":
            old = self.label(item.images[0])
            if not old:
                raise UsageError("this image has no class that could be merged; press R and choose its class")
            if old == label:
                raise UsageError(f"only two different classes can be merged; got {label} twice; type the other's name")
            return [Correction("", "", 0, old, label, "merge", who, when)]
        if kind == "keep" and not self.label(item.images[0]):
            raise UsageError("this image has no label that could be right; press R and choose its class")
        rows: dict[str, Correction] = {}
        for index in item.covers:
            digest, old = self.digest(index), self.label(index) or ""
            new = {"relabel": label, "keep": old}.get(kind, "")
            size = self.material.images.read.size_bytes(index)
            rows[digest] = Correction(self.material.images.names[index], digest, size, old, new, kind, who, when)
        return list(rows.values())

    def undo(self) -> Answer:
        """Undo the last decision; returns the state and the number of its item.

        Raises:
            UsageError: there is none.

        """
        with self.lock:
            if not self.undoable:
                raise UsageError("there is nothing to undo; an earlier page's decision can be replaced by a new one")
            number, rows = self.undoable[-1]
            when = self.log.stamp()
            self.log.append(
                [Correction(r.image, r.digest, r.size_bytes, r.old, r.new, "undo", r.who, when) for r in rows]
            )
            self.undoable.pop()
            self._now = None
            return {**self.state(), "number": number}

    def worth(self) -> Answer:
        """The effect of the decisions before any training.

        Two heads on frozen features, out of fold, are scored against the labels as decided now, on the same images.
        """
        material = self.material
        before = held_out_answers(
            material.images, material.looks, material.groups, material.row, material.features, Standing({}, [])
        )
        after = held_out_answers(
            material.images, material.looks, material.groups, material.row, material.features, self.decided
        )
        names = list(material.images.classes)
        labels = [self.label(index) for index in range(len(material.images))]
        judged = [
            k for k in range(len(labels)) if labels[k] in names and not np.isnan([before[k, 0], after[k, 0]]).any()
        ]
        if not judged:
            return {"sentence": "there are too few images of two classes to measure this"}
        truth = np.array([names.index(labels[k] or "") for k in judged])
        right_before, right_after = (probabilities[judged].argmax(1) == truth for probabilities in (before, after))
        num_lost, num_won = int((right_before & ~right_after).sum()), int((right_after & ~right_before).sum())
        low, high = paired_interval(num_lost, num_won, len(judged))
        result = CorrectionsWorth(
            "before",
            "after",
            len(self.decided.by_digest) + len(self.decided.merges),
            len(judged),
            float(right_before.mean()),
            float(right_after.mean()),
            low,
            high,
            mcnemar(num_lost, num_won),
        )
        return {"sentence": f"A head on frozen features, out of fold: {result.sentence()}", **vars(result)}

    def image(self, index: int, side_px: int) -> tuple[bytes, bytes]:
        """An image for the page and its type, its longer side at most `side_px`.

        Raises:
            UsageError: there is no such image or size. ImageError: it cannot be read.

        """
        if not 0 <= index < len(self.material.images):
            raise UsageError(f"images have numbers 0 to {len(self.material.images) - 1:,}; got {index}")
        if side_px not in SIDES_PX:
            raise UsageError(f"a side is one of {SIDES_PX}; got {side_px}")
        images = self.material.images
        return image_bytes(open_image(images.read(index), value_range=images.value_range or "own"), side_px)

    def _item(self, number: int) -> Item:
        if not 0 <= number < len(self.queue):
            raise UsageError(f"there are {count(len(self.queue), 'question')}; got number {number}")
        return self.queue[number]


def image_bytes(image: Image.Image, side_px: int) -> tuple[bytes, bytes]:
    """A file for the browser, and its type.

    PNG if the image is small, so that its pixels stay exact.
    """
    small = max(image.size) <= 256
    if max(image.size) > side_px:
        image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "PNG") if small else image.convert("RGB").save(stream, "JPEG", quality=90)
    return stream.getvalue(), b"image/png" if small else b"image/jpeg"


def _check_class(label: str) -> None:
    if not label or len(label) > MAX_NAME or any(ord(sign) < 32 for sign in label):
        raise UsageError(f"a class has a name of 1 to {MAX_NAME} plain characters; got {label[:40]!r}; type another")
