"""Checks of an OpenVINO IR: of its text, and of the model that OpenVINO read.

Enters: the bytes of an .xml and a .bin; then OpenVINO's model of them. Leaves: the manifest; operators and number of
values. The text is searched only for the manifest, for the hash of the .bin and for what could harm a reader: two XML
readers may read the same text differently, so layers, inputs and outputs are checked in the model that will compute.
Called by `openvino.py`.
"""

import re
from collections import Counter
from hashlib import sha256
from typing import Any
from xml.parsers import expat

import numpy as np

from catseye.errors import ModelFileError
from catseye.manifest import METADATA_KEY, Manifest

WEIGHTS_KEY = "catseye_weights_sha256"
MAX_XML_BYTES = 32_000_000
MAX_XML_ELEMENTS = 1_000_000  # a ResNet-152 has 25,000
MAX_XML_DEPTH = 32  # an IR without subgraphs has 6
_FLOATS = {"f32": "<f4", "f16": "<f2", "f64": "<f8"}
_OPSET = re.compile(r"opset\d{1,2}")

# Functions of their inputs alone, with the same answer each time: no state, subgraphs, randomness or foreign code.
_FUNCTIONS = """
Parameter Constant Result
Convert ConvertLike ShapeOf Reshape Squeeze Unsqueeze Transpose Concat Split VariadicSplit Slice StridedSlice Gather
GatherElements GatherND ScatterUpdate ScatterElementsUpdate ScatterNDUpdate Tile Broadcast Pad Range Roll Reverse OneHot
TopK Select SpaceToDepth DepthToSpace ShuffleChannels
Convolution GroupConvolution ConvolutionBackpropData GroupConvolutionBackpropData MatMul Einsum MaxPool AvgPool
AdaptiveAvgPool AdaptiveMaxPool Interpolate ScaledDotProductAttention
BatchNormInference MVN NormalizeL2 LRN GroupNormalization RMS
Relu PRelu Sigmoid HardSigmoid Tanh Elu Selu Gelu Swish HSwish HSigmoid Mish SoftPlus SoftSign Clamp Softmax LogSoftmax
Add Subtract Multiply Divide Power Sqrt SquaredDifference Mod FloorMod Maximum Minimum Abs Negative Sign Exp Log Erf
Floor Ceiling Round Sin Cos Tan Asin Acos Atan Sinh Cosh
Equal NotEqual Less LessEqual Greater GreaterEqual LogicalAnd LogicalOr LogicalNot LogicalXor IsNaN IsInf IsFinite
ReduceMean ReduceSum ReduceProd ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceLogicalAnd ReduceLogicalOr CumSum
FakeQuantize FakeConvert
"""
OPERATORS = frozenset(_FUNCTIONS.split())


class _RefusedText(ValueError):
    """The text breaks a rule."""


def read_ir(xml: bytes, weights: bytes, source: str) -> Manifest:
    """The manifest of an IR, after checks of its text and its .bin; nothing is run.

    Raises:
        ModelFileError: not an IR, a document type, namespaces, foreign layers, weights of another file or outside
            the .bin.

    """
    reader = _read_text(xml, weights, source)
    entries = reader.entries
    manifest = Manifest.from_json(entries.get(METADATA_KEY), source)
    if manifest.input_kind is None:
        raise ModelFileError(f"{source}: its manifest does not say what its input is; export it again")
    if entries.get(WEIGHTS_KEY) != sha256(weights).hexdigest():
        raise ModelFileError(f"{source}: the .bin beside it belongs to another .xml; copy both again")
    if reader.damage:
        raise ModelFileError(f"{source} is damaged ({reader.damage})")
    return manifest


def judge_model(model: Any, source: str) -> tuple[dict[str, int], int]:
    """Operators and number of values of the model that OpenVINO has read.

    Raises:
        ModelFileError: it has a state, an operator that a classifier does not need, or weights that are NaN.

    """
    operators: Counter[str] = Counter()
    num_parameters = 0
    if model.get_sinks() or model.get_variables():
        raise ModelFileError(f"{source} keeps a state between calls, which is not opened; an image has one answer")
    for node in model.get_ordered_ops():
        facts = node.get_type_info()
        kind, version = str(facts.name), str(facts.version_id)
        if kind not in OPERATORS or not _OPSET.fullmatch(version):
            raise ModelFileError(f"{source} uses the layer {version[:60]}::{kind[:60]}, which is not opened")
        if kind == "Constant":
            num_parameters += _check_constant(node, source)
        else:
            operators[kind] += 1
    return dict(operators.most_common()), num_parameters


