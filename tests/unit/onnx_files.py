"""ONNX files made by hand for tests: a tiny honest classifier, and the places where a stranger hides things."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from catseye.manifest import METADATA_KEY, Architecture, Manifest
from catseye.preprocess import Preprocessing

SPEC = Preprocessing(height_px=4, width_px=4, mean=(0.5,) * 3, std=(0.25,) * 3)
CLASSES = ("red", "green", "blue")


def manifest(**more: object) -> Manifest:
    values = {"classes": CLASSES, "preprocessing": SPEC, "architecture": Architecture(name="by-hand")}
    return Manifest(**{**values, "input_kind": "uint8", **more})


def tiny_model(said: Manifest | str | None = None, *, temperature: float = 1.0) -> onnx.ModelProto:
    """Logits are the mean red, green and blue of an image, times `weight`."""
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["prediction"]),
        helper.make_node("Div", ["prediction", "temperature"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["probability"], axis=1),
    ]
    initializers = [
        numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
        numpy_helper.from_array(np.eye(3, dtype=np.float32) / 64, "weight"),
        numpy_helper.from_array(np.array(temperature, np.float32), "temperature"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 4, 4, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3])
            for name in ("prediction", "probability")
        ],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    said = manifest(temperature=temperature) if said is None else said
    model.metadata_props.add(key=METADATA_KEY, value=said if isinstance(said, str) else said.to_json())
    return model


def outside(location: str, *, name: str = "stolen", length: object = None, offset: object = None) -> TensorProto:
    """A tensor of 4 floats that claims to lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("length", length), ("offset", offset)):
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    return tensor


def with_initializer(tensor: TensorProto) -> onnx.ModelProto:
    model = tiny_model()
    model.graph.initializer.append(tensor)
    return model


def with_constant(tensor: TensorProto) -> onnx.ModelProto:
    model = tiny_model()
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    return model


def with_tensor_list(tensor: TensorProto) -> onnx.ModelProto:
    model = tiny_model()
    model.graph.node.append(helper.make_node("Constant", [], ["c"]))
    attribute = model.graph.node[-1].attribute.add(name="values", type=onnx.AttributeProto.TENSORS)
    attribute.tensors.append(tensor)
    return model


def with_if_branch(tensor: TensorProto) -> onnx.ModelProto:
    """The tensor is an initialiser of a branch of an If inside a branch of an If."""
    branch = helper.make_graph(
        [helper.make_node("Identity", [tensor.name], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [4])],
        [tensor],
    )
    inner = helper.make_node("If", ["yes"], ["outer"], then_branch=branch, else_branch=branch)
    around = helper.make_graph([inner], "around", [], [helper.make_tensor_value_info("outer", TensorProto.FLOAT, [4])])
    model = tiny_model()
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["last"], then_branch=around, else_branch=around))
    return model


def with_sparse(tensor: TensorProto, *, indices_outside: bool = False) -> onnx.ModelProto:
    plain = helper.make_tensor("stolen", TensorProto.FLOAT, [4], [0.0] * 4)
    places = helper.make_tensor("places", TensorProto.INT64, [4], [0, 1, 2, 3])
    model = tiny_model()
    values, indices = (plain, tensor) if indices_outside else (tensor, places)
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=values, indices=indices, dims=[8]))
    return model


def with_sparse_attribute(tensor: TensorProto) -> onnx.ModelProto:
    model = tiny_model()
    places = helper.make_tensor("places", TensorProto.INT64, [4], [0, 1, 2, 3])
    sparse = onnx.SparseTensorProto(values=tensor, indices=places, dims=[8])
    model.graph.node.append(helper.make_node("Constant", [], ["c"], sparse_value=sparse))
    return model


def with_function(tensor: TensorProto) -> onnx.ModelProto:
    model = tiny_model()
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    imports = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("", "Thief", [], ["c"], [constant], imports))
    return model


def with_training_graph(tensor: TensorProto) -> onnx.ModelProto:
    model = tiny_model()
    model.training_info.add().initialization.initializer.append(tensor)
    return model


HIDING_PLACES = (
    with_initializer,
    with_constant,
    with_tensor_list,
    with_if_branch,
    with_sparse,
    with_sparse_attribute,
    with_function,
    with_training_graph,
)
