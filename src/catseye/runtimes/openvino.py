"""An OpenVINO IR, MODEL.xml with MODEL.bin beside it. No torch.

Enters: the path of an .xml that may come from a stranger. Leaves: `OpenedModel`. Both files are read once, into bytes
that are judged, hashed and run. The .xml carries the manifest and the hash of the .bin, so that a swapped .bin is
refused. Called by `loading.py`, and by `onnx.py` for an .onnx that OpenVINO is to compute.
"""

import re
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from catseye.errors import MissingDependency, ModelFileError
from catseye.manifest import METADATA_KEY, Manifest
from catseye.runtimes.model_file import Ask, Face, OpenedModel, OpenSettings, first_line, read_once, require_answers

WEIGHTS_KEY = "catseye_weights_sha256"
MAX_XML_BYTES = 64_000_000
_FLOATS = {"f32": "<f4", "f16": "<f2", "f64": "<f8"}
_REFUSED = {"ReadValue", "Assign"}  # state between calls: a classifier has none


@dataclass(frozen=True)
class Ir:
    """What an IR consists of, read from its bytes."""

    manifest: Manifest
    operators: dict[str, int]
    num_parameters: int


def open_openvino(path: str | Path, wish: OpenSettings) -> OpenedModel:
    """Read, judge and compile an IR for the CPU, in float32 arithmetic where it is not quantised.

    Raises:
        ModelFileError: missing, damaged, not made by catseye, a foreign .bin, or not what its manifest says.
        MissingDependency: OpenVINO is not installed.

    """
    source = str(path)
    version = require_openvino()
    xml = read_once(source, "an OpenVINO")
    weights = read_once(Path(source).with_suffix(".bin"), "an OpenVINO")
    ir = read_ir(xml, weights, source)
    ask, inputs, outputs = start(xml, weights, source, threads=wish.threads, calls=wish.calls)
    _check_openvino_face(ir.manifest, inputs, outputs, source)
    return require_answers(
        OpenedModel(
            path=Path(path),
            format="OpenVINO IR",
            runtime=version,
            manifest=ir.manifest,
            num_bytes=len(xml) + len(weights),
            sha256=sha256(xml).hexdigest(),
            ask=ask,
            inputs=inputs,
            outputs=outputs,
            operators=ir.operators,
            num_parameters=ir.num_parameters,
            computed_by="openvino",
        )
    )


def require_openvino() -> str:
    """OpenVINO and its version, in words.

    Raises:
        MissingDependency: it is not installed.

    """
    try:
        import openvino
    except ImportError as error:
        raise MissingDependency(error.name or "openvino", "openvino") from None
    return f"openvino {openvino.__version__.split('-', 1)[0]}"


def start(
    model: bytes, weights: bytes, source: str, *, threads: int = 0, calls: int = 1
) -> tuple[Ask, list[Face], list[Face]]:
    """Compile an IR, or an .onnx without weights beside it: the way to ask it, its inputs and its outputs.

    Raises:
        ModelFileError: OpenVINO cannot run it.

    """
    import openvino

    settings: dict[str, Any] = {
        "NUM_STREAMS": calls,
        # Else processors with bfloat16 would compute in it, and the answers would not be the run's.
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,  # other programs want the same cores
    }
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads * calls
    try:
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(model, weights), "CPU", settings)
    except Exception as error:  # noqa: BLE001 - OpenVINO raises RuntimeError and its own
        raise ModelFileError(f"{source} cannot be run by OpenVINO ({first_line(error)})") from None
    inputs, outputs = (
        [_openvino_face(one) for one in compiled.inputs],
        [_openvino_face(one) for one in compiled.outputs],
    )
    place = {name: index for index, (name, _, _) in enumerate(outputs)}
    requests = threading.local()  # one per thread: they hold the tensors of a call

    def ask(image: NDArray[Any], names: Sequence[str]) -> list[NDArray[np.float32]]:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        requests.own.infer([np.ascontiguousarray(image)])
        return [requests.own.get_output_tensor(place[name]).data.copy() for name in names]

    return ask, inputs, outputs


