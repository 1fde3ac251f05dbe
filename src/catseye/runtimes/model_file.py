"""An opened model of any format, behind one interface. No torch, no runtime.

Enters: what the format's reader has read. Leaves: `OpenedModel` and the checks that all formats share. Called by the
readers of this room; used by every command that takes a model.
"""

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from catseye.classifier import Classifier, Logits, softmax
from catseye.errors import ModelFileError, UsageError
from catseye.files import StrPath
from catseye.manifest import Manifest
from catseye.preprocess import Pixels, normalise
from catseye.runtimes.formats import Need

if TYPE_CHECKING:
    from torch import nn

MAX_BYTES = 2**31 - 1  # a protobuf message cannot be larger, and no other file needs to be
PROBABILITY_TOLERANCE = 1e-4

Face = tuple[str, str, list[int | str]]
"""Name, type and shape of an input or output."""
Outputs = dict[str, NDArray[np.float32]]
Ask = Callable[[NDArray[Any], Sequence[str]], Sequence[NDArray[np.float32]]]
"""From the graph's input and the names of outputs to those outputs; safe to call from several threads."""


@dataclass(frozen=True)
class OpenSettings:
    """How to open a model; each reader uses the fields that apply to it."""

    device: str = "auto"
    trust: bool = False
    need: Need = "answers"
    threads: int = 0
    calls: int = 1
    spin: bool = False
    runtime: str = ""
    conv_search: str = "HEURISTIC"  # CUDA: how ONNX Runtime chooses convolutions
    graph: bool = False  # CUDA: the sizes of `fixed_sizes` as captured graphs
    fixed_sizes: frozenset[int] = frozenset()  # CUDA: batch sizes with buffers at fixed addresses


@dataclass(frozen=True)
class OpenedModel:
    """A model's manifest, its contents, and the function that computes its outputs.

    `num_parameters` is None if the format does not store it. `runtime` includes the version; `computed_by` is the
    runtime's name in `formats.py`. `network` is torch's module in evaluation mode on `device`; None for exported files.
    """

    path: Path
    format: str
    runtime: str
    manifest: Manifest
    num_bytes: int
    sha256: str
    ask: Ask = field(repr=False)
    inputs: list[Face]
    outputs: list[Face]
    operators: dict[str, int]
    num_parameters: int | None = None
    opset: int | None = None
    producer: str = ""
    computed_by: str = "cpu"
    device: str = "cpu"
    network: "nn.Module | None" = field(default=None, repr=False)

    def run(self, pixels: Pixels) -> Outputs:
        """All outputs by name.

        Shape: (N, H, W, C) uint8, as `preprocess` makes them -> prediction (N, K) logits, probability (N, K); some
        models also have cam (N, h, w) and familiarity (N,).
        """
        names = [name for name, _, _ in self.outputs]
        return dict(zip(names, self.ask(tensor_of(pixels, self.manifest), names), strict=True))

    def logits(self, pixels: Pixels) -> Logits:
        """Shape: (N, H, W, C) uint8 -> (N, K) float32."""
        return self.ask(tensor_of(pixels, self.manifest), ("prediction",))[0]

    def logits_and_familiarity(self, pixels: Pixels) -> tuple[Logits, NDArray[np.float32]]:
        """Shape: (N, H, W, C) uint8 -> (N, K) and (N,) float32."""
        logits, familiarity = self.ask(tensor_of(pixels, self.manifest), ("prediction", "familiarity"))
        return logits, familiarity

    def features(self, pixels: Pixels) -> NDArray[np.float32]:
        """The input of the network's head for each image: the mean of every feature map.

        Shape: (N, H, W, C) uint8 -> (N, F) float32.

        Raises:
            UsageError: the model is an exported file.

        """
        self.layers()
        return self.ask(pixels, ("features",))[0]

    @property
    def knows_strangers(self) -> bool:
        """Whether it has a familiarity output and a threshold for it."""
        has_output = any(name == "familiarity" for name, _, _ in self.outputs)
        return has_output and self.manifest.familiarity_threshold is not None

    def when_unknown(self) -> str:
        """When it answers "unknown", as text after "where"; empty if never."""
        manifest, conditions = self.manifest, []
        if self.knows_strangers:
            conditions.append(
                "an image's familiarity (cosine of its features to the nearest centre of a class, at most 1) is below "
                f"{manifest.familiarity_threshold:.3f}"
            )
        if manifest.unknown_threshold is not None:
            conditions.append(f"the largest probability is below {manifest.unknown_threshold:.3f}")
        return " or ".join(conditions)

    def layers(self) -> "nn.Module":
        """The network, to inspect its layers.

        Raises:
            UsageError: the model is an exported file.

        """
        if self.network is None:
            raise UsageError(f"{self.path} is an exported file without layers; give the run it was exported from")
        return self.network

    def classifier(self) -> Classifier:
        """The same model as the `Classifier` that users of the library get."""
        both = self.logits_and_familiarity if self.knows_strangers else None
        features = self.features if self.network is not None else None
        return Classifier(self.manifest, self.logits, both, features, self.path)


