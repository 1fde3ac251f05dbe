"""The facts on which the recipe `auto` decides.

They come from a sample of the images, the machine and the available weights.

Enters: a request. Leaves: `Facts`. Called by session.py; auto.py decides. No image is kept and nothing is downloaded.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

from catseye.data.channel_counts import count_channels
from catseye.data.glance import take_glance
from catseye.data.sources import ImageSet
from catseye.errors import CatseyeError
from catseye.machine.cores import num_cores
from catseye.models.pretrained import DEFAULT_BACKBONE, weights_at_hand
from catseye.settings.promise import search_decides
from catseye.settings.schema import Settings
from catseye.training.auto import Facts
from catseye.training.request import RunRequest, requested_values

CHANNELS_SEEN = 20  # images whose headers are read


def gather_facts(
    request: RunRequest, images: ImageSet, settings: Settings, device: str, num_processes: int = 1
) -> Facts:
    """Look at DATA and at this machine.

    `device` is torch's name for its type; the processes share its cores.

    Raises:
        DataError: there are no images.

    """
    held_out = settings.data.test_fraction + settings.data.val_fraction * (1 - settings.data.test_fraction)
    seen = take_glance(images, held_out=held_out, seed=settings.seed)
    counts = seen.class_counts
    own_px, own = settings.data.input_px, requested_values(request)
    promised = settings.training.time_s > 0
    return Facts(
        num_training=sum(counts),
        num_classes=len(counts),
        rarest=max(1, min(counts)),
        commonest=max(1, *counts),
        side_px=seen.side_px if own_px == "auto" else own_px if isinstance(own_px, int) else prod(own_px) ** 0.5,
        weights=_weights(),
        device="cpu" if device == "cpu" else "gpu",
        num_cores=max(1, num_cores() // num_processes),
        fresh_because=_why_fresh(own)
        or _why_own_channels(images)
        or ("your augmentation needs the images in every epoch" if request.own.augment else ""),
        promised_s=settings.training.time_s,
        by_epochs_because="" if promised else _why_epochs(own, num_processes),
    )


def _why_own_channels(images: ImageSet) -> str:
    channels = count_channels(images, most=CHANNELS_SEEN).only
    return f"the images have {channels} channels per pixel and published weights take colour" if channels else ""


def _weights() -> str:
    try:
        return weights_at_hand(DEFAULT_BACKBONE)
    except CatseyeError:  # timm is not installed
        return ""


def _why_epochs(own: Mapping[str, Any], num_processes: int) -> str:
    """What rules out trials: prescribed training, or several processes."""
    if num_processes > 1:
        return f"{num_processes} processes train one network"
    setting = search_decides(own)
    return f"{setting} was set" if setting else ""


def _why_fresh(own: Mapping[str, Any]) -> str:
    """Which of the user's own settings rules out published weights."""
    model = own.get("model", {})
    if model.get("name"):
        return f"{model['name']} was named and --pretrained was not"
    if model:
        return f"model.{next(iter(model))} was set"
    channels = own.get("data", {}).get("channels", "auto")
    if channels not in ("auto", 3):
        return f"data.channels is {channels} and published weights take colour"
    if own.get("distillation", {}).get("teacher"):
        return "a teacher needs images, not features"
    if own.get("transfer", {}).get("strategy") == "none":
        return "transfer.strategy is none"
    return ""
