"""From a path and the name of a runtime to the served model.

Enters: an exported file of any format. Leaves: `ServedModel`. Called by server and reload, before any request.
"""

import ctypes
from pathlib import Path

from catseye.errors import UsageError
from catseye.machine.cores import num_cores
from catseye.runtimes.formats import EXPORTED, is_model_file
from catseye.runtimes.loading import open_for_serving, open_model
from catseye.runtimes.model_file import OpenSettings
from catseye.serving.gpu_session import choose_gpu_session
from catseye.serving.served_model import ServedModel
from catseye.serving.tuning import LARGEST_BATCH

RUNTIMES = ("auto", "cpu", "cuda", "tensorrt", "openvino")


def load_served(path: Path, runtime: str = "auto", *, trust: bool = False, batch_size: int = 0) -> ServedModel:
    """Open a model file with the given runtime.

    `auto` runs an .onnx on a GPU if there is one, else on the CPU. One thread computes one call. `trust` as in
    `catseye.load`. `batch_size`: the largest batch that a GPU prepares for; 0 for the largest that is useful.

    Raises:
        UsageError: an unknown runtime, or one that cannot run this format. MissingDependency: it is not installed.
        ModelFileError: as in `open_model`; or the runtime's results differ from those of ONNX Runtime.

    """
    if runtime not in RUNTIMES:
        raise UsageError(f"--runtime is one of: {', '.join(RUNTIMES)}; got {runtime!r}")
    if not is_model_file(path):
        raise UsageError(f"serve needs a file written by `catseye export RUN`, {' or '.join(EXPORTED)}; got {path}")
    file = open_model(path, trust=trust, threads=1, calls=num_cores(), runtime=runtime)
    if file.computed_by == "cuda":
        served = choose_gpu_session(lambda wish: _serve_bound(path, wish), batch_size or LARGEST_BATCH)
    else:
        served = ServedModel(path.stem, file, file.computed_by, file.ask)
    _give_back()
    return served


def _serve_bound(path: Path, wish: OpenSettings) -> ServedModel:
    file = open_for_serving(path, wish)
    return ServedModel(path.stem, file, file.computed_by, file.ask, padded=True)


def _give_back() -> None:
    """Return the memory freed after reading the file; glibc would keep it."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        return
