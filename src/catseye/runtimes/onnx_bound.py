"""An ONNX Runtime session with buffers at fixed addresses, and CUDA graphs.

Enters: a session, its inputs and outputs. Leaves: an `Ask`. Called by `onnx.py` for CUDA; the tests require the same
answers on the CPU. Only batch sizes in `sizes` use fixed buffers; every other size runs as an ordinary call.

Two things make a GPU slow here. A call with a new shape makes the provider search for convolution algorithms again: the
server therefore pads its batches to few sizes (serving/served_model.py). And the CPU launches each of some hundred
kernels: a captured graph launches them together. A graph reads and writes the addresses it was captured with, hence the
fixed buffers; its number stands for one shape, hence one number per size and set of outputs.

Source: ONNX Runtime, "CUDA Execution Provider", section "Using CUDA Graphs"; `gpu_graph_id` in
onnxruntime_run_options_config_keys.h: -1 runs without a graph, 0 is reserved.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.runtimes.model_file import Face

_TYPES: dict[str, Any] = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}
_NO_GRAPH = "-1"


@dataclass(frozen=True)
class _Bound:
    """The buffers of one batch size and one set of outputs."""

    binding: Any
    options: Any
    image: Any
    answers: list[Any]


@dataclass
class BoundSession:
    """One session, one call at a time, because the buffers belong to one call.

    `sizes` are the batch sizes that get buffers, `device` holds the buffers.
    """

    session: Any
    inputs: list[Face]
    outputs: list[Face]
    device: str = "cuda"
    graph: bool = False
    sizes: frozenset[int] = frozenset()
    _bound: dict[tuple[int, tuple[str, ...]], _Bound] = field(default_factory=dict)
    _numbers: Callable[[], int] = field(default_factory=lambda: count(1).__next__)
    _turn: Any = field(default_factory=threading.Lock)

    def __call__(self, image: NDArray[Any], names: Sequence[str]) -> list[NDArray[np.float32]]:
        """The outputs of these names; safe to call from several threads."""
        with self._turn:
            if len(image) not in self.sizes or not self._all_fixed(names):
                return list(self.session.run(list(names), {"image": image}, self._options(_NO_GRAPH)))
            key = (len(image), tuple(names))
            if key not in self._bound:
                self._bound[key] = self._bind(*key)
            bound = self._bound[key]
            bound.image.update_inplace(np.ascontiguousarray(image))  # copies it to the device, and waits
            self.session.run_with_iobinding(bound.binding, bound.options)
            # On the CPU `numpy` is a view of the buffer, which the next call overwrites.
            return [np.array(answer.numpy()) for answer in bound.answers]

    def _all_fixed(self, names: Sequence[str]) -> bool:
        """Whether all dimensions except the batch are known in advance."""
        wanted = [face for face in (*self.inputs, *self.outputs) if face[0] in (*names, "image")]
        return all(isinstance(side, int) for _, _, shape in wanted for side in shape[1:])

    def _bind(self, size: int, names: tuple[str, ...]) -> _Bound:
        import onnxruntime

        def buffer(face: Face) -> Any:
            shape = [size, *face[2][1:]]
            return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, _TYPES[face[1]], self.device, 0)

        faces = {face[0]: face for face in (*self.inputs, *self.outputs)}
        binding, image = self.session.io_binding(), buffer(faces["image"])
        binding.bind_ortvalue_input("image", image)
        answers = [buffer(faces[name]) for name in names]
        for name, answer in zip(names, answers, strict=True):
            binding.bind_ortvalue_output(name, answer)
        return _Bound(binding, self._options(str(self._numbers()) if self.graph else _NO_GRAPH), image, answers)

    def _options(self, graph: str) -> Any:
        import onnxruntime

        options = onnxruntime.RunOptions()
        if self.graph:
            options.add_run_config_entry("gpu_graph_id", graph)
        return options
