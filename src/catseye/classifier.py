"""A trained model, ready to classify images.

Enters: images as paths, bytes, arrays or Pillow images. Leaves: `Prediction`s in the same order. No torch in this file:
the function that computes logits is passed in. Called by users (`catseye.load(...)`), cli and serving.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.decoding.channels import as_colours
from catseye.errors import ImageError, UsageError
from catseye.manifest import Manifest
from catseye.notebook import Html, html_image, html_table
from catseye.preprocess import ImageSource, Pixels, preprocess

Logits = NDArray[np.float32]
_AT_ONCE = 64


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    `probabilities` (K,) is in the order of `classes` and sums to 1. `familiarity`, -1 to 1, is how similar the image is
    to those of training, if the model measures it. `logits` (K,) are set by `predict(..., return_logits=True)`.
    `pixels` (H, W, C) is the network's input, for a notebook to show.
    """

    classes: tuple[str, ...]
    probabilities: NDArray[np.float64]
    unknown: bool = False
    familiarity: float | None = None
    logits: Logits | None = None
    pixels: Pixels | None = field(default=None, repr=False, compare=False)

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.classes[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float:
        """The probability of that class, 0 to 1."""
        return float(self.probabilities.max())

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k most probable classes with their probabilities, best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.classes[index], float(self.probabilities[index])) for index in order]

    def _repr_html_(self) -> str:
        rows = [(name, f"{value:.1%}") for name, value in self.top()]
        known = [("unknown", "looks like none of the training images")] if self.unknown else []
        image = html_image(as_colours(self.pixels), self.label) if self.pixels is not None else ""
        return Html(image + html_table(("class", "probability"), [*rows, *known]))


@dataclass(frozen=True)
class Classifier:
    """A model with its manifest, accepted wherever the path of a model is.

    `logits` maps (N, H, W, C) uint8 pixels to (N, K) float32; `logits_and_familiarity`, if the model has both, to
    logits and familiarity (N,); `pooled_features`, if the model has layers, to (N, F). `source` is the path it was
    opened from, `trusted` whether the caller trusts that file.
    """

    manifest: Manifest
    logits: Callable[[Pixels], Logits] = field(repr=False)
    logits_and_familiarity: Callable[[Pixels], tuple[Logits, Logits]] | None = field(default=None, repr=False)
    pooled_features: Callable[[Pixels], NDArray[np.float32]] | None = field(default=None, repr=False)
    source: Path | None = None
    trusted: bool = field(default=False, repr=False)

    def __fspath__(self) -> str:
        """The path that the model was opened from."""
        if self.source is None:
            raise UsageError("this classifier was not opened from a file; give the path of a run or an exported file")
        return str(self.source)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.manifest.classes

    def predict(self, image: ImageSource, *, return_logits: bool = False) -> Prediction:
        """Classify one image.

        It is a path, the bytes of a file, a uint8 array (H, W[, C]) or a Pillow image. With `return_logits` the
        prediction has the logits (K,), before temperature and softmax.

        Raises:
            ImageError: the image cannot be read.

        """
        pixels = preprocess(image, self.manifest.preprocessing)
        prediction = self._answer(pixels[None])[0]
        return replace(prediction, pixels=pixels, logits=prediction.logits if return_logits else None)

    def features(self, images: ImageSource | list[Any] | tuple[Any, ...]) -> NDArray[np.float32]:
        """The input of the head, as a vector for search, clustering or a new head.

        It is the mean of every feature map.

        Shape: one image -> (F,), a list of N images -> (N, F) float32.

        Raises:
            ImageError: an image cannot be read. UsageError: it is an exported file, which has no layers left.

        """
        if self.pooled_features is None:
            raise UsageError(f"an exported file has no layers to take features from; got {self.source}; give the run")
        many = isinstance(images, list | tuple)
        spec, vectors = self.manifest.preprocessing, []
        sources = list(images) if isinstance(images, list | tuple) else [images]
        for start in range(0, len(sources), _AT_ONCE):
            pixels = [preprocess(source, spec) for source in sources[start : start + _AT_ONCE]]
            vectors.append(self.pooled_features(np.stack(pixels)))
        if not vectors:
            raise UsageError("features takes one image or more; got an empty list")
        whole: NDArray[np.float32] = np.concatenate(vectors)
        return whole if many else whole[0]

    def predict_many(self, images: Iterable[ImageSource], *, batch_size: int = 64) -> Iterator[Prediction | ImageError]:
        """Classify many images in batches; one answer per image, in order.

        An image that cannot be read yields its error in its place; the others are not affected.
        """
        batch: list[Pixels | ImageError] = []
        for image in images:
            try:
                batch.append(preprocess(image, self.manifest.preprocessing))
            except ImageError as error:
                batch.append(error)
            if len(batch) == batch_size:
                yield from self._answer_batch(batch)
                batch = []
        yield from self._answer_batch(batch)

    def _answer_batch(self, batch: list[Pixels | ImageError]) -> list[Prediction | ImageError]:
        pixels = [item for item in batch if not isinstance(item, ImageError)]
        answers = iter(self._answer(np.stack(pixels)) if pixels else [])
        return [item if isinstance(item, ImageError) else next(answers) for item in batch]

    def _answer(self, pixels: Pixels) -> list[Prediction]:
        familiarity = None
        if self.logits_and_familiarity is not None:
            logits, familiarity = self.logits_and_familiarity(pixels)
        else:
            logits = self.logits(pixels)
        probabilities = softmax(logits, self.manifest.temperature)
        unknown = self.manifest.are_unknown(probabilities, familiarity)
        known = [None] * len(unknown) if familiarity is None else familiarity.astype(np.float64).tolist()
        rows = zip(probabilities, unknown.tolist(), known, logits, strict=True)
        return [Prediction(self.classes, *row) for row in rows]


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities at a temperature.

    Shape: (N, K) -> (N, K), each row sums to 1.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, eq. 9.
    """
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    exponentials = np.exp(scaled)
    result: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result