def read_once(path: StrPath, what: str) -> bytes:
    """The bytes of an untrusted file, read once so that nothing can be swapped.

    Raises:
        ModelFileError: it cannot be read, is not a regular file, or is larger than 2 GB.

    """
    source = str(path)
    try:
        # Without O_NONBLOCK a pipe of that name would block for ever.
        descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as stream:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise ModelFileError(f"{source} is not a regular file; give the path of a model file")
            if facts.st_size > MAX_BYTES:
                raise ModelFileError(f"{source}: {what} file has at most {MAX_BYTES:,} bytes; got {facts.st_size:,}")
            return stream.read(MAX_BYTES)
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{source} cannot be read ({getattr(error, 'strerror', None) or error})") from None


def tensor_of(pixels: Pixels, manifest: Manifest) -> NDArray[Any]:
    """Pixels in the form that the graph's input `image` takes.

    Shape: (N, H, W, C) uint8 -> the same, or (N, C, H, W) float32 if the graph takes normalised values.
    """
    return normalise(pixels, manifest.preprocessing) if manifest.input_kind == "float" else pixels


def require_names(manifest: Manifest, source: str) -> None:
    """Check that the manifest names inputs and outputs, as the file does not.

    Raises:
        ModelFileError: the manifest does not name them.

    """
    if manifest.input_kind is None or not manifest.outputs:
        raise ModelFileError(f"{source}: its manifest does not say what its input and outputs are; export it again")


def image_and_answers(manifest: Manifest, names: Sequence[str] = ()) -> tuple[list[Face], list[Face]]:
    """Inputs and outputs of a format whose files do not name them.

    The outputs are those of the manifest, unless `names` lists them.
    """
    spec = manifest.preprocessing
    if manifest.input_kind == "float":
        image: Face = ("image", "float32", ["batch", spec.channels, spec.height_px, spec.width_px])
    else:
        image = ("image", "uint8", ["batch", spec.height_px, spec.width_px, spec.channels])
    shapes: dict[str, list[int | str]] = {"cam": ["batch", "h", "w"], "familiarity": ["batch"]}
    per_class: list[int | str] = ["batch", len(manifest.classes)]
    return [image], [(name, "float32", shapes.get(name, per_class)) for name in names or manifest.outputs]


def never_started(image: NDArray[Any], names: Sequence[str]) -> Sequence[NDArray[np.float32]]:
    """The `ask` of a program that was opened for its facts alone."""
    raise UsageError("this model was opened for its facts only and not started; open it with trust to get answers")


def require_answers(file: OpenedModel) -> OpenedModel:
    """Check the answers to a trial call against the manifest.

    They are finite, and `probability` is the softmax at the manifest's temperature.

    Raises:
        ModelFileError: the call fails, or its answers break one of these rules.

    """
    manifest, source = file.manifest, file.path
    spec = manifest.preprocessing
    pixels = np.random.default_rng(0).integers(0, 256, (2, spec.height_px, spec.width_px, spec.channels), np.uint8)
    try:
        outputs = file.run(pixels)
    except Exception as error:  # noqa: BLE001 - the runtimes' exceptions have no other common base class
        raise ModelFileError(f"{source} fails on a trial image ({first_line(error)})") from None
    shape = (2, len(manifest.classes))
    if {"prediction", "probability"} - outputs.keys() or not (
        outputs["prediction"].shape == outputs["probability"].shape == shape
    ):
        raise ModelFileError(f"{source}: its outputs should have the shape {shape} for two images")
    if not all(np.isfinite(values).all() for values in outputs.values()):
        raise ModelFileError(f"{source} answers a trial image with NaN or infinity; use another file")
    expected = softmax(outputs["prediction"], manifest.temperature)
    if np.abs(expected - outputs["probability"]).max() > PROBABILITY_TOLERANCE:
        raise ModelFileError(
            f"{source}: its probabilities are not the softmax of its logits at the temperature of its manifest; export "
            "it again"
        )
    return file


def first_line(error: Exception) -> str:
    """The first line of a runtime's error, short enough for a message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
