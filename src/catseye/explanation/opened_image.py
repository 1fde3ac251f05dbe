"""An image as a model sees it, and the map of a class on it.

Enters: an opened model and an image. Leaves: its pixels as the network gets them, and `ImageMap`. Called by
`explain.py` and `figures.py`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from catseye.classifier import softmax
from catseye.data.augment import normalise_batch, to_unit
from catseye.errors import UnknownName
from catseye.explanation.cam import explain_batch
from catseye.preprocess import ImageSource, Pixels, preprocess
from catseye.runtimes.model_file import OpenedModel


@dataclass(frozen=True)
class ImageMap:
    """The map of class `index` on an image.

    `heat` (H, W) is 0 to 1, on the device of `x` (1, C, H, W), the normalised input.
    """

    pixels: Pixels
    x: Tensor
    index: int
    label: str
    probability: float
    heat: Tensor


def see_image(opened: OpenedModel, image: ImageSource) -> tuple[Pixels, Tensor]:
    """An image as it enters the network: pixels (H, W, C), and input (1, C, H, W).

    The input is normalised.

    Raises:
        ImageError: it cannot be read.

    """
    spec = opened.manifest.preprocessing
    pixels = preprocess(image, spec)
    x = torch.from_numpy(pixels[None]).to(opened.device).permute(0, 3, 1, 2)
    return pixels, normalise_batch(to_unit(x), spec)


def map_image(opened: OpenedModel, image: ImageSource, method: str, target: str | None = None) -> ImageMap:
    """The map of class `target`, by default of the network's own answer.

    Raises:
        ImageError: the image cannot be read. UnknownName: no such class or method.
        UsageError: the network's feature map has a single place.

    """
    network, classes = opened.layers(), opened.manifest.classes
    if target is not None and target not in classes:
        raise UnknownName("class", target, classes)
    pixels, x = see_image(opened, image)
    with torch.no_grad():
        logits = np.asarray(network(x).float().cpu().numpy(), np.float32)
    shares = softmax(logits, opened.manifest.temperature)[0]
    index = classes.index(target) if target is not None else int(shares.argmax())
    heat = explain_batch(network, x, torch.tensor([index], device=x.device), method)[0]  # type: ignore[arg-type]
    return ImageMap(pixels, x, index, classes[index], float(shares[index]), heat)
