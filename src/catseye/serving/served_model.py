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
    """Shape: probabilities (N, K) float; cams (N, h, w) float, or None where nobody asked or the model has none."""

    probabilities: NDArray[Any]
    cams: NDArray[Any] | None


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
        if with_cam:
            return Answers(*self.ask(rows, ("probability", "cam")))
        return Answers(self.ask(rows, ("probability",))[0], None)


def stack(rows: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Rows to one batch; a single one is not copied."""
    rows = list(rows)
    return rows[0][None] if len(rows) == 1 else np.stack(rows)
