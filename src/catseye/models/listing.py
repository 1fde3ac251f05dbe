"""The networks by name, for Python: `list_models` and `create_model`.

Enters: a pattern, or a name and a task. Leaves: names with their facts, or a network. Called by users and by cli.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from torch import nn

from catseye.models import registry
from catseye.models.milestones import milestones_json, tables
from catseye.notebook import html_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType


class ModelNames(list[str]):
    """Names of networks, oldest first; `entries` has the facts of each."""

    @property
    def entries(self) -> list[registry.Entry]:
        """The registry's entry of each: year, innovation, paper, options."""
        return [registry.entry(name) for name in self]

    def to_json(self) -> list[dict[str, Any]]:
        """Every registered network, milestones with their published facts."""
        return milestones_json()

    def tables(self) -> "Iterator[RenderableType]":
        """The tables and lines that the terminal shows."""
        return iter(tables())

    def _repr_html_(self) -> str:
        rows = ((entry.name, entry.year, entry.innovation, ", ".join(entry.options)) for entry in self.entries)
        return html_table(("name", "year", "what was new", "options"), rows)


def list_models(pattern: str = "*") -> ModelNames:
    """The names of the networks, oldest first, without those of `timm:NAME`.

    >>> list_models("lenet*")
    ['lenet5']
    """
    return ModelNames(_matching(pattern, (entry.name for entry in registry.entries())))


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if fnmatchcase(name, pattern)]


def create_model(
    name: str,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    input_px: int | tuple[int, int] = 32,
    **options: Any,
) -> nn.Module:
    """A network with fresh weights.

    `features(x)` gives maps, `head(maps)` gives logits; calling the network does both. `input_px` is the side of a
    square input, or (height, width); `options` are those that `list_models` shows.

    Shape: the network maps (N, in_channels, H, W) float, with mean 0 and spread 1, to (N, num_classes) logits.

    Raises:
        UnknownName: no such network. UsageError: it has no such option.

    >>> sum(p.numel() for p in create_model("lenet5", in_channels=1).parameters())
    61706

    """
    return registry.create(name, num_classes=num_classes, in_channels=in_channels, input_px=input_px, **options)
