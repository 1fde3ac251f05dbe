"""An exported .onnx file as a `Classifier`, computed by ONNX Runtime. No torch, no `onnx` package.

Enters: the path of a file that may come from a stranger. Leaves: `OnnxModel`, `Classifier`. The file is read
once, into bytes; those bytes are judged, hashed and run, so nothing can be swapped in between. Called by
`catseye.load`, cli, evaluation and exporting.
"""

import os
import stat
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.classifier import Classifier, Logits, softmax
from catseye.errors import ModelFileError, UsageError
from catseye.manifest import METADATA_KEY, Manifest
from catseye.onnx_structure import Structure, read_structure
from catseye.preprocess import Pixels, normalise

MAX_BYTES = 2**31 - 1  # a protobuf message cannot be larger
PROBABILITY_TOLERANCE = 1e-4


@dataclass(frozen=True)
class OnnxModel:
    """An opened file: what it says of itself, what it consists of, and the session that runs it."""

    manifest: Manifest
    structure: Structure
    num_bytes: int
    sha256: str
    session: Any = field(repr=False)

    def run(self, pixels: Pixels) -> dict[str, NDArray[np.float32]]:
        """All outputs by name: prediction (N, K) logits, probability (N, K), and cam (N, h, w) where there is one.

        Shape: pixels (N, H, W, C) uint8, as `preprocess` makes them.
        """
        image = tensor_of(pixels, self.manifest)
        names = [one.name for one in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, {"image": image}), strict=True))

    def classifier(self) -> Classifier:
        """The same, behind the face that every model has."""

        def logits(pixels: Pixels) -> Logits:
            (result,) = self.session.run(["prediction"], {"image": tensor_of(pixels, self.manifest)})
            found: Logits = result
            return found

        return Classifier(manifest=self.manifest, logits=logits)


def tensor_of(pixels: Pixels, manifest: Manifest) -> NDArray[Any]:
    """What the graph's input `image` takes.

    Shape: (N, H, W, C) uint8 -> the same, or (N, C, H, W) float32 where the file wants it normalised.
    """
    return normalise(pixels, manifest.preprocessing) if manifest.input_kind == "float" else pixels


def load_onnx(path: str | Path, *, device: str = "auto", threads: int = 0) -> Classifier:
    """A file that `catseye export` wrote, as a `Classifier`.

    Raises:
        ModelFileError: as in `open_onnx`. UsageError: a device other than the CPU.

    """
    if device not in ("auto", "cpu"):
        raise UsageError(f"an .onnx file runs on the CPU here; got device {device!r}; leave --device out")
    return open_onnx(path, threads=threads).classifier()


def open_onnx(
    path: str | Path, *, threads: int = 0, providers: tuple[str, ...] = ("CPUExecutionProvider",)
) -> OnnxModel:
    """Read, judge and start an .onnx file. `threads` = 0: one per core; `providers` are tried in order.

    Raises:
        ModelFileError: it is missing, too large, damaged, not made by catseye, refers to other files, or
            does not do what its manifest says.

    """
    source = str(path)
    content = _read_once(source)
    structure = read_structure(content, source)
    manifest = Manifest.from_json(structure.metadata.get(METADATA_KEY), source)
    if manifest.input_kind is None:
        raise ModelFileError(f"{source}: its manifest does not say what its input is; export it again")
    model = OnnxModel(
        manifest, structure, len(content), sha256(content).hexdigest(), _session(content, source, threads, providers)
    )
    _check_face(model, source)
    _probe(model, source)
    return model


def _read_once(source: str) -> bytes:
    try:
        # Without O_NONBLOCK a pipe of that name would block for ever.
        descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as stream:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise ModelFileError(f"{source} is no file")
            if facts.st_size > MAX_BYTES:
                raise ModelFileError(f"{source}: an ONNX file has at most {MAX_BYTES:,} bytes; got {facts.st_size:,}")
            return stream.read(MAX_BYTES)
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{source} cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _session(content: bytes, source: str, threads: int, providers: tuple[str, ...]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what it has to say comes as an exception
    # Waiting threads would otherwise burn a core each between two pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Else bytes that look like ORT's own format, which was not judged above, would be taken for that.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=list(providers))
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions have no common root but this
        raise ModelFileError(f"{source} cannot be run by ONNX Runtime ({_first_line(error)})") from None
    if session.get_providers()[0] != providers[0]:  # it falls back to the CPU without a word
        raise ModelFileError(
            f"{source}: {providers[0]} cannot be started on this machine; got {session.get_providers()}"
        )
    return session


def _check_face(model: OnnxModel, source: str) -> None:
    """Names, types and shapes of inputs and outputs are what the manifest promises."""
    manifest = model.manifest
    spec, num_classes = manifest.preprocessing, len(manifest.classes)
    if manifest.input_kind == "uint8":
        wanted_inputs = {"image": ("tensor(uint8)", [spec.height_px, spec.width_px, spec.channels])}
    else:
        wanted_inputs = {"image": ("tensor(float)", [spec.channels, spec.height_px, spec.width_px])}
    wanted_outputs = {name: ("tensor(float)", [num_classes]) for name in ("prediction", "probability")}
    inputs, outputs = _face(model.session.get_inputs()), _face(model.session.get_outputs())
    outputs.pop("cam", None)
    for side, wanted, got in (("inputs", wanted_inputs, inputs), ("outputs", wanted_outputs, outputs)):
        if wanted != got:
            raise ModelFileError(f"{source}: its {side} should be {wanted} behind a free batch size; got {got}")


def _face(values: list[Any]) -> dict[str, tuple[str, list[int | str]]]:
    # A fixed batch size stays in the list, so that it does not compare equal.
    return {
        one.name: (one.type, [*one.shape[1:]] if one.shape and not isinstance(one.shape[0], int) else [*one.shape])
        for one in values
    }


def _probe(model: OnnxModel, source: str) -> None:
    """One warm call: it computes, the answer is finite, and `probability` is the softmax that the manifest means."""
    spec = model.manifest.preprocessing
    pixels = np.random.default_rng(0).integers(0, 256, (2, spec.height_px, spec.width_px, spec.channels), np.uint8)
    try:
        outputs = model.run(pixels)
    except Exception as error:  # noqa: BLE001 - as above
        raise ModelFileError(f"{source} fails on a trial picture ({_first_line(error)})") from None
    shape = (2, len(model.manifest.classes))
    if outputs["prediction"].shape != shape or outputs["probability"].shape != shape:
        raise ModelFileError(f"{source}: its outputs should have the shape {shape} for two pictures")
    if not all(np.isfinite(values).all() for values in outputs.values()):
        raise ModelFileError(f"{source} answers a trial picture with NaN or infinity; use another file")
    expected = softmax(outputs["prediction"], model.manifest.temperature)
    if np.abs(expected - outputs["probability"]).max() > PROBABILITY_TOLERANCE:
        raise ModelFileError(f"{source}: its probabilities are not those of the temperature in its manifest")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
