"""Labels a folder of images: next question, a proposal, the decisions so far.

Enters: a folder's images, their features, the classes, the file of decisions. Leaves: answers as JSON types. Called by
app.py. The model is embedding/teaching.py; only the file is kept, so that a new desk continues from it.
"""

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.data.check.findings import printable
from catseye.data.sources import ImageSet
from catseye.data.sources.corrections import Correction
from catseye.embedding.features import Features
from catseye.embedding.teaching import Teaching
from catseye.errors import UsageError
from catseye.preprocess import open_image
from catseye.review.desk import SIDES_PX, image_bytes
from catseye.review.log import CorrectionLog

Answer = dict[str, Any]


class LabelDesk:
    """A folder being labelled; images are numbered by the rows of their features."""

    def __init__(self, images: ImageSet, features: Features, classes: tuple[str, ...], log: CorrectionLog) -> None:
        self.images, self.features, self.classes, self.log = images, features, classes, log
        self.lock = threading.Lock()
        number = {name: index for index, name in enumerate(images.names)}
        self.numbers = [number[name] for name in features.names]  # row -> number in `images`
        self.by_digest: dict[str, list[int]] = {}
        for row, digest in enumerate(features.digests):
            self.by_digest.setdefault(digest, []).append(row)
        self.undoable: list[list[Correction]] = []
        self.skipped: set[int] = set()
        self.curve: list[tuple[int, float]] = []
        self.retrained_s = 0.0
        self.teaching = Teaching(np.asarray(features.values), len(classes), self._decided())
        self._note()

    def _decided(self) -> dict[int, int]:
        """Row -> class of every decided image, -1 for one that belongs to no class."""
        known = {name: index for index, name in enumerate(self.classes)}
        classes: dict[int, int] = {}
        for row, label in enumerate(self.features.labels.tolist()):  # half-labelled folders
            if label >= 0 and self.features.classes[label] in known:
                classes[row] = known[self.features.classes[label]]
        for digest, (_, decision) in self.log.standing.by_digest.items():
            for row in self.by_digest.get(digest, []):
                classes[row] = -1 if decision.kind in ("drop", "unsure") else known.get(decision.new, -1)
        return classes

    def _note(self) -> None:
        estimate = self.teaching.estimate()
        if estimate is not None:
            self.curve.append((len(self.teaching.decided), estimate))

    def state(self) -> Answer:
        """The next question, and the progress."""
        row = self.teaching.next(self.skipped)
        if row is None and self.skipped:  # skipped images come again at the end
            self.skipped.clear()
            row = self.teaching.next()
        shares = self.teaching.probabilities()
        estimate = self.teaching.estimate()
        _, labels = self.teaching.labelled()
        counts = np.bincount(labels, minlength=len(self.classes)) if len(labels) else np.zeros(len(self.classes), int)
        return {
            "classes": [printable(name) for name in self.classes],
            "counts": counts.tolist(),
            "file": printable(str(self.log.path)),
            "total": len(self.numbers),
            "num_decided": len(self.teaching.decided),
            "estimate": estimate,
            "curve": self.curve[-200:],
            "by": "a head on frozen features" if self.teaching.head is not None else "the nearest images",
            "retrained_s": self.retrained_s,
            "can_undo": bool(self.undoable),
            "question": None if row is None else self._question(row, shares),
        }

    def _question(self, row: int, shares: NDArray[np.float32]) -> Answer:
        order = np.argsort(-shares[row], kind="stable")
        known = len(np.unique(self.teaching.labelled()[1])) > 0
        return {
            "number": row,
            "name": printable(self.images.names[self.numbers[row]]),
            "copies": len(self.by_digest[self.features.digests[row]]) - 1,
            "proposed": printable(self.classes[int(order[0])]) if known else "",
            "shares": [
                {"label": printable(self.classes[k]), "share": float(shares[row, k])} for k in order[:5].tolist()
            ],
        }

    def decide(self, number: int, kind: str, label: str = "") -> Answer:
        """Write one decision, retrain the head, and return the state.

        Raises:
            UsageError: the class is unknown. SaveError: the file cannot be written.

        """
        if not 0 <= number < len(self.numbers):
            raise UsageError(f"images have numbers 0 to {len(self.numbers) - 1:,}; got {number}")
        if kind == "relabel" and label not in self.classes:
            raise UsageError(f"the classes are {', '.join(self.classes[:20])}; got {label!r}; choose one of these")
        if kind not in ("relabel", "drop", "unsure"):
            raise UsageError(f"a decision is relabel, drop or unsure; got {kind!r}")
        with self.lock:
            digest, when = self.features.digests[number], self.log.stamp()
            rows, new_label = [], label if kind == "relabel" else ""
            for row in self.by_digest[digest]:
                index = self.numbers[row]
                name, size = self._name_in_list(index), self.images.read.size_bytes(index)
                rows.append(Correction(name, digest, size, "", new_label, kind, self.log.who, when))
            self.log.append(rows)
            self.undoable.append(rows)
            self._retrain()
            return self.state()

    def _retrain(self) -> None:
        begun = time.perf_counter()
        self.teaching.decided = self._decided()
        self.teaching.retrain()
        self.retrained_s = time.perf_counter() - begun
        self._note()

    def skip(self, number: int) -> Answer:
        """Continue with another image; this one comes again at the end."""
        with self.lock:
            self.skipped.add(number)
            return self.state()

    def undo(self) -> Answer:
        """Undo the last decision.

        Raises:
            UsageError: there is none.

        """
        with self.lock:
            if not self.undoable:
                raise UsageError(
                    "there is nothing to undo; decisions made before this page was opened cannot be undone"
                )
            when = self.log.stamp()
            taken = self.undoable[-1]
            self.log.append(
                [Correction(r.image, r.digest, r.size_bytes, r.old, r.new, "undo", r.who, when) for r in taken]
            )
            self.undoable.pop()
            self._retrain()
            return self.state()

    def _name_in_list(self, index: int) -> str:
        """The file's name in the list, which `train` takes as DATA.

        It is relative to the list's folder if the file is inside that folder.
        """
        path = Path(self.images.source) / self.images.names[index]
        folder = self.log.path.parent
        return os.path.relpath(path, folder) if path.is_relative_to(folder) else str(path)

    def image(self, index: int, side_px: int) -> tuple[bytes, bytes]:
        """An image for the page, by its row.

        Raises:
            UsageError: there is no such image or size. ImageError: it cannot be read.

        """
        if not 0 <= index < len(self.numbers) or side_px not in SIDES_PX:
            raise UsageError(f"images have numbers 0 to {len(self.numbers) - 1:,}; got {index} at {side_px} px")
        content = self.images.read(self.numbers[index])
        return image_bytes(open_image(content, value_range=self.images.value_range or "own"), side_px)
