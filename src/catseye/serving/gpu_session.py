"""Which way of asking ONNX Runtime on a GPU is fastest here: measured with batches as traffic has them.

Enters: a way to open the file with given options. Leaves: the fastest `ServedModel`, warm. Called by `runtimes.py`; the
tests use the CPU provider, whose options make no difference.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from catseye.errors import ModelFileError
from catseye.runtimes.model_file import OpenSettings
from catseye.serving.served_model import ServedModel, padded_sizes
from catseye.serving.tuning import mixed_speed

# Both take the algorithm that cuDNN expects to be fastest or its default one; EXHAUSTIVE, what ONNX Runtime does by
# itself, tries them all, and again for every shape.
SEARCHES = ("HEURISTIC", "DEFAULT")
SAME = 0.02  # probabilities may differ by so much between algorithms of other roundings
WORTH_IT = 1.05


def choose_gpu_session(open_with: Callable[[OpenSettings], ServedModel], batch_size: int) -> ServedModel:
    """The faster search; then with a captured graph per batch size, where that works, answers alike and is faster.

    Raises:
        ModelFileError: the file cannot be opened in the plainest way.

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
        raise ModelFileError("no way of asking ONNX Runtime was tried; give it at least one")
    try:
        captured = open_with(replace(best_wish, graph=True))
        captured.warm(batch_size)
        if _answers_alike(captured, best) and mixed_speed(captured, 1, batch_size)[0] > best_speed * WORTH_IT:
            return captured
    except Exception:  # noqa: BLE001 - a part of it that is no CUDA kernel, say; ONNX Runtime has no common root
        return best
    return best


def _answers_alike(one: ServedModel, other: ServedModel) -> bool:
    """Also the second time: a graph that was captured wrongly repeats its first answers."""
    rng = np.random.default_rng(0)
    for num in (1, 3, 1):
        if one.row_type is np.uint8:
            rows = rng.integers(0, 256, (num, *one.row_shape), np.uint8)
        else:
            rows = rng.standard_normal((num, *one.row_shape)).astype(np.float32)
        a, b = (model.compute(rows, False).probabilities for model in (one, other))
        if not np.abs(a - b).max() <= SAME:
            return False
    return True
