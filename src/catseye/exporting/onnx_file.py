"""A trained network as the bytes of one self-describing ONNX file.

Enters: the network, its manifest and the input kind. Leaves: an ONNX model with inputs `image`, outputs
`prediction`, `probability` and, where the head allows it, `cam`. Called by `export.py`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catseye.data.augment import normalise, to_unit
from catseye.errors import CatseyeError, MissingDependency
from catseye.manifest import METADATA_KEY, Manifest

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18  # the lowest one the exporter writes without a conversion step; every runtime of 2023 and later reads it
MAX_BYTES = 2**31 - 1  # protobuf's limit for one message


class Graph(nn.Module):
    """The network between what a caller has and what a caller wants.

    Shape: image (N, H, W, C) uint8, or (N, C, H, W) normalised float -> prediction (N, K) logits,
    probability (N, K), and cam (N, h, w) where `last_linear` finds the weights for it.
    """

    def __init__(self, model: nn.Module, manifest: Manifest) -> None:
        super().__init__()
        self.features = model.get_submodule("features")
        self.head = model.get_submodule("head")
        self.manifest = manifest
        self.linear = last_linear(self.head)

    @property
    def output_names(self) -> list[str]:
        """In the order in which `forward` returns them."""
        return ["prediction", "probability"] + (["cam"] if self.linear is not None else [])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Shape: see the class."""
        x = image
        if self.manifest.input_kind == "uint8":
            # The same two functions as in training and evaluation, so that there is one normalisation.
            x = normalise(to_unit(image.permute(0, 3, 1, 2)), self.manifest.preprocessing)
        features = self.features(x)
        logits = self.head(features)
        outputs = (logits, torch.softmax(logits / self.manifest.temperature, dim=1))
        if self.linear is None:
            return outputs
        return (*outputs, class_activation_map(features, logits, self.linear.weight))


def class_activation_map(features: Tensor, logits: Tensor, weight: Tensor) -> Tensor:
    """Where the most probable class was seen. Its mean plus the class's bias is that class's logit.

    Shape: features (N, F, h, w), logits (N, K), weight (K, F) -> (N, h, w).
    Source: Zhou et al. 2016, Learning Deep Features for Discriminative Localization, eq. 2.
    """
    chosen = F.embedding(logits.argmax(1), weight)  # (N, F)
    return (chosen[:, :, None, None] * features).sum(1)


def last_linear(head: nn.Module) -> nn.Linear | None:
    """The one linear layer behind global average pooling, or None where the head has anything more in it."""
    layers = [layer for layer in _flat(head) if not isinstance(layer, nn.Dropout | nn.Identity)]
    if len(layers) != 3:
        return None
    pool, flatten, linear = layers
    averages = isinstance(pool, nn.AdaptiveAvgPool2d) and pool.output_size in (1, (1, 1))
    if averages and isinstance(flatten, nn.Flatten) and isinstance(linear, nn.Linear):
        return linear
    return None


def _flat(layer: nn.Module) -> Iterator[nn.Module]:
    if isinstance(layer, nn.Sequential):
        for child in layer:
            yield from _flat(child)
    else:
        yield layer


def build_onnx(model: nn.Module, manifest: Manifest) -> "ModelProto":
    """The ONNX model of a network, without its manifest yet; `render` puts that in.

    Raises:
        MissingDependency: the extra `export` is not installed.
        CatseyeError: torch cannot express the network in ONNX.

    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch.onnx needs it and would say so less clearly
    except ImportError as error:
        raise MissingDependency(error.name or "onnx", "export") from None
    graph = Graph(model.cpu(), manifest).eval()
    spec = manifest.preprocessing
    if manifest.input_kind == "uint8":
        # Two pictures: with one, torch.export would take the batch size for a constant.
        example = torch.zeros(2, spec.height_px, spec.width_px, spec.channels, dtype=torch.uint8)
    else:
        example = torch.zeros(2, spec.channels, spec.height_px, spec.width_px)
    try:
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=graph.output_names,
            dynamic_shapes=({0: "batch"},),
            external_data=False,
            verbose=False,
        )
    except Exception as error:  # torch.onnx wraps whatever any of its passes raises
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CatseyeError(f"torch cannot express {manifest.architecture.name} in ONNX ({first[:300]})") from error
    if program is None:
        raise CatseyeError(f"torch returned no ONNX model for {manifest.architecture.name}")
    proto = program.model_proto
    _remove_traces(proto)
    onnx.checker.check_model(proto)
    return proto


def _remove_traces(proto: "ModelProto") -> None:
    """Take out what torch notes beside each node: lines and paths of source files, which concern nobody else."""
    from catseye import __version__

    proto.producer_name, proto.producer_version = "catseye", __version__
    del proto.metadata_props[:]
    graph = proto.graph
    for values in (graph.node, graph.value_info, graph.initializer, graph.input, graph.output):
        for one in values:
            del one.metadata_props[:]
            one.doc_string = ""
    del graph.metadata_props[:]


def render(proto: "ModelProto", manifest: Manifest) -> bytes:
    """The file: graph, weights and manifest.

    Raises:
        CatseyeError: it would be larger than one protobuf message may be.

    """
    del proto.metadata_props[:]
    proto.metadata_props.add(key=METADATA_KEY, value=manifest.to_json())
    if proto.ByteSize() > MAX_BYTES:
        raise CatseyeError(f"one ONNX file has at most {MAX_BYTES:,} bytes; this network needs {proto.ByteSize():,}")
    content: bytes = proto.SerializeToString()
    return content
