"""Torchvision's networks as `features` and `head`: adapters, not rewrites.

Enters: a name in `FAMILIES`. Leaves: a `ZooNetwork` whose `features` and `head` are the original's own layers. Called
through the registry. Torchvision is imported only when a network is built. The networks of timm (`timm:NAME`) are in
timm_networks.py.

Published weights: `load_published(model, state_dict)` takes torchvision's (or timm's) file as it is; the names are
matched by the identity of the tensors when the network is built, so no table has to be maintained.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from catseye.errors import ModelFileError
from catseye.models.registry import network
from catseye.models.stems import SMALL, choose_stem, describe_stem, grey_input, refuse_collapse


@dataclass(frozen=True)
class Family:
    """The facts of the networks of one paper; `min_px` is the smallest input."""

    year: int
    innovation: str
    source: str
    names: tuple[str, ...]
    min_px: int  # with the paper's stem
    taps: tuple[tuple[str, str], ...] = ()  # (layer, auxiliary head that reads its output)
    photos: bool = True  # has a norm and no large dense layer, so that it learns photos from fresh weights


FAMILIES = {
    "alexnet": Family(
        2012,
        "GPU training, ReLU, dropout",
        "Krizhevsky et al. 2012; built as one tower as in Krizhevsky 2014, arXiv 1404.5997",
        ("alexnet",),
        63,
        photos=False,
    ),
    "vgg": Family(
        2014,
        "depth from uniform 3x3 convolutions",
        "Simonyan, Zisserman 2014, arXiv 1409.1556",
        tuple(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
        32,
        photos=False,
    ),
    "googlenet": Family(
        2014,
        "inception modules, 1x1 bottlenecks, auxiliary heads",
        "Szegedy et al. 2014, arXiv 1409.4842; built with batch norm and 3x3 for the paper's 5x5",
        ("googlenet",),
        15,
        (("inception4a", "aux1"), ("inception4d", "aux2")),
    ),
    "resnet": Family(
        2015,
        "skips: 152 layers learn",
        "He et al. 2015, arXiv 1512.03385; built with the stride on the 3x3",
        tuple(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
        1,
    ),
    "inception_v3": Family(
        2015,
        "factorised convolutions, label smoothing",
        "Szegedy et al. 2015, arXiv 1512.00567",
        ("inception_v3",),
        75,
        (("Mixed_6e", "AuxLogits"),),
    ),
    "mobilenet_v3": Family(
        2019,
        "searched for phones: depthwise convolutions, hard swish",
        "Howard et al. 2019, arXiv 1905.02244",
        ("mobilenet_v3_small", "mobilenet_v3_large"),
        1,
    ),
    "efficientnet": Family(
        2019,
        "compound scaling of depth, width and resolution",
        "Tan, Le 2019, arXiv 1905.11946",
        tuple(f"efficientnet_b{step}" for step in range(8)),
        1,
    ),
    "efficientnet_v2": Family(
        2021,
        "fused early blocks, faster training",
        "Tan, Le 2021, arXiv 2104.00298",
        tuple(f"efficientnet_v2_{size}" for size in "sml"),
        1,
    ),
    "convnext": Family(
        2022,
        "a ResNet modernised: 7x7 depthwise, LayerNorm, GELU",
        "Liu et al. 2022, arXiv 2201.03545",
        tuple(f"convnext_{size}" for size in ("tiny", "small", "base", "large")),
        32,
    ),
}


# Weights, gradients, Adam's moments, a checkpoint being written and the largest activations take more than 4 GB.
TOO_LARGE = (
    *("resnet101", "resnet152", "efficientnet_b5", "efficientnet_b6", "efficientnet_b7"),
    *("efficientnet_v2_m", "efficientnet_v2_l", "convnext_small", "convnext_base", "convnext_large"),
)


class ZooNetwork(nn.Module):
    """A network of another library, with auxiliary heads if the paper has them.

    Shape: (N, C, H, W) -> features (N, F, h, w) -> (N, K).

    `published_names` maps each name of the state dict to the original's; `notes` are lines for `catseye summary`.
    """

    def __init__(
        self,
        original: nn.Module,
        features: nn.Module,
        head: nn.Module,
        auxiliary: Mapping[str, nn.Module] | None = None,
        taps: Mapping[str, str] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        names = {id(tensor): name for name, tensor in original.state_dict(keep_vars=True).items()}
        self.features = features
        self.head = head
        if auxiliary:
            self.auxiliary = nn.ModuleDict(auxiliary)
        self.taps = dict(taps or {})
        self.notes = notes
        self.published_names = {ours: names[id(tensor)] for ours, tensor in self.state_dict(keep_vars=True).items()}

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, C, H, W) -> (N, K) logits, without the auxiliary heads."""
        logits: Tensor = self.head(self.features(x))
        return logits

    def training_outputs(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits, and those of the auxiliary heads, for the training step's loss.

        Shape: (N, C, H, W) -> (N, K), list of (N, K).
        """
        if not self.taps:
            return self(x), []
        auxiliary = []
        for name, layer in self.features.named_children():
            x = layer(x)
            if name in self.taps:
                auxiliary.append(self.auxiliary[self.taps[name]](x))
        return self.head(x), auxiliary


class InceptionAuxiliary(nn.Module):
    """Inception v3's auxiliary head for maps of any size.

    The original averages 5x5 windows at stride 3. At 299 px this turns 17 x 17 into the 5 x 5 that its next convolution
    needs; at 224 px the result is too small. Maps below 17 x 17 are therefore averaged to 5 x 5 here.

    Shape: (N, 768, h, w) -> (N, K).
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.conv0, self.conv1, self.fc = original.conv0, original.conv1, original.fc

    def forward(self, x: Tensor) -> Tensor:
        """Shape: see the class."""
        x = F.avg_pool2d(x, kernel_size=5, stride=3) if x.shape[-1] >= 17 else F.adaptive_avg_pool2d(x, 5)
        x = F.adaptive_avg_pool2d(self.conv1(self.conv0(x)), 1)
        logits: Tensor = self.fc(x.flatten(1))
        return logits


def _build_torchvision(
    name: str,
    family: str,
    *,
    num_classes: int,
    in_channels: int,
    input_px: int,
    stem: str = "auto",
    auxiliary: bool = True,
) -> ZooNetwork:
    from torchvision import models as torchvision_models

    variant, small, facts = choose_stem(stem, input_px), SMALL[family], FAMILIES[family]
    refuse_collapse(name, variant, input_px, small.min_px if variant == "small" else facts.min_px)
    # Without init_weights=True these two warn that their initialisation may change.
    extra = {"aux_logits": auxiliary, "init_weights": True} if facts.taps else {}
    net = getattr(torchvision_models, name)(weights=None, num_classes=num_classes, **extra)
    if variant == "small":
        small.apply(net)
    if in_channels == 1:
        grey_input(net)
    taps = dict(facts.taps) if auxiliary else {}
    heads = {head: getattr(net, head) for head in taps.values()}
    if family == "inception_v3":
        heads = {head: InceptionAuxiliary(layer) for head, layer in heads.items()}
    notes = [describe_stem(variant, small.change)]
    if heads:
        count = sum(p.numel() for layer in heads.values() for p in layer.parameters())
        notes.append(f"{count:,} of the parameters are in auxiliary heads, which only training uses")
    features, head = _split(net, {head for _, head in facts.taps})
    return ZooNetwork(net, features, head, heads, taps, tuple(notes))


def _split(net: nn.Module, left_out: set[str]) -> tuple[nn.Module, nn.Sequential]:
    """The layers before the average pooling, and those from it on.

    Flattening, which is code in the original, becomes a layer.
    """
    children = OrderedDict((name, layer) for name, layer in net.named_children() if name not in left_out)
    names = list(children)
    cut = names.index("avgpool")
    before, after = names[:cut], names[cut + 1 :]
    features = children["features"] if before == ["features"] else _sequence(children, before)
    head = OrderedDict[str, nn.Module](avgpool=children["avgpool"])
    if not any(isinstance(layer, nn.Flatten) for name in after for layer in children[name].modules()):
        head["flatten"] = nn.Flatten()  # ConvNeXt's classifier has its own, after a norm
    head.update((name, children[name]) for name in after)
    return features, nn.Sequential(head)


def _sequence(children: Mapping[str, nn.Module], names: list[str]) -> nn.Sequential:
    return nn.Sequential(OrderedDict((name, children[name]) for name in names))


@dataclass(frozen=True)
class Loaded:
    """The result of `load_published`.

    `fresh` are names that kept their fresh weights, `unused` are names of the file that were ignored.
    """

    num_loaded: int
    fresh: tuple[str, ...]
    unused: tuple[str, ...]


def load_published(model: nn.Module, published: Mapping[str, Tensor]) -> Loaded:
    """Load a state dict with the original's names into a network of the zoo.

    A classifier for another number of classes and the convolution that a small-image stem replaced keep their fresh
    weights; auxiliary heads may be missing on either side. For one input channel, the kernels of the first convolution
    are summed over the three published channels.

    Torchvision's weights of googlenet and inception_v3 expect images normalised with mean 0.5 and standard deviation
    0.5, all others ImageNet's: preprocessing belongs to the weights, not to the network.

    Raises:
        ModelFileError: the weights belong to another network.

    """
    names: dict[str, str] = getattr(model, "published_names", {})
    ours = model.state_dict()
    may_differ = _first_and_last(model)
    loaded: dict[str, Tensor] = {}
    fresh, wrong = [], []
    for name, theirs in names.items():
        tensor = published.get(theirs)
        if tensor is not None and tensor.ndim == 4 and ours[name].shape[1] == 1 and tensor.shape[1] == 3:
            tensor = tensor.sum(1, keepdim=True)
        if tensor is not None and tensor.shape == ours[name].shape:
            loaded[name] = tensor
        elif (name.startswith("auxiliary.") and tensor is None) or (tensor is not None and name in may_differ):
            fresh.append(name)
        else:
            wrong.append(f"{theirs} is {'missing' if tensor is None else tuple(tensor.shape)}")
    if wrong or not loaded:
        reason = wrong[0] if wrong else "no name matches"
        raise ModelFileError(
            f"these weights are another network's: {reason} ({len(wrong)} of {len(names)} tensors differ); give "
            "weights of the network that --model names"
        )
    model.load_state_dict(loaded, strict=False)
    unused = tuple(sorted(set(published) - {names[name] for name in loaded}))
    return Loaded(len(loaded), tuple(fresh), unused)


def count_published_classes(model: nn.Module, published: Mapping[str, Tensor]) -> int:
    """The number of classes of published weights: rows of their last matrix.

    Raises:
        ModelFileError: the weights have no such matrix.

    """
    name = f"{_with_kernels(model, 'head')[-1]}.weight"
    theirs = getattr(model, "published_names", {}).get(name, "")
    if theirs not in published:
        raise ModelFileError(
            f"these weights are another network's: {theirs or name} is missing; give weights of the network that "
            "--model names"
        )
    return int(published[theirs].shape[0])


def _first_and_last(model: nn.Module) -> set[str]:
    """Names of the stem's first convolution and of the last layer of each head."""
    auxiliary = [f"auxiliary.{name}" for name, _ in getattr(model, "auxiliary", nn.ModuleDict()).named_children()]
    last = [_with_kernels(model, part)[-1] for part in ("head", *auxiliary)]
    layers = [_with_kernels(model, "features")[0], *last]
    return {f"{name}.{key}" for name in layers for key, _ in model.get_submodule(name).named_parameters()}


def _with_kernels(model: nn.Module, part: str) -> list[str]:
    layers = model.get_submodule(part).named_modules(prefix=part)
    return [name for name, layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]


def _register() -> None:
    for key, family in FAMILIES.items():
        for name in family.names:
            build: Callable[..., nn.Module] = partial(_build_torchvision, name, key)
            options = ("stem", "auxiliary") if family.taps else ("stem",)
            network(
                name,
                year=family.year,
                innovation=family.innovation,
                source=family.source,
                family=key,
                options=options,
                photos=family.photos and name not in TOO_LARGE,
            )(build)


_register()
