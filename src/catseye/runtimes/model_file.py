"""An opened model file of any exported format, behind one face. No torch, no runtime: those hand in `ask`.

Enters: what a format's own reader found out. Leaves: `ModelFile` and the checks that all formats share. Called by the
runtimes, exporting, serving, cli.
"""

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.classifier import Classifier, Logits, softmax
from catseye.errors import ModelFileError
from catseye.manifest import Manifest
from catseye.preprocess import Pixels, normalise

MAX_BYTES = 2**31 - 1  # a protobuf message cannot be larger, and no other file needs to be
PROBABILITY_TOLERANCE = 1e-4

Face = tuple[str, str, list[int | str]]
"""Name, type and shape of an input or output."""
Outputs = dict[str, NDArray[np.float32]]
Ask = Callable[[NDArray[Any], Sequence[str]], Sequence[NDArray[np.float32]]]
"""What the graph's input takes, and the names of outputs, to those outputs; safe to call from several threads."""


@dataclass(frozen=True)
class ModelFile:
    """What a file says of itself, what it consists of, and the way to ask it.

    `num_parameters` is None where a format does not tell.
    """

    path: str
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

    def run(self, pixels: Pixels) -> Outputs:
        """All outputs by name: prediction (N, K) logits, probability (N, K), and cam (N, h, w) where there is one.

        Shape: pixels (N, H, W, C) uint8, as `preprocess` makes them.
        """
        names = [name for name, _, _ in self.outputs]
        return dict(zip(names, self.ask(tensor_of(pixels, self.manifest), names), strict=True))

    def classifier(self) -> Classifier:
        """The same, behind the face that every model has."""

        def logits(pixels: Pixels) -> Logits:
            return self.run(pixels)["prediction"]

        return Classifier(manifest=self.manifest, logits=logits)


def read_once(path: str | Path, what: str) -> bytes:
    """The bytes of a file that may come from a stranger; they are judged, hashed and run, so nothing can be swapped.

    Raises:
        ModelFileError: it cannot be read, is no plain file, or is larger than 2 GB.

    """
    source = str(path)
    try:
        # Without O_NONBLOCK a pipe of that name would block for ever.
        descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as stream:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise ModelFileError(f"{source} is no file")
            if facts.st_size > MAX_BYTES:
                raise ModelFileError(f"{source}: {what} file has at most {MAX_BYTES:,} bytes; got {facts.st_size:,}")
            return stream.read(MAX_BYTES)
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{source} cannot be read ({getattr(error, 'strerror', None) or error})") from None


def tensor_of(pixels: Pixels, manifest: Manifest) -> NDArray[Any]:
    """What the graph's input `image` takes.

    Shape: (N, H, W, C) uint8 -> the same, or (N, C, H, W) float32 where the file wants it normalised.
    """
    return normalise(pixels, manifest.preprocessing) if manifest.input_kind == "float" else pixels


def require_names(manifest: Manifest, source: str) -> None:
    """The manifest names inputs and outputs, for a format whose files do not.

    Raises:
        ModelFileError: it does not.

    """
    if manifest.input_kind is None or not manifest.outputs:
        raise ModelFileError(f"{source}: its manifest does not say what its input and outputs are; export it again")


def faces(manifest: Manifest) -> tuple[list[Face], list[Face]]:
    """Inputs and outputs of a format whose files do not name them, from the manifest."""
    spec = manifest.preprocessing
    if manifest.input_kind == "uint8":
        image: Face = ("image", "uint8", ["batch", spec.height_px, spec.width_px, spec.channels])
    else:
        image = ("image", "float32", ["batch", spec.channels, spec.height_px, spec.width_px])
    shapes: dict[str, list[int | str]] = {"cam": ["batch", "h", "w"]}
    known: list[int | str] = ["batch", len(manifest.classes)]
    return [image], [(name, "float32", shapes.get(name, known)) for name in manifest.outputs]


def require_answers(file: ModelFile) -> ModelFile:
    """One warm call: it computes, the answer is finite, and `probability` is the softmax that the manifest means.

    Raises:
        ModelFileError: otherwise.

    """
    manifest, source = file.manifest, file.path
    spec = manifest.preprocessing
    pixels = np.random.default_rng(0).integers(0, 256, (2, spec.height_px, spec.width_px, spec.channels), np.uint8)
    try:
        outputs = file.run(pixels)
    except Exception as error:  # noqa: BLE001 - the runtimes' exceptions have no common root but this
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
        raise ModelFileError(f"{source}: its probabilities are not those of the temperature in its manifest")
    return file


def first_line(error: Exception) -> str:
    """What a runtime has to say, short enough for a message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
