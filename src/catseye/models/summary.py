"""The layers of a network: shapes, parameters, multiply-adds, receptive fields.

Enters: a network and an input shape. Leaves: one `LayerRow` per layer, from a real forward pass; the output shape of
each convolution and pooling is checked against the formula. Called by cli and lab.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from catseye.counting import shortened

if TYPE_CHECKING:
    from rich.table import Table

_WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class LayerRow:
    """One layer, with the input region that one of its output values depends on.

    `receptive_px` is the side of that region, along the longest path. `step_px` is the distance between the regions of
    two neighbouring values; the first value's region begins at `start_px`, which is below 0 if it extends beyond the
    edge. `span_px` is `receptive_px` before it was limited to the image's side.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    num_parameters: int
    num_macs: int
    receptive_px: int
    step_px: int
    start_px: float
    span_px: int


@dataclass(frozen=True)
class ModelSummary:
    """All layers in the order of computation, their totals, the network's notes."""

    rows: list[LayerRow]
    num_parameters: int
    num_macs: int
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """All fields as plain JSON types."""
        return asdict(self)


EVERYTHING = 10**9


@dataclass(frozen=True)
class _Reach:
    """The receptive field of one value of a tensor, in input pixels.

    `size` is its side, `step` the distance to the neighbour's, `start` where the first value's begins. `side` is the
    side of the map that the values belong to, 0 for a vector.
    """

    size: int = 1
    step: int = 1
    start: float = 0.0
    side: int = 0

    def through(self, kernel: int, stride: int, padding: int, dilation: int, side: int) -> "_Reach":
        """After a window: size + (kernel - 1) · dilation · step, then step · stride.

        Source: Araujo, Norris, Sim 2019, Computing Receptive Fields of Convolutional Neural Networks, eq. 2 and 3.
        """
        size = self.size + (kernel - 1) * dilation * self.step
        return _Reach(size, self.step * stride, self.start - padding * self.step, side)

    def grown(self, size: int) -> "_Reach":
        """At least `size` large, with the same centres."""
        larger = max(size, self.size)
        return replace(self, size=larger, start=self.start - (larger - self.size) / 2)


