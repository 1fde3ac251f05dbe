"""Compares the heat maps of the exported file with torch's own Grad-CAM.

Enters: the run's network, the opened file, the first images of the proof. Leaves: `MapRow`; `require_map` raises if
they differ. Called by `export.py`. Files of fewer bits are not judged: rounding changes every feature a little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from catseye.errors import CatseyeError
from catseye.explanation.cam import grad_cam
from catseye.exporting.held_out import HeldOut
from catseye.models.registry import Network
from catseye.preprocess import Preprocessing, normalise

NUM_MAPS = 32  # torch computes them again, in float and with gradients
BATCH = 8
MAP_TOLERANCE = 1e-2  # of a map's largest value
# A hidden unit at zero may be on in one runtime and off in the other, which changes that image's map by a step.
SHARE_JUDGED = 0.95


@dataclass(frozen=True)
class MapRow:
    """Differences between the file's maps and torch's Grad-CAM.

    They are shares of the largest value of each map. `judged` is the difference that 95% of the images do not exceed;
    `name` is the image with the largest.
    """

    num_images: int
    max_difference: float
    judged: float
    name: str

    def to_line(self) -> str:
        """The end of the proof's line for a terminal."""
        return f", heat maps off by at most {self.max_difference:.1e}"


def torch_maps(network: nn.Module, spec: Preprocessing, images: HeldOut) -> NDArray[np.float32]:
    """Grad-CAM of each image's most probable class, by autograd.

    Shape: (N, h, w), at least 0.
    """
    parts = []
    for start in range(0, len(images.names), BATCH):
        x = torch.from_numpy(normalise(images.part(start, start + BATCH).pixels(spec), spec))
        with torch.no_grad():
            target = network(x).argmax(1)
        parts.append(grad_cam(cast(Network, network), x, target).numpy())
    return np.concatenate(parts)


def compare_maps(expected: NDArray[Any], maps: NDArray[Any], names: Sequence[str]) -> MapRow:
    """Compare Grad-CAM with the file's maps.

    The file's maps are sums over positions instead of means, before the ReLU.

    Shape: (N, h, w) each.
    """
    run, file = expected.astype(np.float64) * expected[0].size, maps.astype(np.float64)
    scale = np.maximum(np.abs(file).max(axis=(1, 2)), run.max(axis=(1, 2)))
    apart = np.abs(np.maximum(file, 0) - run).max(axis=(1, 2)) / np.maximum(scale, np.finfo(np.float64).tiny)
    apart = np.nan_to_num(apart, nan=1.0)
    worst = int(apart.argmax())
    judged = float(np.quantile(apart, SHARE_JUDGED, method="lower"))
    return MapRow(len(apart), float(apart[worst]), judged, names[worst])


def require_map(row: MapRow, file: str) -> None:
    """Raise unless the file's heat maps equal the run's within the tolerance.

    Raises:
        CatseyeError: they are not; names the worst image.

    """
    if row.judged <= MAP_TOLERANCE:
        return
    raise CatseyeError(
        f"the heat maps of the exported file differ from the run's, so {file} was not written; on {SHARE_JUDGED:.0%} "
        f"of {row.num_images} images its heat map may differ from Grad-CAM by {MAP_TOLERANCE:g} of its largest "
        f"value; got {row.judged:.4g}, most for {row.name}; try another format with --to"
    )
