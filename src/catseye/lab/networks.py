"""The network on the bench: a trained run, or any registered network with fresh weights, and which of both it is.

Enters: what `catseye lab` was given, or a name from the page. Leaves: `Shown`. torch is imported when a network is
opened, so that the chapters without one work where it is not installed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from catseye.errors import UsageError
from catseye.lab.bench import Bench
from catseye.manifest import Manifest
from catseye.preprocess import Preprocessing

if TYPE_CHECKING:
    from torch import nn

GIVEN = "given"
UNTRAINED = "untrained"
DEFAULT = "lenet5"
NUM_CLASSES = 10


@dataclass(frozen=True)
class Shown:
    """A network in evaluation mode on the CPU, how pictures enter it, and its classes. `run` is None for fresh weights."""

    name: str
    model: "nn.Module"
    spec: Preprocessing
    classes: tuple[str, ...]
    temperature: float
    run: Path | None
    says: str

    @property
    def trained(self) -> bool:
        """Whether its weights have seen pictures."""
        return self.run is not None


def is_file_of_a_model(given: str) -> bool:
    """Whether this is a path rather than the name of a registered network."""
    path = Path(given)
    return path.exists() or path.suffix != "" or "/" in given


def check_model(given: str) -> None:
    """Say at once what is wrong with the argument of `catseye lab`.

    Raises:
        UsageError: it is a file that has no layers to look into. CatseyeError: it is no model.

    """
    if given.lower().endswith((".onnx", ".xml", ".pt2", ".pt", ".engine")):
        raise UsageError(
            f"the lab looks into the layers of a run folder or a model.safetensors; got {given}, which has none left; "
            "give the run it was exported from"
        )
    open_shown(given)


def shown(bench: Bench, which: str = GIVEN) -> Shown:
    """The network `given` on the command line, or else a registered one of that name, with fresh weights."""
    if which == GIVEN:
        return bench.once(f"network:{GIVEN}", lambda: open_shown(bench.model or DEFAULT))
    if is_file_of_a_model(which):  # a page chooses among names; files are chosen by whoever starts the lab
        raise UsageError(f"a network is chosen by its name in `catseye models`; got {which[:60]!r}")
    return bench.once(f"network:{which}", lambda: open_shown(which))


def open_shown(given: str) -> Shown:
    """Open a run, or build a registered network.

    Raises:
        ModelFileError: the run cannot be used. UnknownName: no network is called so.

    """
    import torch

    if is_file_of_a_model(given):
        from catseye.runs import load_model

        model, manifest = load_model(given, torch.device("cpu"))
        path = Path(given)
        run = path if path.is_dir() else path.parent
        return _of_run(model, manifest, run)
    from catseye.models import registry

    registry.entry(given)
    spec = input_of(given)
    torch.manual_seed(0)
    model = registry.create(given, num_classes=NUM_CLASSES, in_channels=spec.channels, input_px=spec.height_px).eval()
    says = (
        f"{given} with fresh weights: it has learned nothing yet, so its answer is chance. "
        f"catseye train digits --out first-run, then catseye lab first-run shows a trained one."
    )
    return Shown(given, model, spec, tuple(f"class {i}" for i in range(NUM_CLASSES)), 1.0, None, says)


def _of_run(model: "nn.Module", manifest: Manifest, run: Path) -> Shown:
    name = manifest.architecture.name
    says = f"{name}, trained: {run.name}"
    return Shown(name, model, manifest.preprocessing, manifest.classes, manifest.temperature, run, says)


def input_of(name: str) -> Preprocessing:
    """The input that a network with fresh weights is shown with: the side of its paper, or 32 px."""
    channels, side = _INPUTS.get(name, (3, 32))
    half = (0.5,) * channels
    return Preprocessing(height_px=side, width_px=side, channels=channels, mean=half, std=half)


_INPUTS = {"lenet5": (1, 32)}