def output_size(size: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.

    Source: Dumoulin and Visin 2016, arXiv 1603.07285, relationship 15.

    >>> [output_size(32, 3), output_size(32, 3, padding=1), output_size(32, 3, stride=2, padding=1)]
    [30, 32, 16]
    """
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def summarise(model: nn.Module, shape: Sequence[int]) -> ModelSummary:
    """Run a black image through the network and record what each layer did.

    Shape: `shape` is (C, H, W).

    Raises:
        AssertionError: a layer's shape contradicts the output-size formula (a fault in catseye).

    """
    record = _Record(max(shape[1:]))
    # Layers without parts, and those with parameters beside their parts: ConvNeXt's blocks own their layer scale.
    layers = [
        (name, layer)
        for name, layer in model.named_modules()
        if not _has_parts(layer) or any(True for _ in layer.parameters(recurse=False))
    ]
    hooks = [layer.register_forward_hook(partial(record.add, name)) for name, layer in layers]
    training = model.training
    try:
        device = next(model.parameters()).device
        with torch.no_grad():
            model.eval()(torch.zeros(1, *shape, device=device))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return ModelSummary(
        record.rows,
        sum(p.numel() for p in model.parameters()),
        sum(row.num_macs for row in record.rows),
        list(getattr(model, "notes", ())),
    )


class _Record:
    """The rows of a forward pass, and the receptive fields of its tensors so far."""

    def __init__(self, image_px: int) -> None:
        self.rows: list[LayerRow] = []
        self.image_px = image_px
        self._reach: dict[int, _Reach] = {}  # by id of the tensor, so that the two paths of a skip meet in their sum
        self._kept: list[Tensor] = []  # so that no other tensor gets the id of a freed one

    def add(self, name: str, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        """A forward hook, once its name is bound: append a layer's row."""
        # Some of timm's layers get a list of maps, which they stack.
        sources = list(inputs[0]) if isinstance(inputs[0], list | tuple) else [inputs[0]]
        source = sources[0]
        before = max((self._of(tensor) for tensor in sources), key=lambda reach: reach.size)
        # The parts of a layer with parts were recorded before it, so its output depends on no more than theirs.
        after = self._of(output) if _has_parts(layer) else _reach_after(layer, before, source, output)
        _check_formula(name, layer, source, output)
        self._reach[id(output)] = after
        self._kept.extend((*sources, output))
        self.rows.append(
            LayerRow(
                name=name,
                kind=type(layer).__name__,
                output_shape=tuple(output.shape[1:]),
                num_parameters=sum(p.numel() for p in layer.parameters(recurse=False)),
                num_macs=count_macs(layer, output),
                receptive_px=min(after.size, self.image_px),
                step_px=after.step,
                start_px=after.start,
                span_px=after.size,
            )
        )

    def _of(self, tensor: Tensor) -> _Reach:
        return self._reach.get(id(tensor)) or _estimated(list(self._reach.values()), tensor)


def _has_parts(layer: nn.Module) -> bool:
    return next(layer.children(), None) is not None


def _estimated(known: list[_Reach], tensor: Tensor) -> _Reach:
    """The receptive field of a tensor that no layer returned: a sum, a function.

    It is as large as the largest so far, at the positions of the map with the same side. If all maps are larger, the
    tensor was pooled with a window of the factor between the two.
    """
    largest = max((reach.size for reach in known), default=1)
    side = tensor.shape[2] if tensor.dim() == 4 else 0
    same = [reach for reach in known if reach.side == side]
    if same:
        return max(same, key=lambda reach: reach.size).grown(largest)
    larger = [reach for reach in known if reach.side > side]
    if side and larger:
        source = min(larger, key=lambda reach: (reach.side, -reach.size))
        factor = source.side // side
        return source.through(factor, factor, 0, 1, side).grown(largest)
    if known:
        return max(known, key=lambda reach: reach.size)
    return _Reach(side=side)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _reach_after(layer: nn.Module, before: _Reach, source: Tensor, output: Tensor) -> _Reach:
    side = output.shape[2] if output.dim() == 4 else 0
    if isinstance(layer, _WINDOWS):
        kernel, stride = _pair(layer.kernel_size)[0], _pair(layer.stride)[0]
        padding = 0 if isinstance(layer.padding, str) else _pair(layer.padding)[0]
        dilation = 1 if isinstance(layer, nn.AvgPool2d) else _pair(layer.dilation)[0]
        if layer.padding == "same":
            padding = dilation * (kernel - 1) // 2
        return before.through(kernel, stride, padding, dilation, side)
    if isinstance(layer, nn.AdaptiveAvgPool2d | nn.Linear) and source.dim() == 4 and side < source.shape[2]:
        return before.through(source.shape[2], source.shape[2], 0, 1, side)
    if isinstance(layer, nn.Linear | nn.Flatten) and output.dim() < 4:
        return replace(before, size=EVERYTHING, side=0)  # the whole image; the row limits it to the image's side
    return replace(before, side=side)


def _check_formula(name: str, layer: nn.Module, source: Tensor, output: Tensor) -> None:
    # A subclass may pad differently, as timm's do to match TensorFlow.
    if not isinstance(layer, _WINDOWS) or type(layer) not in _WINDOWS or isinstance(layer.padding, str):
        return
    kernel, stride, padding = _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding)
    dilation = (1, 1) if isinstance(layer, nn.AvgPool2d) else _pair(layer.dilation)
    for axis in (0, 1):
        if getattr(layer, "ceil_mode", False):
            continue
        size = output_size(
            source.shape[2 + axis], kernel[axis], stride=stride[axis], padding=padding[axis], dilation=dilation[axis]
        )
        assert size == output.shape[2 + axis], f"{name}: formula {size}, forward pass {output.shape[2 + axis]}"


def count_macs(layer: nn.Module, output: Tensor) -> int:
    """Multiply-adds for one image, without biases, norms and activations."""
    if isinstance(layer, nn.Conv2d):
        per_value = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        return per_value * math.prod(output.shape[1:])
    if isinstance(layer, nn.Linear):
        return layer.in_features * math.prod(output.shape[1:])
    return 0


def summary_table(summary: ModelSummary, width: int = 80) -> "Table":
    """The summary as a table for a terminal; names that do not fit are shortened."""
    from rich.table import Table

    head = ("layer", "kind", "output shape", "parameters", "MACs", "sees")
    lines = [_summary_cells(row) for row in summary.rows]
    sizes = [max(len(line[place]) for line in (head, *lines)) for place in range(len(head))]
    left = width - sum(sizes[2:]) - 2 * len(head)
    kinds = min(sizes[1], max(left // 3, left - sizes[0], 8))
    names = max(left - kinds, 12)
    table = Table(*head, box=None)
    for column in table.columns[3:]:
        column.justify = "right"
    for name, kind, *rest in lines:
        table.add_row(shortened(name, names), shortened(kind, kinds), *rest)
    return table


def _summary_cells(row: LayerRow) -> tuple[str, ...]:
    shape = " x ".join(str(size) for size in row.output_shape)
    parameters = f"{row.num_parameters:,}" if row.num_parameters else "-"
    macs = f"{row.num_macs:,}" if row.num_macs else "-"
    return row.name, row.kind, shape, parameters, macs, f"{row.receptive_px} px"
