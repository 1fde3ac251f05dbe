"""A model file, opened for serving: rows of the graph's input in, probabilities out.

Enters: the path of an exported file and the name of a runtime. Leaves: a `ServedModel`, safe to be called from
several threads at once; every call computes in its caller's thread alone, because several such calls side by side
beat one call that is spread over all cores. Called by app, tuning and reload.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from catseye.errors import MissingDependency, ModelFileError, UsageError
from catseye.manifest import Manifest
from catseye.model_file import tensor_of
from catseye.onnx_runtime import OnnxModel, open_onnx
from catseye.preprocess import Pixels

RUNTIMES = ("auto", "cpu", "cuda", "tensorrt", "openvino")
_GPU_PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
PROBABILITY_TOLERANCE = 2e-2  # OpenVINO computes INT8 layers with other roundings than ONNX Runtime


class Answers(NamedTuple):
    """Shape: probabilities (N, K) float; cams (N, h, w) float, or None where nobody asked or the model has none."""

    probabilities: NDArray[Any]
    cams: NDArray[Any] | None


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version of the model. `compute` maps (N, ...) rows and "with CAM?" to `Answers`."""

    name: str
    file: OnnxModel
    runtime: str
    compute: Callable[[NDArray[Any], bool], Answers] = field(repr=False)

    @property
    def manifest(self) -> Manifest:
        """What the file says of itself."""
        return self.file.manifest

    @property
    def version(self) -> str:
        """The first 12 digits of the file's SHA-256: names exactly one version."""
        return self.file.sha256[:12]

    @property
    def has_cam(self) -> bool:
        """Whether the file can say where it saw the class."""
        return "cam" in {one.name for one in self.file.session.get_outputs()}

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row of the graph's input, without the batch: (H, W, C) uint8 or (C, H, W) float32."""
        spec = self.manifest.preprocessing
        if self.manifest.input_kind == "float":
            return (spec.channels, spec.height_px, spec.width_px)
        return (spec.height_px, spec.width_px, spec.channels)

    @property
    def row_type(self) -> type[np.float32] | type[np.uint8]:
        """Its type."""
        return np.float32 if self.manifest.input_kind == "float" else np.uint8

    def row_of(self, pixels: Pixels) -> NDArray[Any]:
        """Shape: (H, W, C) uint8 of one picture -> `row_shape`."""
        row: NDArray[Any] = tensor_of(pixels[None], self.manifest)[0]
        return row


def load(path: Path, runtime: str = "auto", *, threads: int = 1) -> ServedModel:
    """Open a model file with the wanted runtime; `auto` takes a GPU where there is one, else the CPU.

    `threads` compute one call: more than one only where calls never meet.

    Raises:
        UsageError: an unknown runtime or a format that cannot be served. MissingDependency: it is not installed.
        ModelFileError: as in `open_onnx`; or the runtime computes something else than ONNX Runtime does.

    """
    if runtime not in RUNTIMES:
        raise UsageError(f"--runtime is one of: {', '.join(RUNTIMES)}; got {runtime!r}")
    if path.suffix.lower() != ".onnx":
        raise UsageError(f"what is served is a file made by `catseye export RUN`, ending in .onnx; got {path}")
    if runtime == "openvino":
        file = open_onnx(path, threads=1, providers=("CPUExecutionProvider",))
        return ServedModel(path.stem, file, "openvino", openvino_compute(file, path))
    providers, label = _providers(runtime)
    file = open_onnx(path, threads=threads, providers=providers)
    return ServedModel(path.stem, file, label, partial(_onnx_compute, file.session))


def _providers(runtime: str) -> tuple[tuple[str, ...], str]:
    if runtime == "cpu":
        return ("CPUExecutionProvider",), "cpu"
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if runtime == "auto":
        # TensorRT builds an engine for minutes at the first call: only where it was asked for.
        runtime = "cuda" if _GPU_PROVIDERS["cuda"] in available else "cpu"
        return _providers(runtime)
    wanted = _GPU_PROVIDERS[runtime]
    if wanted not in available:
        raise UsageError(
            f"--runtime {runtime} needs ONNX Runtime with {wanted}; this one has {', '.join(available)}; "
            "pip install onnxruntime-gpu instead of onnxruntime"
        )
    return (wanted, "CPUExecutionProvider"), runtime


def _onnx_compute(session: Any, rows: NDArray[Any], with_cam: bool) -> Answers:
    if with_cam:
        probabilities, cams = session.run(["probability", "cam"], {"image": rows})
        return Answers(probabilities, cams)
    return Answers(session.run(["probability"], {"image": rows})[0], None)


def openvino_compute(file: OnnxModel, path: Path) -> Callable[[NDArray[Any], bool], Answers]:
    """The same graph in OpenVINO, one thread per call, after it answered two trial pictures as ONNX Runtime does."""
    try:
        import openvino
    except ImportError:
        raise MissingDependency("openvino", "openvino") from None
    content = path.read_bytes()
    from hashlib import sha256

    if sha256(content).hexdigest() != file.sha256:
        raise ModelFileError(f"{path} changed while it was opened; start again")
    core = openvino.Core()
    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(content), "CPU", options)
    names = [one.name for one in file.session.get_outputs()]
    probability, cam = names.index("probability"), names.index("cam") if "cam" in names else None
    import threading

    own = threading.local()  # a request object serves one thread at a time

    def compute(rows: NDArray[Any], with_cam: bool) -> Answers:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        own.request.infer({0: rows})
        answer = own.request.get_output_tensor(probability).data.copy()
        cams = own.request.get_output_tensor(cam).data.copy() if with_cam and cam is not None else None
        return Answers(answer, cams)

    spec = file.manifest.preprocessing
    pixels = np.random.default_rng(1).integers(0, 256, (2, spec.height_px, spec.width_px, spec.channels), np.uint8)
    difference = float(
        np.abs(compute(tensor_of(pixels, file.manifest), False).probabilities - file.run(pixels)["probability"]).max()
    )
    if not difference <= PROBABILITY_TOLERANCE:
        raise ModelFileError(
            f"{path}: OpenVINO's probabilities are off by {difference:.3f}; serve it with --runtime cpu"
        )
    return compute


def stack(rows: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Rows to one batch; a single one is not copied."""
    rows = list(rows)
    return rows[0][None] if len(rows) == 1 else np.stack(rows)
