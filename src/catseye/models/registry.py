"""Networks by name, and the one contract they all keep.

Enters: a name, number of classes, input shape, options. Leaves: an `nn.Module` with `features` and
`head`. Called by training, runs, summary and cli. A network registers itself with `@network(...)`.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from catseye.errors import UnknownName, UsageError


class Network(Protocol):
    """The contract on which class activation maps, transfer learning and export rest.

    `features(x)`: (N, C, H, W) -> (N, F, h, w); `head(f)`: (N, F, h, w) -> (N, K) logits;
    the forward pass is `head(features(x))` and nothing else.
    """

    features: nn.Module
    head: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """`head(features(x))`."""
        ...


@dataclass(frozen=True)
class Entry:
    """One line of `catseye models`."""

    name: str
    build: Callable[..., nn.Module]
    year: int
    innovation: str
    source: str
    options: tuple[str, ...]


_ENTRIES: dict[str, Entry] = {}
_ARGUMENTS = ("num_classes", "in_channels", "input_px")


def network(
    name: str, *, year: int, innovation: str, source: str
) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Register a builder `(num_classes, in_channels, input_px, **options) -> nn.Module` under `name`."""

    def register(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        options = tuple(key for key in inspect.signature(build).parameters if key not in _ARGUMENTS)
        _ENTRIES[name] = Entry(name, build, year, innovation, source, options)
        return build

    return register


def entries() -> list[Entry]:
    """Every registered network, oldest first."""
    _load()
    return sorted(_ENTRIES.values(), key=lambda entry: (entry.year, entry.name))


def entry(name: str) -> Entry:
    """The registered network `name`.

    Raises:
        UnknownName: there is none; the nearest names are suggested.

    """
    _load()
    if name not in _ENTRIES:
        raise UnknownName("model", name, _ENTRIES, see="`catseye models` lists them.")
    return _ENTRIES[name]


def create(name: str, *, num_classes: int, in_channels: int = 3, input_px: int = 32, **options: Any) -> nn.Module:
    """Build a network with fresh weights.

    Shape: the network maps (N, in_channels, input_px, input_px) float to (N, num_classes) logits.

    Raises:
        UnknownName: no such network.
        UsageError: an option that this network does not have.

    >>> model = create("lenet5", num_classes=10, in_channels=1, input_px=32)
    >>> sum(p.numel() for p in model.parameters())
    61706

    """
    found = entry(name)
    for option in options:
        if option not in found.options:
            has = f"it has: {', '.join(found.options)}" if found.options else "it has no options"
            raise UsageError(f"model.{option} would do nothing: {name} has no such option; {has}")
    return found.build(num_classes=num_classes, in_channels=in_channels, input_px=input_px, **options)


def _load() -> None:
    # Importing a file registers its networks.
    from catseye.models import lenet, residual, simple  # noqa: F401
