"""`catseye predict`: paths in, one row per image out, in order.

An unreadable image gets a row with its error. Called by cli. No torch: works with any `Classifier`.
"""

import csv
import glob
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catseye.classifier import Classifier, Prediction
from catseye.data.sources.image_names import image_names
from catseye.data.sources.leftovers import is_leftover
from catseye.data.sources.lists.listed_images import images_of_list
from catseye.data.sources.lists.table import LIST_SUFFIXES
from catseye.errors import DataError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")


@dataclass(frozen=True)
class PredictionRow:
    """One image: its best classes with probabilities, or an error."""

    path: str
    top: list[tuple[str, float]]
    unknown: bool = False
    error: str | None = None
    familiarity: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The row as plain JSON types, with exact class names.

        Probabilities are 0 to 1; familiarity, -1 to 1, is there if the model measures it.
        """
        if self.error is not None:
            return {"path": self.path, "error": self.error}
        answers = [{"class": name, "probability": value} for name, value in self.top]
        known = {} if self.familiarity is None else {"familiarity": round(self.familiarity, 4)}
        return {"path": self.path, "class": self.top[0][0], "unknown": self.unknown, **known, "top": answers}

    def to_text(self) -> str:
        """One line for a terminal."""
        if self.error is not None:
            return f"{self.path}: error: {self.error}"
        answers = ", ".join(f"{name} {value:.1%}" for name, value in self.top)
        return f"{self.path}: {'unknown; ' if self.unknown else ''}{answers}"


def list_images(paths: Iterable[str]) -> list[str]:
    """All of `walk_images`, as a list."""
    return list(walk_images(paths))


def walk_images(paths: Iterable[str]) -> Iterator[str]:
    """Files as they are, folders as all images in them, globs expanded, lists read.

    A list (.csv, .tsv, .jsonl, .txt) names images below its folder or near it; another file of such a suffix is yielded
    itself and becomes a row with its error. The order is kept. Memory grows with the
    largest single folder, not with all of them.

    Raises:
        DataError: nothing matches.

    """
    for path in paths:
        if _is_folder(path):
            num_found = 0
            for name in _inside(path):
                num_found += 1
                yield name
            if not num_found:
                raise DataError(f"folder {path} holds no images")
        elif not os.path.lexists(path) and glob.has_magic(path):
            matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207
            if not matches:
                raise DataError(f"nothing matches {path}")
            for match in matches:
                yield from _inside(match) if _is_folder(match) else [match]
        elif path.lower().endswith(LIST_SUFFIXES) and Path(path).is_file():
            try:
                yield from images_of_list(Path(path))
            except DataError:
                yield path  # a row says why
        else:
            yield path


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  (a Path raises if a folder above it may not be entered)


def _inside(folder: str) -> Iterator[str]:
    """All images below a folder, sorted by whole path.

    Hidden files and leftovers are left out, as in training. Linked folders are followed, each chain of links once. A
    folder that cannot be listed is yielded itself and becomes a row with its error.
    """
    start = str(Path(folder))
    yield from _below("" if start == "." else start.rstrip(os.sep) + os.sep, (os.path.realpath(folder),))


def _below(prefix: str, above: tuple[str, ...]) -> Iterator[str]:
    """All images below a folder; `prefix` is its path with the slash.

    `above` are the real paths of this folder and of those above it.
    """
    try:
        with os.scandir(prefix or ".") as entries:
            seen = [(entry.name, entry.is_dir(), entry) for entry in entries if not is_leftover(entry.name)]
    except OSError:  # not readable, or removed meanwhile
        yield prefix.rstrip(os.sep) or prefix or "."
        return
    images = set(image_names(name for name, is_folder, _ in seen if not is_folder))
    # Folders are sorted with the slash that follows their name in a path, so that whole paths are in order.
    for name, is_folder, entry in sorted(seen, key=lambda item: item[0] + os.sep * item[1]):
        if is_folder:
            real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(above[-1], name)  # noqa: PTH118
            if real not in above:
                yield from _below(prefix + name + os.sep, (*above, real))
        elif name in images and (entry.is_file() or entry.is_symlink()):
            yield prefix + name


def predict_files(classifier: Classifier, paths: Sequence[str], *, top: int = 1) -> Iterator[PredictionRow]:
    """Classify files in batches."""
    for path, answer in zip(paths, classifier.predict_many(paths), strict=True):
        if isinstance(answer, Prediction):
            yield PredictionRow(path, answer.top(top), answer.unknown, familiarity=answer.familiarity)
        else:
            yield PredictionRow(path, [], error=_why_not_listed(path) or str(answer))


def _why_not_listed(path: str) -> str:
    """Why a folder, list or archive is there instead of its images; else empty."""
    if path.lower().endswith(LIST_SUFFIXES) and Path(path).is_file():
        try:
            deque(images_of_list(Path(path)), maxlen=0)
        except DataError as error:
            return str(error)
    if path.lower().endswith(ARCHIVE_SUFFIXES) and Path(path).is_file():
        return f"{path} is an archive; unpack it and give the folder"
    if not _is_folder(path):
        return ""
    try:
        with os.scandir(path):
            return f"{path} is a folder, which a list cannot contain; give the folder itself"
    except OSError as error:
        return f"folder {path} cannot be listed ({error.strerror}); its images are missing here"


def write_csv(rows: Sequence[PredictionRow], path: Path) -> None:
    """Write a CSV table of path, class, probability, unknown, error.

    With more than one class per image, it has more pairs of class and probability. A leading apostrophe disarms text
    that a spreadsheet would run as a formula.

    Raises:
        DataError: the file cannot be written.

    """
    pairs = max((len(row.top) for row in rows), default=1) or 1
    header = ["path"]
    for number in range(1, pairs + 1):
        suffix = "" if number == 1 else f"_{number}"
        header += [f"class{suffix}", f"probability{suffix}"]
    try:
        with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow([*header, "unknown", "error"])
            for row in rows:
                cells = [text for name, value in row.top for text in (neutral(name), f"{value:.6f}")]
                cells += [""] * (2 * pairs - len(cells))
                unknown = "" if row.error else str(row.unknown).lower()
                writer.writerow([neutral(row.path), *cells, unknown, neutral(row.error or "")])
    except OSError as error:
        raise DataError(f"--csv {path} cannot be written ({error.strerror})") from None


def neutral(text: str) -> str:
    """Text that no spreadsheet treats as a formula.

    Source: OWASP, CSV Injection.

    >>> neutral("=1+1"), neutral("cat")
    ("'=1+1", 'cat')
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text
