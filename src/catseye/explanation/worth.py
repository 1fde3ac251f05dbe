"""How good a class activation map is: delete the places it marks, or insert them.

Enters: a network, a normalised image, a map. Leaves: two curves and their areas. Called by `explain.py`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

NUM_STEPS = 20


@dataclass(frozen=True)
class Worth:
    """Areas under the curve of the class's probability, 0 to 1.

    `deletion`: small is good; `insertion`: large is good. `deletion_random` and `insertion_random` are those of places
    in random order, that is of a worthless map.
    """

    deletion: float
    insertion: float
    deletion_random: float
    insertion_random: float


@torch.no_grad()
def deletion_curve(model: nn.Module, x: Tensor, heat: Tensor, target: int, blank: Tensor) -> Tensor:
    """The class's probability while the hottest places are replaced by `blank`.

    They are replaced in 20 equal steps. With `x` and `blank` swapped it is the insertion curve.

    Shape: x (C, H, W), heat (H, W), blank (C, H, W) -> (21,).
    Source: Petsiuk, Das, Saenko 2018, RISE, section 4.1.
    """
    order = heat.flatten().argsort(descending=True, stable=True)
    images = []
    for step in range(NUM_STEPS + 1):
        gone = torch.zeros(heat.numel(), dtype=torch.bool, device=x.device)
        gone[order[: round(step / NUM_STEPS * heat.numel())]] = True
        images.append(torch.where(gone.reshape(heat.shape), blank, x))
    probabilities: Tensor = model(torch.stack(images)).float().softmax(1)[:, target]
    return probabilities


def measure_worth(model: nn.Module, x: Tensor, heat: Tensor, target: int, *, seed: int = 0) -> Worth:
    """Both areas of a map and of a random one.

    The blank is the normalised mean, 0. The paper inserts into a blurred image; here both use the mean, so that the two
    curves have the same ends.

    Shape: x (C, H, W), heat (H, W).
    """
    blank = torch.zeros_like(x)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(heat.shape, generator=generator).to(heat.device)
    areas = [
        float(torch.trapezoid(deletion_curve(model, *pair, target, other)) / NUM_STEPS)
        for heat_map in (heat, noise)
        for pair, other in (((x, heat_map), blank), ((blank, heat_map), x))
    ]
    return Worth(areas[0], areas[1], areas[2], areas[3])
