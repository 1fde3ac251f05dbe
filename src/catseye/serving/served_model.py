"""The model that is served: rows of the graph's input in, probabilities out.

Enters: an opened file and the runtime that computes it. Leaves: `ServedModel`, safe to call from several threads at
once. A call computes in its caller's thread alone, because several such calls at once are faster than one call spread
over all cores. Called by this whole room; made by `runtimes.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from catseye.manifest import Manifest
from catseye.preprocess import Pixels
from catseye.runtimes.model_file import Ask, OpenedModel, tensor_of


class Answers(NamedTuple):
    """What a model answers to N images.

    `cams` is None if no map was requested or the model has none, `familiarity` if the model cannot measure it.

    Shape: probabilities (N, K), cams (N, h, w), familiarity (N,), all float.
    """

    probabilities: NDArray[Any]
    cams: NDArray[Any] | None = None
    familiarity: NDArray[Any] | None = None

    def finite_rows(self) -> NDArray[np.bool_]:
        """Which images have finite results.

        Shape: (N,).
        """
        finite: NDArray[np.bool_] = np.isfinite(self.probabilities).all(axis=1)
        return finite if self.familiarity is None else finite & np.isfinite(self.familiarity)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version of the model.

    `ask` is the file's own, or another runtime's with the same graph. If `padded`, every batch size is a power of two,
    because a GPU prepares anew for each size.
    """

    name: str
    file: OpenedModel
    runtime: str
    ask: Ask = field(repr=False)
    padded: bool = False

    @property
    def manifest(self) -> Manifest:
        """What the file says about itself."""
        return self.file.manifest

    @property
    def version(self) -> str:
        """The first 12 digits of the file's SHA-256: names exactly one version."""
        return self.file.sha256[:12]

    @property
    def has_cam(self) -> bool:
        """Whether the model has a class-activation map as an output."""
        return "cam" in {name for name, _, _ in self.file.outputs}

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one input row without the batch: (H, W, C) uint8 or (C, H, W) float32."""
        spec = self.manifest.preprocessing
        if self.manifest.input_kind == "float":
            return (spec.channels, spec.height_px, spec.width_px)
        return (spec.height_px, spec.width_px, spec.channels)

    @property
    def row_type(self) -> type[np.float32] | type[np.uint8]:
        """The data type of such a row."""
        return np.float32 if self.manifest.input_kind == "float" else np.uint8

    def row_of(self, pixels: Pixels) -> NDArray[Any]:
        """Shape: (H, W, C) uint8 of one image -> `row_shape`."""
        row: NDArray[Any] = tensor_of(pixels[None], self.manifest)[0]
        return row

    def compute(self, rows: NDArray[Any], with_cam: bool) -> Answers:
        """Shape: (N, ...) rows of `row_shape` -> `Answers` of N."""
        names = ["probability", *["cam"] * with_cam, *["familiarity"] * self.file.knows_strangers]
        num = len(rows)
        answers = self.ask(pad_rows(rows) if self.padded else rows, names)
        by_name = {name: answer[:num] for name, answer in zip(names, answers, strict=True)}
        return Answers(by_name["probability"], by_name.get("cam"), by_name.get("familiarity"))

    def warm(self, batch_size: int) -> None:
        """Run the model once per batch size, so that no request waits for a first call.

        Without padding only one image is run: a whole batch would take its memory before anybody needs it.
        """
        for size in padded_sizes(batch_size) if self.padded else (1,):
            rows = np.zeros((size, *self.row_shape), self.row_type)
            for with_cam in (False, True) if self.padded and self.has_cam else (False,):
                # Twice: a graph is captured at the second call of its kind, when nothing more is allocated.
                for _ in range(2 if self.padded else 1):
                    self.compute(rows, with_cam)


def padded_sizes(batch_size: int) -> tuple[int, ...]:
    """The powers of two that batches of up to `batch_size` images are padded to.

    >>> padded_sizes(64), padded_sizes(5)
    ((1, 2, 4, 8, 16, 32, 64), (1, 2, 4, 8))
    """
    return tuple(1 << power for power in range((batch_size - 1).bit_length() + 1))


def pad_rows(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows of zeros added up to the next power of two.

    Shape: (N, ...) -> (M, ...), M a power of two, at least N.
    """
    missing = padded_sizes(len(rows))[-1] - len(rows)
    if not missing:
        return rows
    return np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)])


def stack(rows: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Rows as one batch; a single row is not copied."""
    rows = list(rows)
    return rows[0][None] if len(rows) == 1 else np.stack(rows)