def read_ir(xml: bytes, weights: bytes, source: str) -> Ir:
    """Judge an IR without running it.

    Raises:
        ModelFileError: no IR, a document type, weights that are not its own, outside the .bin or NaN, foreign layers.

    """
    root = _parse(xml, source)
    info = root.find("rt_info")
    told = {one.tag: one.get("value", "") for one in info} if info is not None else {}
    manifest = Manifest.from_json(told.get(METADATA_KEY), source)
    if manifest.input_kind is None:
        raise ModelFileError(f"{source}: its manifest does not say what its input is; export it again")
    if told.get(WEIGHTS_KEY) != sha256(weights).hexdigest():
        raise ModelFileError(f"{source}: the .bin beside it is not the one that it was made with; copy both again")
    operators: Counter[str] = Counter()
    num_parameters = 0
    for layer in root.iter("layer"):
        kind, version = layer.get("type", ""), layer.get("version", "")
        if not re.fullmatch(r"opset\d{1,2}", version) or kind in _REFUSED:
            raise ModelFileError(f"{source} uses the layer {version}::{kind[:60]}, which is not opened")
        if kind == "Const":
            num_parameters += _check_constant(layer, weights, source)
        else:
            operators[kind] += 1
    return Ir(manifest, dict(operators.most_common()), num_parameters)


def _parse(xml: bytes, source: str) -> ElementTree.Element:
    if len(xml) > MAX_XML_BYTES:
        raise ModelFileError(f"{source}: such an .xml has at most {MAX_XML_BYTES:,} bytes; got {len(xml):,}")
    # UTF-8 only: in another encoding a document type could hide from the next line.
    head = xml.lstrip()[:200].lower()
    encoding = re.search(rb"encoding\s*=\s*[\"']([^\"']*)", head)
    try:
        xml.decode("utf-8")
        plain = head.startswith(b"<?xml") and (encoding is None or encoding[1] == b"utf-8") and b"\0" not in xml
        if not plain or b"<!doctype" in xml.lower() or b"<!entity" in xml.lower():
            raise ModelFileError(f"{source} is no plain OpenVINO IR (UTF-8 without a document type)")
        root = ElementTree.fromstring(xml)  # noqa: S314 - no entities, see above
    except (ElementTree.ParseError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{source} is no OpenVINO IR ({error})") from None
    if root.tag != "net":
        raise ModelFileError(f"{source} is no OpenVINO IR (no <net> in it)")
    return root


def _check_constant(layer: ElementTree.Element, weights: bytes, source: str) -> int:
    data = layer.find("data")
    try:
        if data is None:
            raise ValueError("a constant without data")
        offset, size = int(data.get("offset", "")), int(data.get("size", ""))
        if not (0 <= offset <= len(weights) and 0 <= size <= len(weights) - offset):
            raise ValueError(f"a constant of {size} bytes at {offset}, behind the end of the .bin")
        elements = 1
        for side in filter(None, data.get("shape", "").replace(" ", "").split(",")):
            elements *= int(side)
        if not 0 <= elements <= 8 * len(weights) + 8:  # a sub-byte type packs at most 8 into a byte
            raise ValueError(f"a constant of {elements} elements")
        if kind := _FLOATS.get(data.get("element_type", "")):
            values = np.frombuffer(weights[offset : offset + size], kind)
            if np.isnan(values).any():
                raise ValueError("weights that are NaN")
    except ValueError as error:
        raise ModelFileError(f"{source} is damaged ({error})") from None
    return elements


def _openvino_face(port: Any) -> Face:
    shape: list[int | str] = ["batch" if side.is_dynamic else side.get_length() for side in port.get_partial_shape()]
    return port.get_any_name(), port.get_element_type().get_type_name(), shape


def _check_openvino_face(manifest: Manifest, inputs: list[Face], outputs: list[Face], source: str) -> None:
    """Names, types and shapes of inputs and outputs are what the manifest promises."""
    spec = manifest.preprocessing
    sides = [spec.height_px, spec.width_px, spec.channels]
    kind = "u8"
    if manifest.input_kind == "float":
        sides, kind = [spec.channels, spec.height_px, spec.width_px], "f32"
    wanted: list[Face] = [("image", kind, ["batch", *sides])]
    answers: list[Face] = [(name, "f32", ["batch", len(manifest.classes)]) for name in ("prediction", "probability")]
    found = [one for one in outputs if one[0] != "cam"]
    for side, expected, got in (("inputs", wanted, inputs), ("outputs", answers, found)):
        if expected != got:
            raise ModelFileError(f"{source}: its {side} should be {expected}; got {got}")
