"""MixUp and CutMix: two images and their labels become one.

Partner and share are drawn per image. Enters: an augmented batch and its labels. Leaves: the mixed batch and soft
targets. Called by `training/step.py`. If several processes share a batch, an image's partner comes from the same
process's part.
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from catseye.data.augment import draw_rows, rectangles
from catseye.settings.schema import AugmentSettings


def mix_batch(
    x: Tensor, labels: Tensor, settings: AugmentSettings, num_classes: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Apply MixUp or CutMix; if both are on, each batch gets one at even odds.

    Shape: x (N, C, H, W), labels (N,) -> x (N, C, H, W), targets (N,) int64 if nothing is mixed, else (N, K) float.
    """
    if settings.mixup_alpha and settings.cutmix_alpha:
        first = bool(torch.rand(1, generator=generator, device=x.device) < 0.5)
    else:
        first = bool(settings.mixup_alpha)
    if first:
        return mixup(x, F.one_hot(labels, num_classes).float(), settings.mixup_alpha, generator)
    if settings.cutmix_alpha:
        return cutmix(x, F.one_hot(labels, num_classes).float(), settings.cutmix_alpha, generator)
    return x, labels


def mixup(x: Tensor, targets: Tensor, alpha: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Each image becomes λ·itself + (1 - λ)·another of the batch; targets likewise.

    λ ~ Beta(alpha, alpha).

    Shape: x (N, C, H, W), targets (N, K) -> the same.
    Source: Zhang et al. 2017, mixup, eq. 1; λ is drawn per image, not per batch.
    """
    other = torch.randperm(len(x), generator=generator, device=x.device)
    share = _beta(len(x), alpha, generator).to(x.dtype)
    pixels = share.view(-1, 1, 1, 1)
    mixed = x * pixels + x[other] * (1 - pixels)
    return mixed, targets * share[:, None] + targets[other] * (1 - share[:, None])


def cutmix(x: Tensor, targets: Tensor, alpha: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Replace a rectangle of each image by the same rectangle of another image.

    Targets are mixed by the exact shares of the area.

    Shape: x (N, C, H, W), targets (N, K) -> the same.
    Source: Yun et al. 2019, CutMix, section 3.1; the rectangle lies inside the image,
    so its share of the area is 1 - λ up to rounding.
    """
    n, _, h, w = x.shape
    other = torch.randperm(n, generator=generator, device=x.device)
    side = (1 - _beta(n, alpha, generator)).sqrt()
    place = draw_rows(n, generator, lambda n: torch.rand(2, n, generator=generator, device=x.device), dim=1)
    inside = rectangles((side * h).round(), (side * w).round(), place[0], place[1], h, w)
    mixed = torch.where(inside, x[other], x)
    share = 1 - inside.float().mean(dim=(1, 2, 3))[:, None]
    return mixed, targets * share + targets[other] * (1 - share)


def _beta(n: int, alpha: float, generator: Generator) -> Tensor:
    """N draws from Beta(alpha, alpha), as a ratio of two gamma draws."""

    def draw(n: int) -> Tensor:
        concentration = torch.full((2, n), alpha, device=generator.device)
        return torch._standard_gamma(concentration, generator=generator)

    gamma = draw_rows(n, generator, draw, dim=1)
    return gamma[0] / gamma.sum(0).clamp_min(1e-30)
