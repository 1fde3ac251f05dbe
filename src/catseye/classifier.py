"""A trained model, ready to be asked. No torch in this file: the way to compute logits is handed in.

Enters: images as paths, bytes, arrays or Pillow images. Leaves: `Prediction`s in the order asked.
Called by users (`catseye.load(...)`), cli and serving.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from catseye.errors import ImageError
from catseye.manifest import Manifest
from catseye.preprocess import ImageSource, Pixels, preprocess

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """The answer for one image. `probabilities` (K,) is in the order of `classes` and sums to 1.

    `familiarity`, -1 to 1, is how much the image looks like those of training, where the model tells.
    """

    classes: tuple[str, ...]
    probabilities: NDArray[np.float64]
    unknown: bool = False
    familiarity: float | None = None

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.classes[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float:
        """Its probability, 0 to 1."""
        return float(self.probabilities.max())

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k most probable classes with their probabilities, best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.classes[index], float(self.probabilities[index])) for index in order]


@dataclass(frozen=True)
class Classifier:
    """A model with its manifest.

    `logits` maps (N, H, W, C) uint8 pixels to (N, K) float32; `logits_and_familiarity`, where the model has both, to
    those and how familiar each image is (N,).
    """

    manifest: Manifest
    logits: Callable[[Pixels], Logits] = field(repr=False)
    logits_and_familiarity: Callable[[Pixels], tuple[Logits, Logits]] | None = field(default=None, repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.manifest.classes

    def predict(self, image: ImageSource) -> Prediction:
        """Classify one image: a path, the bytes of a file, a uint8 array (H, W[, C]) or a Pillow image.

        Raises:
            ImageError: the image cannot be read.

        """
        return self._answer(preprocess(image, self.manifest.preprocessing)[None])[0]

    def predict_many(self, images: Iterable[ImageSource], *, batch_size: int = 64) -> Iterator[Prediction | ImageError]:
        """Classify many images in batches; one answer per image, in order.

        An image that cannot be read yields its error in its own place and disturbs no other.
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
        rows = zip(probabilities, unknown.tolist(), known, strict=True)
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
