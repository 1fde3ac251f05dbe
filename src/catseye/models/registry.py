"""Networks by name, and the one contract they all keep.

Enters: a name, number of classes, input shape, options. Leaves: an `nn.Module` with `features` and
`head`. Called by training, runtimes, explanation, lab and cli. A network registers itself with `@network(...)`.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from catseye.errors import UnknownName, UsageError
from catseye.models.heads import replace_head
from catseye.models.views import MirroredViews

AUXILIARY_WEIGHT = 0.3
"""Share of each auxiliary head in the training loss. Source: Szegedy et al. 2014, arXiv 1409.4842, section 5."""


class Network(Protocol):
    """The contract that class activation maps, transfer learning and export rely on.

    `features(x)`: (N, C, H, W) -> (N, F, h, w); `head(f)`: (N, F, h, w) -> (N, K) logits;
    the forward pass is `head(features(x))` and nothing else.

    Three members are optional. `initialise(x)`: gets normalised training images (N, C, H, W) once before the first
    step, for networks whose first weights depend on the data. `training_outputs(x)`: (N, C, H, W) -> logits (N, K) and
    a list of auxiliary logits (N, K), for networks with heads that only training uses; see the function of that name.
    `notes`: lines that `catseye summary` prints below the table.
    """

    features: nn.Module
    head: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """`head(features(x))`."""
        ...


@dataclass(frozen=True)
class Entry:
    """A network's line in `catseye models`.

    `photos`: it can learn images of 224 px from fresh weights in 4 GB of memory.
    """

    name: str
    build: Callable[..., nn.Module]
    year: int
    innovation: str
    source: str
    options: tuple[str, ...]
    family: str = ""
    photos: bool = False


VIEWS = ("one", "mirrored")

_ENTRIES: dict[str, Entry] = {}
_LIBRARIES: dict[str, Callable[[str], Entry]] = {}
_ARGUMENTS = ("num_classes", "in_channels", "input_px", "shape_px")


def network(
    name: str,
    *,
    year: int,
    innovation: str,
    source: str,
    family: str = "",
    options: tuple[str, ...] | None = None,
    photos: bool = False,
) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Register the decorated builder of a network under `name`.

    It is called as `build(num_classes, in_channels, input_px, **options)` and returns an `nn.Module`. `input_px` is the
    shorter side of the input; a builder that needs both sides also takes `shape_px`, (height, width).

    The options are those of the builder's signature, or `options` if one builder serves many networks.
    """

    def register(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        own = tuple(key for key in inspect.signature(build).parameters if key not in _ARGUMENTS)
        _ENTRIES[name] = Entry(
            name, build, year, innovation, source, own if options is None else options, family or name, photos
        )
        return build

    return register


def library(prefix: str) -> Callable[[Callable[[str], Entry]], Callable[[str], Entry]]:
    """Register the decorated function, which returns the entry of `prefix:NAME`."""

    def register(find: Callable[[str], Entry]) -> Callable[[str], Entry]:
        _LIBRARIES[prefix] = find
        return find

    return register


def entries() -> list[Entry]:
    """Every registered network, oldest first, without those of timm."""
    return sorted(_ENTRIES.values(), key=lambda entry: entry.year)


def entry(name: str) -> Entry:
    """The entry of a registered network, or of a library's, such as `timm:NAME`.

    Raises:
        UnknownName: no such network; the nearest names are suggested.
        MissingDependency: it is a network of timm, and timm is not installed.

    """
    library, colon, _ = name.partition(":")
    if colon and library in _LIBRARIES:
        return _LIBRARIES[library](name)
    if name not in _ENTRIES:
        raise UnknownName("model", name, _ENTRIES, see="`catseye models` lists them.")
    return _ENTRIES[name]


def create(
    name: str,
    *,
    num_classes: int,
    in_channels: int = 3,
    input_px: int | tuple[int, int] = 32,
    head: str = "own",
    views: str = "one",
    **options: Any,
) -> nn.Module:
    """Build a network with fresh weights.

    `head="linear"` replaces its head with that of transfer learning, "transfer" with that of runs before version 0.2.
    `views="mirrored"` makes it average an image and its mirror image, in twice the time. `input_px` is the side of a
    square input, or (height, width).

    Shape: the network maps (N, in_channels, H, W) float to (N, num_classes) logits.

    Raises:
        UnknownName: no such network.
        UsageError: an option that this network does not have, or unknown views.

    >>> model = create("lenet5", num_classes=10, in_channels=1, input_px=32)
    >>> sum(p.numel() for p in model.parameters())
    61706

    """
    if views not in VIEWS:
        raise UsageError(f"views must be {' or '.join(VIEWS)}; got {views!r}")
    registered = entry(name)
    for option in options:
        if option not in registered.options:
            has = f"it has: {', '.join(registered.options)}" if registered.options else "it has no options"
            raise UsageError(f"model.{option} would do nothing: {name} has no such option; {has}")
    shape = (input_px, input_px) if isinstance(input_px, int) else (int(input_px[0]), int(input_px[1]))
    more = {"shape_px": shape} if "shape_px" in inspect.signature(registered.build).parameters else {}
    model = registered.build(num_classes=num_classes, in_channels=in_channels, input_px=min(shape), **more, **options)
    if head in ("linear", "transfer"):
        model = replace_head(model, num_classes, in_channels, min(shape), head)  # type: ignore[arg-type]
    if views == "mirrored":
        model.features = MirroredViews(model.get_submodule("features"))
    return model


def training_outputs(model: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The logits that the training loss uses: the network's and its auxiliary heads'.

    The loss is criterion(logits) + AUXILIARY_WEIGHT times the sum of criterion(auxiliary logits). For a network without
    auxiliary heads, the list is empty.

    Shape: (N, C, H, W) -> (N, K), list of (N, K).
    """
    outputs = getattr(model, "training_outputs", None)
    if outputs is None:
        return model(x), []
    logits, auxiliary = outputs(x)
    return logits, auxiliary
