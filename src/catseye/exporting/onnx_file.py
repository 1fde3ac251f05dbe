"""A trained network as the bytes of one self-describing ONNX file.

Enters: the network, its manifest and the input kind. Leaves: an ONNX model with inputs `image`, outputs
`prediction`, `probability` and, if the head allows it, `cam`. Called by `drafts.py`.
"""

import warnings
from typing import TYPE_CHECKING

import torch
from torch import nn

from catseye.errors import CatseyeError, MissingDependency
from catseye.exporting.graph import Graph
from catseye.manifest import METADATA_KEY, Manifest

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18  # the lowest that the exporter writes without conversion; every runtime since 2023 reads it
MAX_BYTES = 2**31 - 1  # protobuf's limit for one message


def build_onnx(model: nn.Module, manifest: Manifest) -> "ModelProto":
    """The ONNX model of a network, without its manifest.

    `render_onnx` adds the manifest.

    Raises:
        MissingDependency: the extra `export` is not installed.
        CatseyeError: torch cannot express the network in ONNX.

    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch.onnx needs it, and its own error is less clear
    except ImportError as error:
        raise MissingDependency(error.name or "onnx") from None
    graph = Graph(model.cpu(), manifest).eval()
    try:
        with warnings.catch_warnings():
            # torch 2.11 triggers its own deprecation warning.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            program = torch.onnx.export(
                graph,
                (graph.example(),),
                dynamo=True,
                opset_version=OPSET,
                input_names=["image"],
                output_names=graph.output_names,
                dynamic_shapes=({0: "batch"},),
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # torch.onnx wraps the exceptions of its passes
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CatseyeError(f"torch cannot express {manifest.architecture.name} in ONNX ({first[:300]})") from error
    if program is None:
        raise CatseyeError(f"torch returned no ONNX model for {manifest.architecture.name}")
    proto = program.model_proto
    _remove_traces(proto)
    onnx.checker.check_model(proto)
    return proto


def _remove_traces(proto: "ModelProto") -> None:
    """Remove torch's notes on each node: lines and paths of source files."""
    from catseye import __version__

    proto.producer_name, proto.producer_version = "catseye", __version__
    del proto.metadata_props[:]
    graph = proto.graph
    for values in (graph.node, graph.value_info, graph.initializer, graph.input, graph.output):
        for value in values:
            del value.metadata_props[:]
            value.doc_string = ""
    del graph.metadata_props[:]


def render_onnx(proto: "ModelProto", manifest: Manifest) -> bytes:
    """The file: graph, weights and manifest.

    Raises:
        CatseyeError: it would exceed the size limit of a protobuf message.

    """
    del proto.metadata_props[:]
    proto.metadata_props.add(key=METADATA_KEY, value=manifest.to_json())
    if proto.ByteSize() > MAX_BYTES:
        raise CatseyeError(f"one ONNX file has at most {MAX_BYTES:,} bytes; this network needs {proto.ByteSize():,}")
    content: bytes = proto.SerializeToString()
    return content
