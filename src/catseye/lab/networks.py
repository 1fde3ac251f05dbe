"""The network on the bench: a trained run, or one with fresh weights.

Enters: the argument of `catseye lab`, or the name of a registered network from a page. Leaves: `Shown`, and images for
it. torch is imported when a network is opened, so that the other chapters work without it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from catseye.errors import UsageError
from catseye.lab.bench import Workbench
from catseye.preprocess import Pixels, Preprocessing, preprocess
from catseye.runtimes.formats import MODEL_FORMATS, require_layers
from catseye.runtimes.loading import open_model
from catseye.runtimes.model_file import OpenedModel

if TYPE_CHECKING:
    from torch import nn

GIVEN = "given"  # what the lab was started with, or DEFAULT
HERE = "here"  # what was trained on a page: see `leave`
DEFAULT = "lenet5"
NUM_CLASSES = 10
NUM_IMAGES = 512
_GREY = {"lenet5"}


@dataclass(frozen=True)
class Shown:
    """A network in evaluation mode on the CPU, how images enter it, and its classes.

    `data` is the source it was trained on, empty for fresh weights; `says` describes it to the reader.
    """

    name: str
    model: "nn.Module"
    spec: Preprocessing
    classes: tuple[str, ...]
    temperature: float
    trained: bool
    says: str
    data: str = ""


@dataclass(frozen=True)
class DataPixels:
    """Images of a data set as the network gets them, and their classes.

    Shape: images (N, H, W, C) uint8.
    """

    source: str
    pixels: Pixels
    labels: list[str]


def is_path(given: str) -> bool:
    """Whether this is a path, not the name of a registered network."""
    return "/" in given or Path(given).exists() or Path(given).suffix.lower() in MODEL_FORMATS


def check_model(given: str) -> None:
    """Check the argument of `catseye lab` before anything starts.

    Raises:
        UsageError: it is a file without layers to show.

    """
    require_layers(given)


def shown(bench: Workbench, which: str = GIVEN) -> Shown:
    """The network that a page asks for.

    It is the one that the lab was started with, the one trained on its pages, or a registered one with fresh weights.

    Raises:
        UsageError: nothing has been trained here yet, or `which` is a path.

    """
    if which == HERE:
        trained = bench.kept(f"network:{HERE}")
        if not isinstance(trained, Shown):
            raise UsageError("no network has been trained on these pages yet; chapter 6 trains one")
        return trained
    if which == GIVEN:
        return bench.once(f"network:{GIVEN}", lambda: open_shown(bench.model or DEFAULT))
    if is_path(which):  # a page chooses among names; files are chosen by the user who starts the lab
        raise UsageError(f"a network is chosen by its name in `catseye models`; got {which[:60]!r}")
    return bench.latest(f"network:{which}", lambda: open_shown(which))


def leave(bench: Workbench, network: Shown) -> None:
    """Put a network that a page has trained on the bench.

    Chapter 4 then offers it as `HERE`.
    """
    with bench.lock:
        bench.forget(f"network:summary:{HERE}", f"network:data:{HERE}")
        bench.keep(f"network:{HERE}", network)


def names(bench: Workbench) -> list[dict[str, str]]:
    """The networks that a page offers."""
    from catseye.models import registry

    given = shown(bench)
    first = [{"value": GIVEN, "title": f"{given.name}, {'your trained model' if given.trained else 'fresh weights'}"}]
    if bench.kept(f"network:{HERE}") is not None:
        first.append({"value": HERE, "title": "the network you trained in chapter 6"})
    rest = [{"value": entry.name, "title": f"{entry.year} {entry.name}, fresh weights"} for entry in registry.entries()]
    return first + [entry for entry in rest if given.trained or entry["value"] != given.name]


def open_shown(given: str) -> Shown:
    """Open a run, or build a registered network.

    Raises:
        ModelFileError: the run cannot be used. UnknownName: no network has this name.

    """
    import torch

    if is_path(given):
        return _of_run(open_model(given, device="cpu", need="layers"))
    from catseye.models import registry

    registry.entry(given)
    spec = _input_of(given)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = registry.create(given, num_classes=NUM_CLASSES, in_channels=spec.channels, input_px=spec.height_px)
    says = (
        f"{given} with fresh weights: it has learned nothing yet, so its answers are random. To see a trained one: "
        "catseye train digits --out first-run, then catseye lab first-run."
    )
    classes = tuple(f"class {number}" for number in range(NUM_CLASSES))
    return Shown(given, model.eval(), spec, classes, 1.0, trained=False, says=says)


def _of_run(opened: OpenedModel) -> Shown:
    manifest, path = opened.manifest, opened.path
    folder = path if path.is_dir() else path.parent
    data = ""
    if (folder / "data.json").is_file():
        from catseye.runs import open_run

        data = str(open_run(folder).data.get("source", ""))
    name = manifest.architecture.name
    says = f"{name}, trained on {Path(data).name or 'images that its folder does not name'} ({folder.name})"
    return Shown(
        name,
        opened.layers(),
        manifest.preprocessing,
        manifest.classes,
        manifest.temperature,
        trained=True,
        says=says,
        data=data,
    )


def _input_of(name: str) -> Preprocessing:
    """The input of a network with fresh weights: its paper's size, or 32 px."""
    from catseye.models.milestones import MILESTONES

    side = next((milestone.px for milestone in MILESTONES if milestone.name == name), 224 if ":" in name else 32)
    half = (0.5,) if name in _GREY else (0.5, 0.5, 0.5)
    return Preprocessing(height_px=side, width_px=side, channels=len(half), mean=half, std=half)


def data_pixels(network: Shown) -> DataPixels:
    """Several hundred images of the network's data; digits for fresh weights.

    Raises:
        DataError: the data has been moved or removed.

    """
    from catseye.data.sources import TEST, open_source

    images = open_source(network.data or "digits")
    held_out = np.flatnonzero(images.splits == TEST)
    indices = held_out if len(held_out) else np.arange(len(images))
    # Evenly spaced, so that every class of a sorted folder is among them.
    indices = indices[np.linspace(0, len(indices) - 1, min(NUM_IMAGES, len(indices))).round().astype(int)]
    pixels = np.stack([preprocess(images.read(int(index)), network.spec) for index in indices])
    labels = [images.classes[images.labels[index]] for index in indices]
    return DataPixels(Path(images.source).name, pixels, labels)
