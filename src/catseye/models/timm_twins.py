"""A trained network under the names by which timm knows it, and the folders from which timm loads such a network.

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

INSTEAD = "take --to onnx, which any runtime loads from the Hub too, or train a network of timm: --model timm:NAME"


@dataclass(frozen=True)
class TimmTwin:
    """What timm needs for building the same network; `first_conv` and `classifier` are what it replaces."""

    architecture: str
    state: Mapping[str, Tensor]
    num_features: int
    first_conv: Any
    classifier: Any


def find_twin(model: nn.Module, name: str, *, num_classes: int, in_channels: int) -> TimmTwin:
    """The same network in timm, with the weights under timm's names.

    Torchvision's ResNets have the names, shapes and arithmetic of timm's; its other networks differ from timm's.

    Raises:
        MissingDependency: timm is not installed.
        UsageError: timm has no such network.

    """
    timm = import_timm()
    names = names_in_library(model)
    architecture = name.removeprefix(PREFIX).partition(".")[0]
    if not names or not timm.is_model(architecture):
        raise UsageError(f"--to hub is for networks that timm has too; got {name}; {INSTEAD}")
    with torch.device("meta"):
        net = timm.create_model(architecture, pretrained=False, num_classes=num_classes, in_chans=in_channels)
    mine_by_name = model.state_dict()
    state = {theirs: mine_by_name[ours] for ours, theirs in names.items()}
    theirs = net.state_dict()
    for key in sorted(theirs.keys() | state.keys()):
        mine, wanted = (tuple(one[key].shape) if key in one else None for one in (state, theirs))
        if mine != wanted:
            own, other = mine or "nothing", wanted or "nothing"
            raise UsageError(
                f"--to hub is for networks that timm has too, and this {name} differs from timm's at {key}: {own} "
                f"here, {other} there{_why_it_differs(key, net, model)}; {INSTEAD}"
            )
    facts = net.pretrained_cfg
    return TimmTwin(architecture, state, int(net.num_features), facts.get("first_conv"), facts.get("classifier"))


def names_in_library(model: nn.Module) -> dict[str, str]:
    """From each of a network's names to that of the library it is from, where it has one.

    A linear layer that transfer learning has put in the place of a head that was one has the name of that one.
    """
    published: Mapping[str, str] = getattr(model, "published_names", {})
    state = model.state_dict()
    names = {ours: theirs for ours, theirs in published.items() if ours in state}
    gone = {theirs for ours, theirs in published.items() if ours.startswith("head.") and ours not in state}
    layer = next((name for name, one in model.named_modules() if one is last_linear(model.get_submodule("head"))), "")
    bare = {theirs.rpartition(".")[0] for theirs in gone}
    if layer and gone == {f"{one}.{part}" for one in bare for part in ("weight", "bias")} and len(bare) == 1:
        names |= {f"{layer}.{part}": f"{one}.{part}" for one in bare for part in ("weight", "bias")}
    return names


def _why_it_differs(key: str, net: Any, model: nn.Module) -> str:
    published: Mapping[str, str] = getattr(model, "published_names", {})
    if any(key == theirs and ours not in model.state_dict() for ours, theirs in published.items()):
        return " (transfer learning has put one linear layer in the place of a head of more layers)"
    if key != f"{net.pretrained_cfg.get('first_conv')}.weight":
        return ""
    return " (small inputs get a smaller first layer; --set model.stem=standard or data.input_px above 64 keeps timm's)"


def open_timm_folder(folder: Path) -> tuple[nn.Module, str]:
    """What `timm.create_model("local-dir:FOLDER", pretrained=True)` gives, in evaluation mode, and timm's version.

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
