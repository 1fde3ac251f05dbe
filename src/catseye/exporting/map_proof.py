"""Does the exported file see a class where the run sees it? Its maps are held against torch's own Grad-CAM.

Enters: the run's network, the opened file, the first images of the proof. Leaves: `MapRow`; `require_map` raises where
they differ. Called by `export.py`. Files of fewer bits are not judged: rounding moves every feature a little.
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

NUM_MAPS = 32  # torch computes them once more, in float and with gradients
BATCH = 8
MAP_TOLERANCE = 1e-2  # of a map's largest value
# A hidden unit at zero may be on in one runtime and off in the other, which changes that image's map by a step.
SHARE_JUDGED = 0.95


@dataclass(frozen=True)
class MapRow:
    """Differences between the file's maps and torch's Grad-CAM, in shares of the largest value of each map.

    `judged` is the difference that 95 % of the images keep; `name` is the image with the largest.
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


def compare_maps(expected: NDArray[Any], found: NDArray[Any], names: Sequence[str]) -> MapRow:
    """Grad-CAM against the file's maps, which are its sums over places rather than means, before what speaks against
    the class is cut off.

    Shape: (N, h, w) each.
    """
    run, file = expected.astype(np.float64) * expected[0].size, found.astype(np.float64)
    scale = np.maximum(np.abs(file).max(axis=(1, 2)), run.max(axis=(1, 2)))
    apart = np.abs(np.maximum(file, 0) - run).max(axis=(1, 2)) / np.maximum(scale, np.finfo(np.float64).tiny)
    apart = np.nan_to_num(apart, nan=1.0)
    worst = int(apart.argmax())
    judged = float(np.quantile(apart, SHARE_JUDGED, method="lower"))
    return MapRow(len(apart), float(apart[worst]), judged, names[worst])


def require_map(found: MapRow, file: str) -> None:
    """Raise unless the file's heat maps are the run's.

    Raises:
        CatseyeError: they are not; names the worst image.

    """
    if found.judged <= MAP_TOLERANCE:
        return
    raise CatseyeError(
        f"the exported file does not see classes where the run does, so {file} was not written; on {SHARE_JUDGED:.0%} "
        f"of {found.num_images} images its heat map may differ from Grad-CAM by {MAP_TOLERANCE:g} of its largest "
        f"value; got {found.judged:.4g}, most for {found.name}; try another format with --to"
    )
