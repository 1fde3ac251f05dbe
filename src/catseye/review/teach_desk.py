"""One lesson with a camera: classes, frames, a head that learns, live answers.

Enters: frames as image files, a frozen network. Leaves: answers as JSON types. Called by app.py, in threads. Frames
stay in memory until the user keeps the model (kept.py).
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.counting import count
from catseye.data.check.findings import printable
from catseye.data.sources.image_set import content_digest
from catseye.errors import CatseyeError, UsageError
from catseye.preprocess import UPLOAD_FORMATS, open_image, preprocess
from catseye.review.desk import image_bytes
from catseye.review.kept import KeptImage, choose_folder, keep_run
from catseye.review.taught import FrozenNetwork, Lesson, Taught, teach_network

Answer = dict[str, Any]
MIN_FRAMES = 5  # of a class, to learn it
MAX_FRAMES = 1000  # of a class: at 20 kB a frame, 20 MB
MAX_CLASSES = 12
NUM_FOLDS = 4
HELD_OUT = 5  # one in this many frames, the last ones, is held out to measure the head
THUMBNAIL_PX = 160
_NO_FOLDERS = set('/\\:*?"<>|')


@dataclass(frozen=True)
class Frame:
    """One recorded frame: its file, the digest of that, its features (F,)."""

    content: bytes
    digest: bytes
    features: NDArray[np.float32] = field(repr=False)


class TeachDesk:
    """A lesson from its first frame to the kept model."""

    def __init__(self, frozen: FrozenNetwork, classes: Sequence[str], out: Path | None) -> None:
        self.frozen, self.out = frozen, out
        self.classes: list[str] = []
        self.frames: list[list[Frame]] = []
        self.lock = threading.Lock()  # for everything above and the network
        self.exporting = threading.Lock()
        self.taught: Taught | None = None
        self.learnt: list[int] = []  # numbers of the classes that the head knows
        self.learnt_s = 0.0
        self.kept: Path | None = None
        for name in classes:
            self._add(name)

    def state(self) -> Answer:
        """The classes, the recorded frames, and the score of the head."""
        taught = self.taught
        return {
            "classes": [
                {
                    "name": printable(name),
                    "num_frames": len(frames),
                    "learnt": number in self.learnt,
                    "thumbnails": [frame.digest.hex() for frame in frames[-5:]],
                }
                for number, (name, frames) in enumerate(zip(self.classes, self.frames, strict=True))
            ],
            "backbone": printable(self.frozen.backbone.name),
            "min_frames": MIN_FRAMES,
            "max_classes": MAX_CLASSES,
            "learnt": taught is not None,
            "learnt_s": self.learnt_s,
            "num_right": taught.num_right if taught else 0,
            "num_held": len(taught.held_labels) if taught else 0,
            "kept": printable(str(self.kept)) if self.kept else "",
        }

    def add(self, name: str) -> Answer:
        """One more class.

        Raises:
            UsageError: there are too many, or the name cannot be a folder's.

        """
        with self.lock:
            self._add(name)
            return self.state()

    def _add(self, name: str) -> None:
        if len(self.classes) >= MAX_CLASSES:
            raise UsageError(f"a lesson has at most {MAX_CLASSES} classes; got one more; use folders and train instead")
        self._check_name(name.strip(), -1)
        self.classes.append(name.strip())
        self.frames.append([])

    def rename(self, number: int, name: str) -> Answer:
        """Give a class another name; its frames stay.

        Raises:
            UsageError: there is no such class, or the name cannot be a folder's.

        """
        with self.lock:
            self._require(number)
            self._check_name(name.strip(), number)
            self.classes[number] = name.strip()
            return self._learn()

    def _check_name(self, name: str, number: int) -> None:
        """A name must also work as a folder's, even on systems that ignore case."""
        others = {other.casefold() for place, other in enumerate(self.classes) if place != number}
        plain = name.isprintable() and not _NO_FOLDERS & set(name) and not name.startswith(".")
        if not name or len(name) > 80 or not plain or name.endswith("."):
            raise UsageError(
                f"a class has a name of 1 to 80 characters that can be a folder's; got {name[:80]!r}; type another"
            )
        if name.casefold() in others:
            raise UsageError(f"each class needs a different name; got {name!r} twice; type another")

    def _require(self, number: int) -> None:
        if not 0 <= number < len(self.classes):
            raise UsageError(f"classes have numbers 0 to {len(self.classes) - 1}; got {number}; reload the page")

    def record(self, number: int, content: bytes) -> Answer:
        """Add a frame to a class; a frame added before, to any class, is not counted.

        Raises:
            UsageError: there is no such class, or it is full. ImageError: it is not an image.

        """
        pixels = preprocess(content, self.frozen.backbone.spec, formats=UPLOAD_FORMATS)
        digest = content_digest(content)
        with self.lock:
            self._require(number)
            if len(self.frames[number]) >= MAX_FRAMES:
                raise UsageError(f"a class has at most {MAX_FRAMES:,} frames; got one more; that many are enough")
            fresh = all(digest != frame.digest for frames in self.frames for frame in frames)
            if fresh:
                features = self.frozen.backbone.embed(pixels[None])[0]
                self.frames[number].append(Frame(content, digest, features))
            return {"num_frames": len(self.frames[number]), "counted": fresh, "digest": digest.hex()}

    def forget(self, number: int) -> Answer:
        """Forget all frames of a class.

        Raises:
            UsageError: there is no such class.

        """
        with self.lock:
            self._require(number)
            self.frames[number] = []
            return self._learn()

    def learn(self) -> Answer:
        """Train the head on the frames recorded so far."""
        with self.lock:
            return self._learn()

    def _learn(self) -> Answer:
        self.learnt = [number for number, frames in enumerate(self.frames) if len(frames) >= MIN_FRAMES]
        self.taught = None
        if len(self.learnt) >= 2:
            begun = time.perf_counter()
            self.taught = teach_network(self.frozen, self._lesson())
            self.learnt_s = time.perf_counter() - begun
        else:
            self.learnt = []
        return self.state()

    def _lesson(self) -> Lesson:
        rows: dict[str, list[NDArray[np.float32]]] = {"train": [], "val": []}
        folds: list[int] = []
        labels: dict[str, list[int]] = {"train": [], "val": []}
        for label, number in enumerate(self.learnt):
            for side, frames in _sides(self.frames[number]).items():
                rows[side] += [frame.features for frame in frames]
                labels[side] += [label] * len(frames)
                if side == "train":
                    folds += [place * NUM_FOLDS // len(frames) for place in range(len(frames))]
        names = tuple(self.classes[number] for number in self.learnt)
        learnt, held = (np.array(labels[side], np.int64) for side in ("train", "val"))
        features, held_features = np.stack(rows["train"]), np.stack(rows["val"])
        return Lesson(names, features, learnt, np.array(folds, np.int64), held_features, held)

    def answer(self, content: bytes) -> Answer:
        """The head's answer for a frame, as `catseye predict` gives with the kept run.

        Raises:
            UsageError: nothing has been learnt yet. ImageError: it is not an image.

        """
        begun = time.perf_counter()
        with self.lock:
            taught = self._require_taught()
            answer = taught.classifier.predict(content)
        return {
            "label": printable(answer.label),
            "confidence": answer.confidence,
            "unknown": answer.unknown,
            "familiarity": answer.familiarity,
            "threshold": taught.manifest.familiarity_threshold,
            "shares": [
                {"label": printable(name), "share": float(share)}
                for name, share in zip(answer.classes, answer.probabilities, strict=True)
            ],
            "ms": (time.perf_counter() - begun) * 1000,
        }

    def _require_taught(self) -> Taught:
        if self.taught is None:
            raise UsageError(
                f"learning needs two classes with {MIN_FRAMES} frames each; got fewer; hold a button to record"
            )
        return self.taught

    def keep(self) -> Answer:
        """Write the frames and the network to a run folder.

        It replaces an earlier one of this lesson.

        Raises:
            UsageError: nothing has been learnt yet, or the folder cannot be made. SaveError: the disk is full.

        """
        with self.lock:
            taught = self._require_taught()
            images = [
                KeptImage(side, self.classes[number], frame.content, frame.digest)
                for number in self.learnt
                for side, frames in _sides(self.frames[number]).items()
                for frame in frames
            ]
            folder = self.kept or choose_folder(self.out)
            keep_run(folder, images, taught, self.frozen)
            self.kept = folder
            sentence = f"{count(len(images), 'image')} and the model are kept in {printable(str(folder))}"
            return {**self.state(), "sentence": sentence}

    def export(self) -> Answer:
        """Keep the run, and export it to ONNX through the parity gate.

        Raises:
            CatseyeError: the file's answers differ from the run's, so it was not written.

        """
        with self.exporting:
            state = self.keep()
            return {**state, "sentence": printable(_export_beside(str(self.kept)))}

    def image(self, digest: str) -> tuple[bytes, bytes]:
        """A recorded frame for the page, and its type.

        Raises:
            UsageError: there is none with that digest.

        """
        frame = next((f for frames in self.frames for f in frames if f.digest.hex() == digest), None)
        if frame is None:
            raise UsageError("there is no such frame; reload the page")
        return image_bytes(open_image(frame.content, value_range="own"), THUMBNAIL_PX)


def _export_beside(folder: str) -> str:
    """Export a run in another process.

    While torch traces a network, no other thread may use torch.

    Raises:
        CatseyeError: the command failed; has its message.

    """
    words = [sys.executable, "-m", "catseye", "export", folder, "--device", "cpu", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", errors="replace")  # noqa: S603
    if done.returncode:
        raise CatseyeError(done.stderr.strip() or f"the export ended with code {done.returncode}")
    (exported,) = json.loads(done.stdout)["files"]
    parity = exported["parity"]
    return (
        f"{exported['path']}: on {count(parity['num_images'], 'held-out frame')} it gives {parity['agreement']:.0%} of "
        f"the run's answers, with a probability off by at most {parity['max_difference']:.0e}"
    )


def _sides(frames: Sequence[Frame]) -> dict[str, Sequence[Frame]]:
    """The frames to learn from, and the last ones, which are held out."""
    num_held = max(1, len(frames) // HELD_OUT)
    return {"train": frames[:-num_held], "val": frames[-num_held:]}
