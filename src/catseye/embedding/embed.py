"""`catseye embed`: images to a file of vectors; a killed call can be resumed.

Enters: DATA and a network. Leaves: `Embedding` and the file. Called by walks.py and deep_check.py. Until all are done,
the vectors are in OUT.partial, a memory-mapped array, and the number of finished images is in a file beside it.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from catseye.counting import count
from catseye.data.sources import ImageSet
from catseye.data.sources.image_set import take_images
from catseye.data.survey import fingerprint_images
from catseye.embedding.backbone import Backbone, Embedded, embed_images, embed_portion
from catseye.embedding.features import FEATURE_SUFFIXES, Features, read_features, write_features
from catseye.embedding.neighbours import norms_of
from catseye.errors import DataError, SaveError, UsageError
from catseye.files import write_atomically

PORTION = 256  # images between two saved states
DIGEST_BYTES = 16
HALF = 0.5  # of the images; if a file has fewer of them, all are computed again, which can be resumed


@dataclass(frozen=True)
class Embedding:
    """What was written: rows, width, rows from an earlier call, images left out."""

    path: Path
    num_images: int
    num_features: int
    num_resumed: int
    bad: dict[int, str]


class _Partial:
    """The unfinished work beside the file.

    A row per image: its features, and the digest of its content in 16 bytes.
    """

    def __init__(self, out: Path, mark: str, num_images: int) -> None:
        self.rows_path = out.with_name(f"{out.name}.partial")
        self.about_path = out.with_name(f"{out.name}.partial.json")
        self.mark, self.num_images = mark, num_images
        self.done, self.width = 0, 0
        self.bad: dict[int, str] = {}
        self._rows: NDArray[np.uint8] | None = None
        with suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads(self.about_path.read_text(encoding="utf-8"))
            bad = {int(index): reason for index, reason in state["bad"].items()}
            size = num_images * (state["width"] * 4 + DIGEST_BYTES)
            if state["mark"] == mark and self.rows_path.stat().st_size == size:
                self.done, self.width, self.bad = state["done"], state["width"], bad

    def _open(self, mode: Literal["r+", "w+"]) -> NDArray[np.uint8]:
        if self._rows is None:
            shape = (self.num_images, self.width * 4 + DIGEST_BYTES)
            self._rows = np.memmap(self.rows_path, np.uint8, mode, shape=shape)
        return self._rows

    def add(self, portion: Embedded, done: int) -> None:
        """Store a portion, and record that all images before number `done` are finished."""
        self.bad |= portion.bad
        if len(portion.indices):
            begun = self.width > 0
            self.width = portion.features.shape[1]
            rows = self._open("r+" if begun else "w+")
            digests = np.frombuffer(b"".join(portion.digests), np.uint8).reshape(-1, DIGEST_BYTES)
            rows[portion.indices] = np.concatenate([portion.features.view(np.uint8), digests], axis=1)
            rows.flush()  # type: ignore[attr-defined]
        self.done = done
        if self.width:
            state = {"mark": self.mark, "done": done, "width": self.width, "bad": self.bad}
            write_atomically(self.about_path, json.dumps(state))

    def values(self) -> NDArray[np.float32]:
        """Shape: (N, F), memory-mapped; the rows of unreadable images hold zeros."""
        return self._open("r+")[:, : self.width * 4].view(np.float32)

    def digest(self, index: int) -> str:
        """The digest of one image's content, in hexadecimal."""
        return bytes(self._open("r+")[index, self.width * 4 :]).hex()

    def remove(self) -> None:
        """Remove both files."""
        self._rows = None
        self.about_path.unlink(missing_ok=True)
        self.rows_path.unlink(missing_ok=True)


def embed(images: ImageSet, backbone: Backbone, out: Path, *, tell: Callable[[str], None] | None = None) -> Embedding:
    """Write the features of all images to `out`, .npz or .parquet.

    Raises:
        UsageError: `out` has another suffix. DataError: no image can be read. SaveError: the disk is full.

    """
    if out.suffix.lower() not in FEATURE_SUFFIXES:
        raise UsageError(f"--out is a .npz or .parquet file; got {out.name}; for example --out features.npz")
    num, say = len(images), tell or (lambda line: None)
    mark = sha256(f"{fingerprint_images(images)} {backbone.sha256}".encode()).hexdigest()
    partial = _Partial(out, mark, num)
    resumed = partial.done
    try:
        for start in range(partial.done, num, PORTION):
            indices = np.arange(start, min(start + PORTION, num))
            partial.add(embed_portion(backbone, images, indices), int(indices[-1]) + 1)
            say(f"{partial.done:,} of {count(num, 'image')}")
        if not partial.width:
            first = next(iter(partial.bad.values()))
            raise DataError(f"{images.source}: none of {count(num, 'image')} can be read; first: {first}")
        write_features(out, _collect_rows(images, backbone, partial))
    except OSError as error:
        raise SaveError(f"{out} cannot be written ({error.strerror}); choose another file") from None
    partial.remove()
    return Embedding(out, num - len(partial.bad), partial.width, resumed, partial.bad)


def embed_what_is_new(images: ImageSet, backbone: Backbone, keep: Path, tell: Callable[[str], None]) -> Features:
    """The features of all readable images; only those that `keep` lacks are computed.

    Images are compared by name, and the new features are added to the file.

    Raises:
        DataError: no image can be read. SaveError: the disk is full.

    """
    kept = _of_this_network(keep, backbone)
    number = {name: index for index, name in enumerate(images.names)}
    rows = np.array([row for row, name in enumerate(kept.names) if name in number] if kept else [], np.int64)
    if kept is None or len(rows) < HALF * len(images):
        embed(images, backbone, keep, tell=tell)
        return read_features(keep)
    known = {kept.names[row] for row in rows.tolist()}
    new = np.array([index for name, index in number.items() if name not in known], np.int64)
    if not len(new) and len(rows) == len(kept.names):
        return kept
    part = take_images(images, new)
    added = embed_images(backbone, part, tell=lambda done: tell(f"{done:,} of {count(len(new), 'new image')}"))
    values = np.concatenate([kept.values[rows], added.features.reshape(-1, kept.values.shape[1])])
    numbers = np.array([*(number[kept.names[row]] for row in rows.tolist()), *new[added.indices].tolist()], np.int64)
    joined = Features(
        values,
        norms_of(values),
        [images.names[index] for index in numbers.tolist()],
        images.labels[numbers],
        images.splits[numbers],
        [*(kept.digests[row] for row in rows.tolist()), *(digest.hex() for digest in added.digests)],
        images.classes,
        {**kept.origin, "source": images.source},
    )
    write_features(keep, joined)
    return read_features(keep)


def _of_this_network(keep: Path, backbone: Backbone) -> Features | None:
    if not keep.exists():
        return None
    try:
        features = read_features(keep)
    except DataError:
        return None
    return features if features.origin["sha256"] == backbone.sha256 else None


def _collect_rows(images: ImageSet, backbone: Backbone, partial: _Partial) -> Features:
    """The rows of the images that could be read."""
    kept = np.array([index for index in range(len(images)) if index not in partial.bad], np.int64)
    rows = partial.values() if not partial.bad else partial.values()[kept]
    origin: dict[str, Any] = {
        "source": images.source,
        "backbone": backbone.name,
        "sha256": backbone.sha256,
        "preprocessing": backbone.spec.model_dump(mode="json"),
    }
    return Features(
        rows,
        norms_of(rows),
        [images.names[index] for index in kept.tolist()],
        images.labels[kept],
        images.splits[kept],
        [partial.digest(index) for index in kept.tolist()],
        images.classes,
        origin,
    )
