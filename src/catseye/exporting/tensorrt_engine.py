"""An ONNX graph as a TensorRT engine; without a GPU it is only checked.

Enters: the bytes of an ONNX file: float, or with symmetric QDQ pairs. Leaves: the bytes of a file with manifest and
plan. Called by `drafts.py`. An engine is built on the GPU that will run it; the authors have not run that step. The
check is that of TensorRT-RTX.

Source: docs.nvidia.com/deeplearning/tensorrt, Python API; the file's layout (length, JSON, plan) is Ultralytics'.
"""

from importlib import import_module
from typing import Any

import torch

from catseye.errors import CatseyeError, MissingDependency
from catseye.manifest import Manifest
from catseye.runtimes.model_file import first_line

BATCHES = (1, 8, 64)  # smallest, usual and largest batch of the engine


def shapes(manifest: Manifest) -> list[tuple[int, ...]]:
    """The input's shape at `BATCHES`."""
    spec = manifest.preprocessing
    sides: tuple[int, ...] = (spec.channels, spec.height_px, spec.width_px)
    if manifest.input_kind == "uint8":
        sides = (spec.height_px, spec.width_px, spec.channels)
    return [(batch, *sides) for batch in BATCHES]


def trtexec_command(manifest: Manifest) -> str:
    """The command that builds an engine from the ONNX file, without catseye.

    It needs a machine with a GPU.
    """
    sizes = zip(("min", "opt", "max"), shapes(manifest), strict=True)
    words = [f"--{which}Shapes=image:{'x'.join(map(str, shape))}" for which, shape in sizes]
    return f"trtexec --onnx=model.onnx --saveEngine=model.plan --fp16 {' '.join(words)}"


def build_engine(onnx_bytes: bytes, manifest: Manifest, *, int8: bool) -> bytes:
    """The plan for this machine's GPU: float16, and INT8 if there are QDQ pairs.

    Raises:
        CatseyeError: there is no GPU, or TensorRT cannot build the network.

    """
    if not torch.cuda.is_available():
        checked = check_with_rtx(onnx_bytes, manifest)
        # model.int8.onnx has the unsigned ranges of CPUs, which TensorRT refuses: so trtexec cannot build INT8.
        other = "" if int8 else f", or: {trtexec_command(manifest)}"
        raise CatseyeError(
            f"TensorRT builds {'an INT8' if int8 else 'an'} engine on the GPU that will run it, and no NVIDIA GPU is "
            f"here, so none was written. {checked}. On the GPU machine run this export again{other}"
        )
    try:
        trt = import_module("tensorrt")
    except ImportError as error:
        raise MissingDependency(error.name or "tensorrt") from None
    return _build_engine(trt, onnx_bytes, manifest, compute_capability=None)


def check_with_rtx(onnx_bytes: bytes, manifest: Manifest) -> str:
    """Check the graph with TensorRT-RTX, without a GPU; returns a report.

    The check parses the graph and builds an engine for an RTX 30 card.

    Raises:
        CatseyeError: its parser or builder refuses the graph.

    """
    try:
        trt = import_module("tensorrt_rtx")
    except ImportError:
        return (
            "It was not checked with TensorRT's parser either (pip install tensorrt-rtx-cu13 does that without a GPU)"
        )
    plan = _build_engine(trt, onnx_bytes, manifest, compute_capability="SM86")
    return f"TensorRT-RTX {trt.__version__} parsed the graph and built an engine of {len(plan) / 1e6:.1f} MB for SM 8.6"


def _build_engine(trt: Any, onnx_bytes: bytes, manifest: Manifest, *, compute_capability: str | None) -> bytes:
    # TensorRT logs to stderr at this level; errors become exceptions below.
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    try:
        builder = trt.Builder(logger)
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, logger)
        if not parser.parse(onnx_bytes):
            reasons = "; ".join(str(parser.get_error(place)) for place in range(parser.num_errors))
            raise RuntimeError(reasons)
        config = builder.create_builder_config()
        if compute_capability is not None:
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(trt.ComputeCapability, compute_capability), 0)
        # TensorRT 10 chooses precisions by flags; RTX and later ones take them from the graph.
        for flag in ("FP16", "INT8"):
            wanted = flag == "FP16" or b"QuantizeLinear" in onnx_bytes
            if wanted and hasattr(trt.BuilderFlag, flag):
                config.set_flag(getattr(trt.BuilderFlag, flag))
        config.clear_flag(trt.BuilderFlag.TF32)
        profile = builder.create_optimization_profile()
        profile.set_shape("image", *shapes(manifest))
        config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise RuntimeError("the builder returned no engine")
    except RuntimeError as error:
        name = manifest.architecture.name
        raise CatseyeError(f"TensorRT {trt.__version__} cannot build {name} ({first_line(error)})") from error
    return bytes(plan)
