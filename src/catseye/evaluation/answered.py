"""The answer to every image of an evaluation, and the mistakes with their images.

Enters: a `MeasuredModel`. Leaves: `Answered`, with a table of all answers. It keeps logits and names but no pixels: to
show an image, it is read again. Called by `evaluate.py` and `compare.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from catseye.classifier import softmax
from catseye.data.sources import SPLIT_LABELS, ImageSet
from catseye.errors import ImageError
from catseye.evaluation.measure import MeasuredModel
from catseye.notebook import Html, as_frame, html_gallery, html_of
from catseye.preprocess import Pixels, Preprocessing, preprocess

MAX_IN_FIGURE = 100


@dataclass(frozen=True)
class AnsweredImage:
    """One image: its name in DATA, its class, the answer, and its number.

    `confidence` is the probability of the answer, 0 to 1.
    """

    image: str
    label: str
    predicted: str
    confidence: float
    index: int = field(repr=False)

    @property
    def line(self) -> str:
        """The caption."""
        return f"{self.predicted} {self.confidence:.0%}, is {self.label}"


class AnsweredImages(list[AnsweredImage]):
    """Some images with their answers, as a gallery in a notebook."""

    def __init__(self, rows: Sequence[AnsweredImage], answered: "Answered") -> None:
        super().__init__(rows)
        self._answered = answered

    def _repr_html_(self) -> str:
        if not self:
            return Html("<p>none</p>")
        pairs = ((self._answered.pixels_of(row.index), row.line) for row in self)
        return html_gallery((pixels, text) for pixels, text in pairs if pixels is not None)


@dataclass(frozen=True)
class Answered:
    """Logits (N, K), labels (N,) and numbers (N,) of an evaluation's images.

    It has all that is needed to read the images again.
    """

    images: ImageSet = field(repr=False)
    logits: NDArray[np.float32] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    indices: NDArray[np.int64] = field(repr=False)
    spec: Preprocessing
    temperature: float

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """The probability of every class, (N, K), at the model's temperature."""
        return softmax(self.logits, self.temperature)

    def to_frame(self) -> Any:
        """One row per image, as a pandas DataFrame.

        Columns: image, label, predicted, confidence, split, and `p_CLASS` for every class.

        Raises:
            MissingDependency: pandas is not installed.

        """
        shares, classes = self.probabilities, self.images.classes
        sides = self.images.splits[self.indices].tolist()
        names = ["image", "label", "predicted", "confidence", "split"]
        best = shares.argmax(1)
        columns: dict[str, Any] = {
            "image": [self.images.names[index] for index in self.indices.tolist()],
            "label": [classes[label] for label in self.labels.tolist()],
            "predicted": [classes[index] for index in best.tolist()],
            "confidence": shares.max(1),
            "split": [SPLIT_LABELS[side] if side >= 0 else "" for side in sides],
        }
        frame = as_frame([], names).assign(**columns)
        more = as_frame(shares.tolist(), [f"p_{name}" for name in classes])
        return frame.join(more)

    def mistakes(self, num: int = 20) -> AnsweredImages:
        """The wrong answers, most confident first, at most `num` of them."""
        shares = self.probabilities
        best, sure = shares.argmax(1), shares.max(1)
        wrong = np.flatnonzero(best != self.labels)
        order = wrong[np.argsort(-sure[wrong], kind="stable")][: max(0, num)]
        classes = self.images.classes
        rows = [
            AnsweredImage(
                self.images.names[int(self.indices[row])],
                classes[int(self.labels[row])],
                classes[int(best[row])],
                float(sure[row]),
                int(self.indices[row]),
            )
            for row in order.tolist()
        ]
        return AnsweredImages(rows, self)

    def pixels_of(self, index: int) -> Pixels | None:
        """An image as the network gets it, (H, W, C); None if it can no longer be read."""
        try:
            return preprocess(self.images.read(index), self.spec)
        except ImageError:
            return None


def answered(measured: MeasuredModel) -> Answered:
    """The answers of a measurement."""
    manifest, outputs = measured.model.manifest, measured.outputs
    return Answered(
        measured.images, outputs.logits, outputs.labels, outputs.indices, manifest.preprocessing, manifest.temperature
    )


def grid_figure(pairs: Sequence[tuple[Pixels, str]], columns: int = 5) -> Figure:
    """Images in a grid, each with a line above it.

    Shape: each (H, W, C) uint8.
    """
    num = min(len(pairs), MAX_IN_FIGURE)
    rows = max(1, -(-num // columns))
    figure = Figure(figsize=(2.1 * columns, 2.3 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    for axes, (pixels, text) in zip(panels, pairs[:num], strict=False):
        axes.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(_no_mathematics(text), fontsize=8)
    return figure


def _no_mathematics(text: str) -> str:
    """Escape dollar signs, between which matplotlib would read mathematics."""
    return text.replace("$", r"\$")


def html_mistakes(answers: Answered, num: int = 10) -> Html:
    """The most confident mistakes as a gallery."""
    rows = answers.mistakes(num)
    return Html(f"<p>{html_of('most confident mistakes')}</p>{rows._repr_html_()}") if rows else Html("")
