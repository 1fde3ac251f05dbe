"""Measures which options of ONNX Runtime are fastest on this GPU.

Enters: a function that opens the file with given options. Leaves: the fastest `ServedModel`, warm. Batches of mixed
sizes are measured. Called by `runtimes.py`; the tests use the CPU provider, for which the options make no difference.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from catseye.errors import ModelFileError
from catseye.runtimes.model_file import OpenSettings
from catseye.serving.served_model import ServedModel, padded_sizes
from catseye.serving.tuning import mixed_speed

# cuDNN's expected fastest algorithm, or its default. EXHAUSTIVE, the default of ONNX Runtime, would try them all again
# for every shape.
SEARCHES = ("HEURISTIC", "DEFAULT")
SAME = 0.02  # probabilities may differ by this much, because algorithms round differently
WORTH_IT = 1.05


def choose_gpu_session(open_with: Callable[[OpenSettings], ServedModel], batch_size: int) -> ServedModel:
    """The session with the faster search, and with captured graphs if they help.

    One graph per batch size is captured, and kept if that works, gives the same results and is faster.

    Raises:
        ModelFileError: the file cannot be opened without a captured graph.

    """
    sizes = frozenset(padded_sizes(batch_size))
    best, best_speed, best_wish = None, 0.0, OpenSettings()
    for search in SEARCHES:
        wish = OpenSettings(threads=1, runtime="cuda", conv_search=search, fixed_sizes=sizes)
        model = open_with(wish)
        model.warm(batch_size)
        speed = mixed_speed(model, 1, batch_size)[0]
        if best is None or speed > best_speed * WORTH_IT:
            best, best_speed, best_wish = model, speed, wish
    if best is None:
        raise ModelFileError("a GPU session needs at least one algorithm search to try; got none")
    try:
        captured = open_with(replace(best_wish, graph=True))
        captured.warm(batch_size)
        if _answers_alike(captured, best) and mixed_speed(captured, 1, batch_size)[0] > best_speed * WORTH_IT:
            return captured
    except Exception:  # noqa: BLE001 - for example a node without a CUDA kernel; ONNX Runtime has no common base class
        return best
    return best


def _answers_alike(first: ServedModel, other: ServedModel) -> bool:
    """Whether both models give the same results.

    They are compared more than once: a wrongly captured graph would repeat its first results.
    """
    rng = np.random.default_rng(0)
    for num in (1, 3, 1):
        if first.row_type is np.uint8:
            rows = rng.integers(0, 256, (num, *first.row_shape), np.uint8)
        else:
            rows = rng.standard_normal((num, *first.row_shape)).astype(np.float32)
        a, b = (model.compute(rows, False).probabilities for model in (first, other))
        if not np.abs(a - b).max() <= SAME:
            return False
    return True
