"""The model that is served: rows of the graph's input in, probabilities out.

Enters: an opened file and the runtime that computes it. Leaves: `ServedModel`, safe to be called from several threads
at once; every call computes in its caller's thread alone, because several such calls side by side beat one call that is
spread over all cores. Called by this whole room; made by `runtimes.py`.
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

    `cams` is None where nobody asked or the model has none, `familiarity` where the model knows no strangers.

    Shape: probabilities (N, K), cams (N, h, w), familiarity (N,), all float.
    """

    probabilities: NDArray[Any]
    cams: NDArray[Any] | None = None
    familiarity: NDArray[Any] | None = None

    def finite_rows(self) -> NDArray[np.bool_]:
        """Which images have an answer of numbers only.

        Shape: (N,).
        """
        finite: NDArray[np.bool_] = np.isfinite(self.probabilities).all(axis=1)
        return finite if self.familiarity is None else finite & np.isfinite(self.familiarity)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version of the model. `ask` is the file's own, or another runtime's with the same graph."""

    name: str
    file: OpenedModel
    runtime: str
    ask: Ask = field(repr=False)

    @property
    def manifest(self) -> Manifest:
        """What the file says of itself."""
        return self.file.manifest

    @property
    def version(self) -> str:
        """The first 12 digits of the file's SHA-256: names exactly one version."""
        return self.file.sha256[:12]

    @property
    def has_cam(self) -> bool:
        """Whether the file can say where it saw the class."""
        return "cam" in {name for name, _, _ in self.file.outputs}

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row of the graph's input, without the batch: (H, W, C) uint8 or (C, H, W) float32."""
        spec = self.manifest.preprocessing
        if self.manifest.input_kind == "float":
            return (spec.channels, spec.height_px, spec.width_px)
        return (spec.height_px, spec.width_px, spec.channels)

    @property
    def row_type(self) -> type[np.float32] | type[np.uint8]:
        """Its type."""
        return np.float32 if self.manifest.input_kind == "float" else np.uint8

    def row_of(self, pixels: Pixels) -> NDArray[Any]:
        """Shape: (H, W, C) uint8 of one image -> `row_shape`."""
        row: NDArray[Any] = tensor_of(pixels[None], self.manifest)[0]
        return row

    def compute(self, rows: NDArray[Any], with_cam: bool) -> Answers:
        """Shape: (N, ...) rows of `row_shape` -> `Answers` of N."""
        names = ["probability", *["cam"] * with_cam, *["familiarity"] * self.file.knows_strangers]
        found = dict(zip(names, self.ask(rows, names), strict=True))
        return Answers(found["probability"], found.get("cam"), found.get("familiarity"))


def stack(rows: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Rows to one batch; a single one is not copied."""
    rows = list(rows)
    return rows[0][None] if len(rows) == 1 else np.stack(rows)
