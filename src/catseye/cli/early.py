"""Checks of names, devices, settings and images that need no torch.

Enters: values as typed. Leaves: nothing, or the error that would otherwise come half a minute later. The lists repeat
those of rooms that import torch; a test compares them.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from catseye.errors import UnknownName, UsageError
from catseye.exporting.offered import FORMATS, INT8_FORMATS

NETWORKS = (
    "lenet5", "alexnet", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
    "googlenet", "residual", "simple", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "inception_v3",
    "tower", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2",
    "efficientnet_b3", "efficientnet_b4", "efficientnet_b5", "efficientnet_b6", "efficientnet_b7", "efficientnet_v2_s",
    "efficientnet_v2_m", "efficientnet_v2_l", "convnext_tiny", "convnext_small", "convnext_base", "convnext_large",
    "speednet", "econvnext_tiny",
)  # fmt: skip
LIBRARIES = ("timm:", "python:")
MAPS = ("cam", "gradcam", "gradcam++", "eigencam")
INITS = ("pytorch", "glorot", "he")
EXPORTS, INT8_EXPORTS = tuple(FORMATS), INT8_FORMATS
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")


def require_name(kind: str, name: str | None, known: Iterable[str], *, see: str = "") -> None:
    """Refuse a name that is not in the list; None means that none was given.

    Raises:
        UnknownName: it is not in the list.

    """
    known = list(known)
    if name is not None and name not in known:
        raise UnknownName(kind, name, known, see=see)


def require_network(name: str | None) -> None:
    """Refuse an unknown network; timm looks up its own.

    Raises:
        UnknownName: there is no such network.

    """
    if name is None or not name.startswith(LIBRARIES):
        require_name("model", name, NETWORKS, see="`catseye models` lists them.")


def require_device(name: str) -> None:
    """Refuse what cannot be a device; whether this machine has it is checked later.

    Raises:
        UsageError: it is not the name of a device.

    """
    if not _DEVICE.fullmatch(name):
        raise UsageError(f"--device is auto, cpu, cuda, cuda:1 or mps; got {name!r}; leave it out to take the best")


def require_settings(data: str | None, options: Mapping[str, Any]) -> None:
    """Refuse wrong, unknown or idle settings, and unknown recipes and networks.

    Raises:
        UsageError: there is one.

    """
    from catseye.training.request import TrainOptions, make_request, refuse_with_resume, requested_settings

    request = make_request(data, options, TrainOptions)
    if request.resume is not None:
        refuse_with_resume(request)
        return
    require_network(requested_settings(request).model.name)


def require_image(path: Path) -> None:
    """Refuse a file that is not an image.

    Raises:
        ImageError: it cannot be read as an image.

    """
    from catseye.preprocess import open_image

    open_image(path)
