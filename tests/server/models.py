"""ONNX files made by hand for the server's tests: slow, hungry, with a map, with odd class names."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.unit.onnx_files import manifest, tiny_model


def write(path: Path, model: onnx.ModelProto | None = None) -> Path:
    path.write_bytes((model or tiny_model()).SerializeToString())
    return path


def _constant(model: onnx.ModelProto, name: str, values: np.ndarray) -> None:
    model.graph.initializer.append(numpy_helper.from_array(values, name))


def with_cam(**said: object) -> onnx.ModelProto:
    """`cam` (N, 4, 4) is the mean of the channels: bright where the image is bright."""
    model = tiny_model(manifest(**said))
    _constant(model, "last", np.array([3], np.int64))
    model.graph.node.append(helper.make_node("ReduceMean", ["x", "last"], ["cam"], keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("cam", TensorProto.FLOAT, ["batch", 4, 4]))
    return model


def with_familiarity(threshold: float | None, *, cam: bool = False, scale: float = 1.0) -> onnx.ModelProto:
    """`familiarity` (N,) is the mean red of the image, 0 to 1: below the threshold an image is a stranger."""
    said = {"familiarity_threshold": threshold}
    model = with_cam(**said) if cam else tiny_model(manifest(**said))
    _constant(model, "red", np.array([[scale / 255], [0], [0]], np.float32))
    _constant(model, "column", np.array([1], np.int64))
    model.graph.node.append(helper.make_node("MatMul", ["mean", "red"], ["redness"]))
    model.graph.node.append(helper.make_node("Squeeze", ["redness", "column"], ["familiarity"]))
    model.graph.output.append(helper.make_tensor_value_info("familiarity", TensorProto.FLOAT, ["batch"]))
    return model


def other_weights(factor: float) -> onnx.ModelProto:
    """Answers like the tiny model, but surer or less sure: one version can be told from another."""
    model = tiny_model()
    weight = next(one for one in model.graph.initializer if one.name == "weight")
    weight.CopyFrom(numpy_helper.from_array(np.eye(3, dtype=np.float32) / 64 * factor, "weight"))
    return model


def named(*classes: str, **more: object) -> onnx.ModelProto:
    return tiny_model(manifest(classes=classes, **more))


def _beside_the_logits(model: onnx.ModelProto, nodes: list[onnx.NodeProto], nothing: str) -> onnx.ModelProto:
    """Add work whose result, times zero, is added to the logits: it cannot be left out and changes no answer."""
    (product,) = [node for node in model.graph.node if node.op_type == "MatMul"]
    product.output[0] = "plain"
    place = list(model.graph.node).index(product) + 1
    _constant(model, "zero", np.array(0, np.float32))
    tail = [
        helper.make_node("Mul", [nothing, "zero"], ["nothing"]),
        helper.make_node("Add", ["plain", "nothing"], ["prediction"]),
    ]
    kept = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*kept[:place], *nodes, *tail, *kept[place:]])
    return model


def slow(rounds: int) -> onnx.ModelProto:
    """Each image costs `rounds` products of 256 x 256 matrices: about a millisecond each on one core."""
    model = tiny_model()
    rng = np.random.default_rng(0)
    _constant(model, "matrix", (rng.standard_normal((256, 256)) / 16).astype(np.float32))
    _constant(model, "corner", np.array([-1, 1, 1], np.int64))
    _constant(model, "one", np.array([0], np.int64))
    nodes = [
        helper.make_node("ReduceMean", ["mean", "one_axis"], ["scalar"], keepdims=1),
        helper.make_node("Reshape", ["scalar", "corner"], ["start"]),
        helper.make_node("Mul", ["start", "matrix"], ["m0"]),
    ]
    _constant(model, "one_axis", np.array([1], np.int64))
    for number in range(rounds):
        nodes.append(helper.make_node("MatMul", [f"m{number}", "matrix"], [f"p{number}"]))
        nodes.append(helper.make_node("Tanh", [f"p{number}"], [f"m{number + 1}"]))
    nodes.append(helper.make_node("ReduceMean", [f"m{rounds}", "both"], ["small"], keepdims=0))
    nodes.append(helper.make_node("Unsqueeze", ["small", "one_axis"], ["column"]))
    _constant(model, "both", np.array([1, 2], np.int64))
    return _beside_the_logits(model, nodes, "column")


def heavy(layers: int) -> onnx.ModelProto:
    """64 KB of weights per layer."""
    model = tiny_model()
    rng = np.random.default_rng(0)
    _constant(model, "one_axis", np.array([1], np.int64))
    _constant(model, "widen", rng.standard_normal((1, 128)).astype(np.float32))
    nodes = [
        helper.make_node("ReduceMean", ["mean", "one_axis"], ["scalar"], keepdims=1),
        helper.make_node("MatMul", ["scalar", "widen"], ["h0"]),
    ]
    for number in range(layers):
        _constant(model, f"w{number}", (rng.standard_normal((128, 128)) / 16).astype(np.float32))
        nodes.append(helper.make_node("MatMul", [f"h{number}", f"w{number}"], [f"h{number + 1}"]))
    nodes.append(helper.make_node("ReduceMean", [f"h{layers}", "one_axis"], ["column"], keepdims=1))
    return _beside_the_logits(model, nodes, "column")


def hungry(megabytes: int) -> onnx.ModelProto:
    """A batch of N needs N * N * `megabytes`: few images at a time fit where many do not."""
    model = tiny_model()
    _constant(model, "first", np.array([0], np.int64))
    _constant(model, "block", np.array([megabytes * 2**18], np.int64))
    nodes = [
        helper.make_node("Shape", ["image"], ["sides"]),
        helper.make_node("Gather", ["sides", "first"], ["count"]),
        helper.make_node("Mul", ["count", "count"], ["square"]),
        helper.make_node("Mul", ["square", "block"], ["size"]),
        helper.make_node("ReduceMean", ["mean", "all"], ["scalar"], keepdims=0),
        helper.make_node("Expand", ["scalar", "size"], ["large"]),
        helper.make_node("ReduceMean", ["large", "first"], ["little"], keepdims=0),
    ]
    _constant(model, "all", np.array([0, 1], np.int64))
    return _beside_the_logits(model, nodes, "little")
