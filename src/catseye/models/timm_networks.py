"""Any convolutional network of timm as `timm:NAME`; two of them as `timm:A+B`.

Enters: `timm:NAME`, `timm:NAME.TAG` or `timm:A+B`. Leaves: a `ZooNetwork`, or a `SideBySide`. Called through the
registry. Timm is imported when such a name is used.

A timm network computes `forward_head(forward_features(x))`. One pass over a black image shows which of its layers each
half uses; `features` and `head` are two shells of the network, each with its half of the layers, so that no weight
appears twice in the state dict.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from catseye.errors import MissingDependency, UnknownName, UsageError
from catseye.models.heads import linear_head
from catseye.models.registry import Entry, library
from catseye.models.zoo import ZooNetwork

PREFIX = "timm:"


class TimmFeatures(nn.Module):
    """The layers up to the last feature map. Shape: (N, C, H, W) -> (N, F, h, w)."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        self.channels_last = _gives_channels_last(net)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: see the class."""
        maps: Tensor = self.net.forward_features(x)
        return maps.permute(0, 3, 1, 2) if self.channels_last else maps


class TimmHead(nn.Module):
    """Pooling and what follows it. Shape: (N, F, h, w) -> (N, K)."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        self.channels_last = _gives_channels_last(net)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: see the class."""
        logits: Tensor = self.net.forward_head(x.permute(0, 2, 3, 1) if self.channels_last else x)
        return logits


class ManyFeatures(nn.Module):
    """The concatenated feature maps of several networks; F is the sum of theirs.

    Shape: (N, C, H, W) -> (N, F, h, w).
    """

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: see the class."""
        return torch.cat([part(x) for part in self.parts], 1)


class SideBySide(nn.Module):
    """An ensemble in one network: several networks whose maps share one linear head.

    Shape: (N, C, H, W) -> features (N, F, h, w) -> (N, K).
    """

    def __init__(self, parts: Sequence[nn.Module], num_features: int, num_classes: int) -> None:
        super().__init__()
        self.features = ManyFeatures([part.get_submodule("features") for part in parts])
        self.head = linear_head(num_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: see the class."""
        logits: Tensor = self.head(self.features(x))
        return logits


def side_by_side_state(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The state of a `SideBySide` without its head, from the states of its networks."""
    own = "features."
    return {
        f"{own}parts.{number}.{name.removeprefix(own)}": value
        for number, state in enumerate(states)
        for name, value in state.items()
        if name.startswith(own)
    }


def _gives_channels_last(net: Any) -> bool:
    # Some networks, Swin and MambaOut among them, compute on (N, h, w, F).
    return getattr(net, "output_fmt", "NCHW") == "NHWC"


@library("timm")
def timm_entry(name: str) -> Entry:
    """The registry's entry for `timm:NAME`.

    Raises:
        MissingDependency: timm is not installed.
        UnknownName: timm has no such network, or the network has no such tag; the nearest names are suggested.

    """
    timm = import_timm()
    full = name.removeprefix(PREFIX)
    if "+" in full:
        parts = [timm_entry(f"{PREFIX}{part}") for part in full.split("+")]
        return replace(
            parts[0], name=name, build=partial(_build_side_by_side, parts), innovation="several, side by side"
        )
    architecture, _, tag = full.partition(".")
    if not timm.is_model(architecture):
        raise UnknownName("timm network", full, timm.list_models())
    if tag:
        tagged = timm.list_models(f"{architecture}.*", pretrained=True)
        if full not in tagged:
            raise UnknownName("timm weight", full, tagged or [architecture])
    return Entry(
        name=name,
        build=partial(_build_timm, full),
        year=0,
        innovation="a network of timm",
        source=f"timm {timm.__version__}, Wightman 2019",
        options=(),
        family="timm",
    )


def import_timm() -> Any:
    """The module of timm.

    Raises:
        MissingDependency: timm is not installed.

    """
    try:
        import timm
    except ModuleNotFoundError:
        raise MissingDependency("timm") from None
    return timm


def _build_timm(full: str, *, num_classes: int, in_channels: int, input_px: int) -> ZooNetwork:
    net = import_timm().create_model(full, pretrained=False, num_classes=num_classes, in_chans=in_channels)
    names_of_head = _layers_of_head(net, f"{PREFIX}{full}", in_channels, input_px)
    features = _shell(net, {name for name, _ in net.named_children()} - names_of_head)
    return ZooNetwork(net, TimmFeatures(features), TimmHead(_shell(net, names_of_head)))


def _build_side_by_side(parts: Sequence[Entry], *, num_classes: int, in_channels: int, input_px: int) -> SideBySide:
    built = [part.build(num_classes=num_classes, in_channels=in_channels, input_px=input_px) for part in parts]
    x = torch.zeros(1, in_channels, input_px, input_px)
    with torch.no_grad():
        shapes = [part.eval().get_submodule("features")(x).shape for part in built]
    if len({shape[2:] for shape in shapes}) > 1:
        sides = ", ".join(f"{entry.name} {shape[2]} x {shape[3]}" for entry, shape in zip(parts, shapes, strict=True))
        raise UsageError(f"networks side by side need feature maps of one size; at {input_px} px: {sides}")
    return SideBySide(built, sum(shape[1] for shape in shapes), num_classes).train()


def _layers_of_head(net: Any, name: str, in_channels: int, input_px: int) -> set[str]:
    """Names of the children that `forward_head` uses and `forward_features` does not."""
    used: dict[str, set[str]] = {"features": set(), "head": set()}
    half = "features"

    def note(child: str) -> Any:
        return lambda *_: used[half].add(child)

    handles = [
        layer.register_forward_pre_hook(note(path.partition(".")[0])) for path, layer in net.named_modules() if path
    ]
    training = net.training
    try:
        with torch.no_grad():
            maps = net.eval().forward_features(torch.zeros(1, in_channels, input_px, input_px))
            channels = -1 if _gives_channels_last(net) else 1
            if not isinstance(maps, Tensor) or maps.ndim != 4 or maps.shape[channels] != net.num_features:
                raise UsageError(
                    f"class activation maps and transfer learning need a feature map (N, F, h, w); {name} has none; "
                    "use a convolutional network, for example timm:convnextv2_atto"
                )
            half = "head"
            net.forward_head(maps)
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise UsageError(f"{name} cannot take an input of {input_px} px ({reason}); try another input_px") from None
    finally:
        net.train(training)
        for handle in handles:
            handle.remove()
    shared = used["head"] & used["features"]
    if any(next(net.get_submodule(child).parameters(), None) is not None for child in shared):
        raise UsageError(
            f"{name} uses {', '.join(sorted(shared))} both before and after its feature map; use another network"
        )
    return used["head"] - shared


def _shell(net: Any, names: set[str]) -> Any:
    """The network's code with only these children, and all children without weights."""
    shell = copy.copy(net)
    shell._modules = {
        name: layer for name, layer in net._modules.items() if name in names or layer is None or not layer.state_dict()
    }
    return shell
