"""A TensorRT engine, computed on the GPU it was built for.

Enters: the path of a file that the caller trusts: a plan is native code. Leaves: `OpenedModel`. Called by `loading.py`.

Source: docs.nvidia.com/deeplearning/tensorrt, Python API (execute_async_v3). Not tested: no GPU was available.
"""

import threading
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.errors import MissingDependency, ModelFileError
from catseye.files import StrPath
from catseye.runtimes.model_file import (
    OpenedModel,
    OpenSettings,
    image_and_answers,
    never_started,
    read_once,
    require_answers,
    require_names,
)
from catseye.runtimes.tensorrt_engine_file import split_engine


def open_engine(path: StrPath, wish: OpenSettings) -> OpenedModel:
    """Read an engine and, unless only its facts are needed, start it.

    Raises:
        ModelFileError: not made by catseye, no GPU here, or one that the engine was not built for.
        MissingDependency: TensorRT or torch is not installed.

    """
    source = str(path)
    content = read_once(source, "an engine")
    manifest, plan = split_engine(content, source)
    inputs, outputs = image_and_answers(manifest)
    engine = OpenedModel(
        path=Path(path),
        format="TensorRT engine",
        runtime="",
        manifest=manifest,
        num_bytes=len(content),
        sha256=sha256(content).hexdigest(),
        ask=never_started,
        inputs=inputs,
        outputs=outputs,
        operators={},
        computed_by="tensorrt",
    )
    if wish.need == "facts":
        return engine
    require_names(manifest, source)
    return require_answers(_on_the_gpu(engine, plan))


def _on_the_gpu(file: OpenedModel, plan: bytes) -> OpenedModel:
    try:
        import torch
    except ImportError as error:
        raise MissingDependency(error.name or "torch") from None
    source = file.path
    if not torch.cuda.is_available():
        raise ModelFileError(f"{source} needs the NVIDIA GPU it was built on; none is here; use the .onnx file")
    try:
        trt = import_module("tensorrt")
    except ImportError as error:
        raise MissingDependency(error.name or "tensorrt") from None
    engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(plan)
    if engine is None:
        raise ModelFileError(f"{source} was built for another GPU or TensorRT than {trt.__version__}; export it here")
    context = engine.create_execution_context()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    one_at_a_time = threading.Lock()  # a context serves one call at a time

    def ask(values: NDArray[Any], names: Sequence[str]) -> list[NDArray[np.float32]]:
        with one_at_a_time:
            image = torch.from_numpy(values).cuda().contiguous()
            context.set_input_shape("image", tuple(image.shape))
            context.set_tensor_address("image", image.data_ptr())
            answers = {}
            for name in file.manifest.outputs:
                answers[name] = torch.empty(tuple(context.get_tensor_shape(name)), device="cuda")
                context.set_tensor_address(name, answers[name].data_ptr())
            stream.wait_stream(torch.cuda.current_stream())
            if not context.execute_async_v3(stream.cuda_stream):
                raise RuntimeError("TensorRT did not run the engine")
            stream.synchronize()
            return [answers[name].cpu().numpy() for name in names]

    return replace(file, ask=ask, runtime=f"tensorrt {trt.__version__}")
