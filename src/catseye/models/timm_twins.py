"""A trained network under timm's names, and timm's reader of such a network.

Enters: a network with `published_names`, or a folder. Leaves: `TimmTwin`, or timm's own module. Called by
exporting/hub.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from catseye.errors import CatseyeError, UsageError
from catseye.models.heads import last_linear
from catseye.models.timm_networks import PREFIX, import_timm

INSTEAD = "use --to onnx, which any runtime can load from the Hub, or train a network of timm: --model timm:NAME"


@dataclass(frozen=True)
class TimmTwin:
    """What timm needs to build the same network.

    `first_conv` and `classifier` name its first and last layer.
    """

    architecture: str
    state: Mapping[str, Tensor]
    num_features: int
    first_conv: Any
    classifier: Any


def find_twin(model: nn.Module, name: str, *, num_classes: int, in_channels: int) -> TimmTwin:
    """The same network in timm, with the weights under timm's names.

    Torchvision's ResNets have the names, shapes and arithmetic of timm's; its other networks differ.

    Raises:
        MissingDependency: timm is not installed.
        UsageError: timm has no such network.

    """
    timm = import_timm()
    names = names_in_library(model)
    architecture = name.removeprefix(PREFIX).partition(".")[0]
    if not names or not timm.is_model(architecture):
        raise UsageError(f"--to hub takes networks that timm also has; got {name}; {INSTEAD}")
    with torch.device("meta"):
        net = timm.create_model(architecture, pretrained=False, num_classes=num_classes, in_chans=in_channels)
    weights = model.state_dict()
    state = {theirs: weights[ours] for ours, theirs in names.items()}
    expected = net.state_dict()
    for key in sorted(expected.keys() | state.keys()):
        here, there = (tuple(tensors[key].shape) if key in tensors else None for tensors in (state, expected))
        if here != there:
            raise UsageError(
                f"--to hub takes networks that timm also has; this {name} differs from timm's at {key}: "
                f"{here or 'nothing'} here, {there or 'nothing'} there{_why_it_differs(key, net, model)}; {INSTEAD}"
            )
    facts = net.pretrained_cfg
    return TimmTwin(architecture, state, int(net.num_features), facts.get("first_conv"), facts.get("classifier"))


def names_in_library(model: nn.Module) -> dict[str, str]:
    """From each name in a network's state dict to its library's name, if it has one.

    If transfer learning has replaced a head that was one linear layer, the new layer gets the name of the old.
    """
    published: Mapping[str, str] = getattr(model, "published_names", {})
    state = model.state_dict()
    names = {ours: theirs for ours, theirs in published.items() if ours in state}
    gone = {theirs for ours, theirs in published.items() if ours.startswith("head.") and ours not in state}
    last = last_linear(model.get_submodule("head"))
    new = next((name for name, layer in model.named_modules() if layer is last), "")
    replaced = {theirs.rpartition(".")[0] for theirs in gone}
    if new and len(replaced) == 1:
        (old,) = replaced
        renamed = {f"{new}.{part}": f"{old}.{part}" for part in ("weight", "bias")}
        if gone == set(renamed.values()):
            names |= renamed
    return names


def _why_it_differs(key: str, net: Any, model: nn.Module) -> str:
    published: Mapping[str, str] = getattr(model, "published_names", {})
    if any(key == theirs and ours not in model.state_dict() for ours, theirs in published.items()):
        return " (transfer learning has replaced a head of several layers with one linear layer)"
    if key != f"{net.pretrained_cfg.get('first_conv')}.weight":
        return ""
    return " (small inputs get a smaller first layer; --set model.stem=standard or data.input_px above 64 keeps timm's)"


def open_timm_folder(folder: Path) -> tuple[nn.Module, str]:
    """The network that timm loads from a folder, and timm's version.

    It is that of `timm.create_model("local-dir:FOLDER", pretrained=True)`.

    Raises:
        CatseyeError: timm cannot load it.

    """
    timm = import_timm()
    try:
        net: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    except (OSError, RuntimeError, ValueError, TypeError, AssertionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CatseyeError(
            f"timm {timm.__version__} cannot load the folder ({reason}); pip install -U timm, or {INSTEAD}"
        ) from None
    return net.eval(), str(timm.__version__)
