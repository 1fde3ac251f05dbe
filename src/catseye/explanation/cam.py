"""Class activation maps of any registered network, from `features` and `head`.

Enters: a network and normalised images (N, C, H, W). Leaves: maps (N, h, w) of the size of the feature map; `upsample`
scales them to the image's. No hooks and no table of layers: the forward pass is head(features(x)). Called by
`explain.py` and the report.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from catseye.errors import UnknownName, UsageError
from catseye.models.heads import last_linear

if TYPE_CHECKING:
    from catseye.models.registry import Network


def cam(model: "Network", x: Tensor, target: Tensor) -> Tensor:
    """Feature maps weighted by the class's row of the last layer.

    The mean of this class activation map plus the class's bias is the class's logit.

    Shape: (N, C, H, W), (N,) -> (N, h, w).
    Source: Zhou et al. 2016, Learning Deep Features for Discriminative Localization, eq. 2.

    Raises:
        UsageError: the head is more than average pooling and one linear layer.

    """
    linear = last_linear(model.head)
    if linear is None:
        raise UsageError("cam needs a head of average pooling and one linear layer; use --method gradcam")
    with torch.no_grad():
        maps = model.features(x)
        return torch.einsum("nfhw,nf->nhw", maps, linear.weight[target])


def grad_cam(model: "Network", x: Tensor, target: Tensor) -> Tensor:
    """Feature maps weighted by the mean gradient of the class's logit.

    Negative values become 0.

    Shape: (N, C, H, W), (N,) -> (N, h, w), at least 0.
    Source: Selvaraju et al. 2017, Grad-CAM, eq. 1 and 2.
    """
    maps, gradients = _gradients(model, x, target)
    return F.relu((gradients.mean((2, 3), keepdim=True) * maps).sum(1))


def grad_cam_plus_plus(model: "Network", x: Tensor, target: Tensor) -> Tensor:
    """As Grad-CAM, with a weight per place: all objects of a class are marked.

    Shape: (N, C, H, W), (N,) -> (N, h, w), at least 0.
    Source: Chattopadhay et al. 2018, Grad-CAM++, eq. 19 with exp as the last function, so that the derivatives are
    powers of the gradient.
    """
    maps, gradients = _gradients(model, x, target)
    square = gradients**2
    below = 2 * square + maps.sum((2, 3), keepdim=True) * gradients**3
    alpha = square / torch.where(below == 0, torch.ones_like(below), below)
    weights = (alpha * F.relu(gradients)).sum((2, 3), keepdim=True)
    return F.relu((weights * maps).sum(1))


def eigen_cam(model: "Network", x: Tensor, target: Tensor) -> Tensor:
    """The feature maps' first principal component.

    It does not depend on the class; `target` is not used. The sign of a component is arbitrary; the one with the larger
    sum is taken, so that bright means active.

    Shape: (N, C, H, W), (N,) -> (N, h, w).
    Source: Muhammad, Yeasin 2020, Eigen-CAM, eq. 2 to 4; without centring, as there.
    """
    with torch.no_grad():
        maps = model.features(x).float()
        flat = maps.flatten(2).transpose(1, 2)  # (N, hw, F)
        _, _, right = torch.linalg.svd(flat, full_matrices=False)
        component = (flat @ right[:, :1].transpose(1, 2)).squeeze(2)
        component = component * torch.where(component.sum(1, keepdim=True) < 0, -1.0, 1.0)
        result: Tensor = component.reshape(len(maps), *maps.shape[2:])
        return result


METHODS: dict[str, Callable[["Network", Tensor, Tensor], Tensor]] = {
    "cam": cam,
    "gradcam": grad_cam,
    "gradcam++": grad_cam_plus_plus,
    "eigencam": eigen_cam,
}


def explain_batch(model: "Network", x: Tensor, target: Tensor, method: str = "gradcam") -> Tensor:
    """A map per image, scaled to 0 … 1 and to the image's size.

    Shape: (N, C, H, W), (N,) -> (N, H, W).

    Raises:
        UnknownName: no such method. UsageError: the network has no such map, or no feature map larger than a pixel.

    """
    if method not in METHODS:
        raise UnknownName("method", method, METHODS)
    maps = METHODS[method](model, x, target)
    if maps.shape[1] * maps.shape[2] < 2:
        size = f"{x.shape[2]} x {x.shape[3]}"
        raise UsageError(f"the feature map of an image of {size} px is a single value and shows no place")
    return upsample(scale(maps), (x.shape[2], x.shape[3]))


def scale(maps: Tensor) -> Tensor:
    """Each map from 0 to 1; a map that is the same everywhere becomes 0.

    Shape: (N, h, w) -> (N, h, w).
    """
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low).clamp_min(1e-12), torch.zeros_like(maps))


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale maps to the size of the image, bilinear.

    Shape: (N, h, w) -> (N, H, W).
    """
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def _gradients(model: "Network", x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Feature maps (N, F, h, w), and the gradient of each image's target logit.

    The gradient is with respect to the maps. The head gets a copy: its first layer may work in place.
    """
    with torch.no_grad():
        maps = model.features(x)
    leaf = maps.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        logits = model.head(leaf.clone())
        (gradients,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), leaf)
    return maps, gradients