def _check_constant(node: Any, source: str) -> int:
    elements = int(np.prod(list(node.get_output_shape(0)), dtype=np.int64))
    if node.get_element_type().get_type_name() in ("f64", "f32", "f16") and np.isnan(node.data).any():
        raise ModelFileError(f"{source} has weights that are NaN; use another file")
    return elements


def _read_text(xml: bytes, weights: bytes, source: str) -> "_TextReader":
    if len(xml) > MAX_XML_BYTES:
        raise ModelFileError(f"{source}: such an .xml has at most {MAX_XML_BYTES:,} bytes; got {len(xml):,}")
    # UTF-8 only: in another encoding a document type could hide from the next line.
    head = xml.lstrip()[:200].lower()
    encoding = re.search(rb"encoding\s*=\s*[\"']([^\"']*)", head)
    plain = head.startswith(b"<?xml") and (encoding is None or encoding[1] == b"utf-8") and b"\0" not in xml
    if not plain or b"<!doctype" in xml.lower() or b"<!entity" in xml.lower():
        raise ModelFileError(f"{source} is not a plain OpenVINO IR (UTF-8 without a document type)")
    reader = _TextReader(weights)
    try:
        reader.read(xml)
    except _RefusedText as error:
        raise ModelFileError(f"{source} {error}") from None
    except (expat.ExpatError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{source} is not an OpenVINO IR ({error})") from None
    return reader


class _TextReader:
    """Reads element by element, so that a text of a million elements takes no memory."""

    def __init__(self, weights: bytes) -> None:
        self.weights = memoryview(weights)
        self.entries: dict[str, str] = {}  # of the model's own rt_info
        self.damage = ""  # the first fault in a constant
        self._num_checked = 0
        self._checked: set[tuple[int, int]] = set()
        self._above: list[str] = []
        self._kind = ""  # of the layer that is open
        self._num_elements = 0

    def read(self, xml: bytes) -> None:
        """Read all of it; raise at the first refused element."""
        parser = expat.ParserCreate("utf-8")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = lambda _: self._above.pop()
        parser.Parse(xml, True)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._num_elements += 1
        if not self._above and name != "net":
            raise _RefusedText("is not an OpenVINO IR (no <net> in it)")
        if ":" in name or any(key.startswith("xmlns") for key in attributes):
            raise _RefusedText("has XML namespaces, which could hide layers; OpenVINO writes none")
        if self._num_elements > MAX_XML_ELEMENTS or len(self._above) > MAX_XML_DEPTH:
            raise _RefusedText(
                f"has more than {MAX_XML_ELEMENTS:,} elements, or nests them more than {MAX_XML_DEPTH} deep"
            )
        if name == "layer":
            self._kind = attributes.get("type", "")
            version = attributes.get("version", "")
            if not _OPSET.fullmatch(version):
                raise _RefusedText(f"uses the layer {version[:60]}::{self._kind[:60]}, which is not opened")
        elif name == "data" and self._kind == "Const" and self._above[-1] == "layer":
            self._check_place(attributes)
        elif self._above == ["net", "rt_info"]:
            if name in self.entries:
                raise _RefusedText(f"has {name[:60]!r} twice in its rt_info; such a file is not opened")
            self.entries[name] = attributes.get("value", "")
        self._above.append(name)

    def _check_place(self, attributes: dict[str, str]) -> None:
        try:
            offset, size = int(attributes.get("offset", "")), int(attributes.get("size", ""))
            if not (0 <= offset <= len(self.weights) and 0 <= size <= len(self.weights) - offset):
                raise ValueError(f"a constant of {size} bytes at {offset}, beyond the end of the .bin")
            kind = _FLOATS.get(attributes.get("element_type", ""))
            if (offset, size) in self._checked:
                return  # equal constants share a place
            self._checked.add((offset, size))
            self._num_checked += size
            if self._num_checked > 8 * len(self.weights):
                raise ValueError("constants that overlap each other in the .bin")
            if kind and np.isnan(np.frombuffer(self.weights[offset : offset + size], kind)).any():
                raise ValueError("weights that are NaN")
        except ValueError as error:  # reported later: if the .bin is foreign, that is the clearer reason
            self.damage = self.damage or str(error)[:200]
