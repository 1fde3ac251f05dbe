"""From a path and the name of a runtime to the model that is served.

Enters: an exported file of any format. Leaves: `ServedModel`. Called by server and reload, before requests come.
"""

import ctypes
from hashlib import sha256
from pathlib import Path

import numpy as np

from catseye.errors import MissingDependency, ModelFileError, UsageError
from catseye.machine.cores import num_cores
from catseye.runtimes.loading import SUFFIXES, open_model
from catseye.runtimes.model_file import Ask, ModelFile, read_once, tensor_of
from catseye.runtimes.onnx import open_onnx
from catseye.serving.served_model import ServedModel

RUNTIMES = ("auto", "cpu", "cuda", "tensorrt", "openvino")
_GPU_PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_RUNTIMES_OF_FORMATS = {".xml": "openvino", ".torchscript": "torch", ".pt2": "torch", ".engine": "tensorrt"}
PROBABILITY_TOLERANCE = 2e-2  # OpenVINO computes INT8 layers with other roundings than ONNX Runtime


def load_served(path: Path, runtime: str = "auto", *, trust: bool = False) -> ServedModel:
    """Open a model file with the wanted runtime; `auto` takes for an .onnx a GPU where there is one, else the CPU.

    One thread computes one call. `trust` as in `catseye.load`.

    Raises:
        UsageError: an unknown runtime, or one that the format has not. MissingDependency: it is not installed.
        ModelFileError: as in `open_model`; or the runtime computes something else than ONNX Runtime does.

    """
    if runtime not in RUNTIMES:
        raise UsageError(f"--runtime is one of: {', '.join(RUNTIMES)}; got {runtime!r}")
    model = _load(path, runtime, trust)
    _give_back()
    return model


def _load(path: Path, runtime: str, trust: bool) -> ServedModel:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"what is served is a file made by `catseye export RUN`, {' or '.join(SUFFIXES)}; got {path}")
    if suffix != ".onnx":
        own = _RUNTIMES_OF_FORMATS[suffix]
        if runtime not in ("auto", own):
            raise UsageError(f"{path} runs in {own}, and --runtime chooses for .onnx files; got --runtime {runtime}")
        file = open_model(path, threads=1, calls=num_cores(), trust=trust)
        return ServedModel(path.stem, file, own, file.ask)
    if runtime == "openvino":
        file = open_onnx(path, threads=1)
        return ServedModel(path.stem, file, runtime, _openvino(file))
    providers, label = _providers(runtime)
    file = open_onnx(path, threads=1, providers=providers)
    return ServedModel(path.stem, file, label, file.ask)


def _give_back() -> None:
    """What reading the file took and freed goes back to the system: glibc would keep it for as long as we serve."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        return


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


def _openvino(file: ModelFile) -> Ask:
    """The same graph in OpenVINO, one thread per call, after it answered two trial images as ONNX Runtime does."""
    try:
        from catseye.runtimes.openvino import start

        content = read_once(file.path, "an ONNX")
        if sha256(content).hexdigest() != file.sha256:
            raise ModelFileError(f"{file.path} changed while it was opened; start again")
        ask, _, _ = start(content, b"", file.path, threads=1, calls=num_cores())
    except ImportError:
        raise MissingDependency("openvino", "openvino") from None
    spec = file.manifest.preprocessing
    pixels = np.random.default_rng(1).integers(0, 256, (2, spec.height_px, spec.width_px, spec.channels), np.uint8)
    found = ask(tensor_of(pixels, file.manifest), ("probability",))[0]
    difference = float(np.abs(found - file.run(pixels)["probability"]).max())
    if not difference <= PROBABILITY_TOLERANCE:
        raise ModelFileError(
            f"{file.path}: OpenVINO's probabilities are off by {difference:.3f}; serve it with --runtime cpu, or "
            "`catseye export --to openvino --int8`, whose file is proved in OpenVINO"
        )
    return ask
