"""A TensorRT engine as a `ModelFile`, computed on the GPU it was built for.

Enters: the path of a file that the caller vouches for (`trust`): a plan is native code. Leaves: `ModelFile`. Called by
`loading.py`.

Source: docs.nvidia.com/deeplearning/tensorrt, Python API (execute_async_v3). Not run by the authors: no GPU was there.
"""

import threading
from collections.abc import Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from catseye.errors import MissingDependency, ModelFileError
from catseye.runtimes.model_file import ModelFile, faces, read_once, require_answers, require_names
from catseye.runtimes.tensorrt_engine_file import split_engine


def open_engine(path: str | Path, *, trust: bool = False) -> ModelFile:
    """Read and start an engine.

    Raises:
        ModelFileError: not trusted, not made by catseye, no GPU here, or one that the engine was not built for.
        MissingDependency: TensorRT is not installed.

    """
    source = str(path)
    content = read_once(source, "an engine")
    manifest, plan = split_engine(content, source)
    require_names(manifest, source)
    if not trust:
        raise ModelFileError(
            f"a TensorRT engine is native code; {source} was not opened. Say --trust (in Python trust=True) if you or "
            f"somebody you trust made it"
        )
    if not torch.cuda.is_available():
        raise ModelFileError(f"{source} needs the NVIDIA GPU it was built on; here is none; use the .onnx file")
    try:
        trt = import_module("tensorrt")
    except ImportError as error:
        raise MissingDependency(error.name or "tensorrt", "tensorrt") from None
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
            found = {}
            for name in manifest.outputs:
                found[name] = torch.empty(tuple(context.get_tensor_shape(name)), device="cuda")
                context.set_tensor_address(name, found[name].data_ptr())
            stream.wait_stream(torch.cuda.current_stream())
            if not context.execute_async_v3(stream.cuda_stream):
                raise RuntimeError("TensorRT did not run the engine")
            stream.synchronize()
            return [found[name].cpu().numpy() for name in names]

    inputs, outputs = faces(manifest)
    return require_answers(
        ModelFile(
            path=source,
            format="TensorRT engine",
            runtime=f"tensorrt {trt.__version__}",
            manifest=manifest,
            num_bytes=len(content),
            sha256=sha256(content).hexdigest(),
            ask=ask,
            inputs=inputs,
            outputs=outputs,
            operators={},
        )
    )
