"""`catseye.predict`: a class for every image, in files or in memory. No torch.

Enters: a model and images. Leaves: `Predictions`; for millions of images, a folder of Parquet files. Called by users
and by cli.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
from PIL import Image

from catseye.classifier import Classifier, Prediction
from catseye.errors import ImageError, UnknownName, UsageError, refuse_unknown_options
from catseye.files import StrPath, path_of
from catseye.notebook import MAX_SHOWN, Html, as_frame, html_image, html_table
from catseye.prediction.paths import PredictionRow, predict_files, walk_images, write_csv
from catseye.prediction.plan import read_list
from catseye.prediction.predict import PART_SIZE, predict_in_parts
from catseye.prediction.ray_engine import RayWorkers
from catseye.preprocess import open_image
from catseye.runtimes.loading import load

ENGINES = ("here", "ray")


class PredictOptions(TypedDict, total=False):
    """Further options of `predict`; the first four need engine="ray"."""

    out: StrPath | None
    workers: int
    part_size: int | None
    tell: Callable[[str], object]
    list: StrPath | None


class Predictions(list[PredictionRow]):
    """One row per image, in order.

    An image that could not be read is a row with its error.
    """

    def __init__(self, rows: Iterable[PredictionRow], images: Sequence[Any] = ()) -> None:
        super().__init__(rows)
        self._images = images

    @property
    def num_failed(self) -> int:
        """The number of images that could not be read."""
        return sum(row.error is not None for row in self)

    def to_frame(self) -> Any:
        """A pandas DataFrame: path, class, probability, unknown, familiarity, error.

        Raises:
            MissingDependency: pandas is not installed.

        """
        rows = [
            {
                "path": row.path,
                "class": row.top[0][0] if row.top else None,
                "probability": row.top[0][1] if row.top else None,
                "unknown": row.unknown,
                "familiarity": row.familiarity,
                "error": row.error,
            }
            for row in self
        ]
        return as_frame(rows, ["path", "class", "probability", "unknown", "familiarity", "error"])

    def _repr_html_(self) -> str:
        rows = []
        for number, row in enumerate(self[:MAX_SHOWN]):
            answers = ", ".join(f"{name} {value:.1%}" for name, value in row.top)
            text = f"error: {row.error}" if row.error else f"{'unknown; ' if row.unknown else ''}{answers}"
            rows.append((self._thumbnail(number), row.path, text))
        return html_table(("image", "path", "answer"), rows)

    def _thumbnail(self, number: int) -> Html:
        if number >= len(self._images):
            return Html("")
        try:
            return html_image(np.asarray(open_image(self._images[number]).convert("RGB")), self[number].path)
        except (ImageError, MemoryError):
            return Html("")


def predict(
    model: StrPath | Classifier,
    images: Any = None,
    *,
    top: int = 1,
    csv: StrPath | None = None,
    engine: str = "here",
    device: str = "auto",
    trust: bool = False,
    **options: Unpack[PredictOptions],
) -> Any:
    """Classify images: `Predictions`, one row per image, in order.

    `images` is a path, a folder, a pattern, the bytes of a file, a uint8 array (H, W[, C]), a Pillow image, or a list
    of any of these; an array (N, H, W, C) is N images. `list` is a text file with one path per line. `top`: classes
    per image. `csv`: also write a table there. `engine="ray"` classifies millions into a folder `out` of Parquet files
    and returns a `PredictionSummary`; `workers` and `part_size` are for it; `tell` gets progress messages.

    Raises:
        UsageError: an option is wrong. ModelFileError: the model cannot be used. DataError: a folder holds no images.

    """
    refuse_unknown_options(options, PredictOptions)
    if engine not in ENGINES:
        raise UnknownName("engine", engine, ENGINES)
    if top < 1:
        raise UsageError(f"--top is 1 or more; got {top}")
    names = options.get("list")
    if images is None and names is None:
        raise UsageError("nothing to classify; give images, folders, globs or lists (.csv, .txt) after the model")
    if engine == "ray":
        if csv or options.get("out") is None:
            raise UsageError(f"--engine ray writes Parquet into --out DIR; got {'--csv' if csv else 'no --out'}")
        return _with_ray(path_of(model), images, RayWorkers(options.get("workers", 0), device, trust), top, options)
    idle = [name for name in ("out", "workers", "part_size") if options.get(name)]
    if idle:
        raise UsageError(
            f"--{idle[0].replace('_', '-')} needs --engine ray; got no --engine; --csv FILE writes a table without it"
        )
    classifier = model if isinstance(model, Classifier) else load(model, device=device, trust=trust)
    sources = [] if images is None else list(_each(images))
    if all(isinstance(source, str | os.PathLike) for source in sources):
        paths = list(_paths(map(os.fspath, sources), names))
        predictions = Predictions(predict_files(classifier, paths, top=top), paths)
    else:
        sources += _paths((), names)
        predictions = Predictions(_answers(classifier, sources, top), sources)
    if csv is not None:
        write_csv(predictions, Path(csv))
    return predictions


def _each(images: Any) -> Iterable[Any]:
    if isinstance(images, str | os.PathLike | bytes | Image.Image):
        return [images]
    if isinstance(images, np.ndarray):
        return list(images) if images.ndim == 4 or (images.ndim == 3 and images.shape[2] not in (1, 3, 4)) else [images]
    if not isinstance(images, Iterable):
        raise UsageError(f"images are paths, arrays, Pillow images, or a list of these; got {type(images).__name__}")
    return images


def _paths(paths: Iterable[str], names: StrPath | None) -> Iterator[str]:
    return chain(walk_images(paths), read_list(Path(names)) if names is not None else ())


def _answers(classifier: Classifier, images: Sequence[Any], top: int) -> Iterator[PredictionRow]:
    for number, (image, answer) in enumerate(zip(images, classifier.predict_many(images), strict=True)):
        name = os.fspath(image) if isinstance(image, str | os.PathLike) else f"image {number}"
        if isinstance(answer, Prediction):
            yield PredictionRow(name, answer.top(top), answer.unknown, familiarity=answer.familiarity)
        else:
            yield PredictionRow(name, [], error=str(answer))


def _with_ray(model: Path, images: Any, workers: RayWorkers, top: int, options: PredictOptions) -> Any:
    sources = [] if images is None else list(_each(images))
    if not all(isinstance(source, str | os.PathLike) for source in sources):
        raise UsageError("--engine ray reads files in other processes, so images are paths; got something else")
    out = options["out"]
    assert out is not None
    return predict_in_parts(
        model,
        _paths(map(os.fspath, sources), options.get("list")),
        Path(out),
        top=top,
        part_size=options.get("part_size") or PART_SIZE,
        workers=workers,
        tell=options.get("tell", _discard_progress),
    )


def _discard_progress(line: str) -> None:
    """Discard progress messages."""
