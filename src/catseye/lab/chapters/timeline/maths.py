"""Chapter 8: the milestones' layers and blocks, and their measured results.

Enters: a network's name, a file of measurements of `catseye timeline`. Leaves: sizes counted on the module itself
beside the published ones.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from catseye.errors import UsageError
from catseye.models import registry
from catseye.models.milestones import MILESTONES, Milestone
from catseye.models.summary import LayerRow, ModelSummary, summarise

NUM_CLASSES = 1000
MAX_FILE_BYTES = 1_000_000
_WITH_WEIGHTS = ("Conv2d", "Linear")


@dataclass(frozen=True)
class Anatomy:
    """A milestone at the paper's input size, counted on the module.

    `layers` are those with weights, and the poolings.
    """

    milestone: Milestone
    summary: ModelSummary
    num_convolutions: int
    num_linear: int

    @property
    def layers(self) -> list[LayerRow]:
        """What the silhouette shows, in the order of the forward pass."""
        return [row for row in self.summary.rows if row.kind in _WITH_WEIGHTS or "Pool" in row.kind]


def anatomy(milestone: Milestone) -> Anatomy:
    """Build the network without memory for its weights and trace the shapes.

    The shapes are those of one image after each layer.
    """
    channels = 1 if milestone.px < 64 else 3  # LeNet-5 read grey digits
    classes = 10 if milestone.px < 64 else NUM_CLASSES
    has = registry.entry(milestone.name).options
    options: dict[str, Any] = {"auxiliary": False} if "auxiliary" in has else {}
    with torch.device("meta"):
        model = registry.create(
            milestone.name, num_classes=classes, in_channels=channels, input_px=milestone.px, **options
        )
    summary = summarise(model, (channels, milestone.px, milestone.px))
    dense = [row for row in summary.rows if row.kind == "Linear" and not is_pointwise(row)]
    weighted = [row for row in summary.rows if row.kind in _WITH_WEIGHTS]
    return Anatomy(milestone, summary, len(weighted) - len(dense), len(dense))


def is_pointwise(row: LayerRow) -> bool:
    """Whether a dense layer is applied at every position of a map.

    That makes it a 1x1 convolution; ConvNeXt writes it this way.
    """
    return row.kind == "Linear" and len(row.output_shape) == 3


def two_for_one(channels: int = 64) -> dict[str, dict[str, int]]:
    """Two stacked 3x3 convolutions beside one 5x5: receptive field and weights.

    All go from `channels` to `channels`.

    >>> two_for_one(64)
    {'two 3x3': {'sees_px': 5, 'num_weights': 73728}, 'one 5x5': {'sees_px': 5, 'num_weights': 102400}}
    """
    pair = nn.Sequential(*(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2)))
    single = nn.Sequential(nn.Conv2d(channels, channels, 5, padding=2, bias=False))
    facts = {}
    for name, layers in (("two 3x3", pair), ("one 5x5", single)):
        summary = summarise(layers, (channels, 16, 16))
        facts[name] = {"sees_px": summary.rows[-1].receptive_px, "num_weights": summary.num_parameters}
    return facts


def read_measured(path: Path) -> dict[str, Any]:
    """The results of `catseye timeline`: budget, data, and a row per network.

    `path` is its timeline.json or the folder of that file.

    Raises:
        UsageError: it is not such a file.

    """
    file = path / "timeline.json" if path.is_dir() else path
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise ValueError("it is too large")
        content = json.loads(file.read_text(encoding="utf-8"))
        results = [
            {key.replace("pictures", "images"): value for key, value in row.items()} for row in content["results"]
        ]
        rows = [{key: kind(row[key]) for key, kind in _MEASURED.items()} for row in results]
        return {
            "data": Path(content.get("data") or content["command"].split()[2]).name,
            "budget_s": float(content["budget_s"]),
            "rows": rows,
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or repr(error)
        raise UsageError(
            f"--timeline is the folder of a `catseye timeline` run, or its timeline.json; got {path} ({reason})"
        ) from None


_MEASURED: dict[str, type] = {
    "name": str,
    "year": int,
    "accuracy": float,
    "accuracy_low": float,
    "accuracy_high": float,
    "num_test": int,
    "num_parameters": int,
    "gmacs": float,
    "train_images_per_s": float,
    "inference_images_per_s": float,
    "num_seen": int,
}


def of_the_timeline(name: str) -> Milestone:
    """The milestone of that name.

    Raises:
        UsageError: no milestone has that name.

    """
    for milestone in MILESTONES:
        if milestone.name == name:
            return milestone
    raise UsageError(f"the timeline has {', '.join(milestone.name for milestone in MILESTONES)}; got {name[:40]!r}")
