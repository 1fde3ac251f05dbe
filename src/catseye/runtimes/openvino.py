"""An OpenVINO IR, MODEL.xml with MODEL.bin beside it. No torch.

Enters: the path of an untrusted .xml. Leaves: `OpenedModel`. Both files are read once, into bytes that are checked,
hashed and run. The .xml contains the manifest and the hash of the .bin, so that a swapped .bin is refused. Called by
`loading.py`, and by `onnx.py` for an .onnx that OpenVINO is to compute.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.errors import MissingDependency, ModelFileError
from catseye.files import StrPath
from catseye.manifest import Manifest
from catseye.runtimes.model_file import Ask, Face, OpenedModel, OpenSettings, read_once, require_answers
from catseye.runtimes.openvino_structure import judge_model, read_ir
from catseye.runtimes.trial import require_survival


@dataclass(frozen=True)
class CompiledGraph:
    """A model that OpenVINO has compiled."""

    ask: Ask = field(repr=False)
    inputs: list[Face]
    outputs: list[Face]
    operators: dict[str, int]
    num_parameters: int


def open_openvino(path: StrPath, wish: OpenSettings) -> OpenedModel:
    """Read, check and compile an IR for the CPU.

    Arithmetic is float32 unless the model is quantised.

    Raises:
        ModelFileError: missing, damaged, not made by catseye, a foreign .bin, or not what its manifest says.
        MissingDependency: OpenVINO is not installed.

    """
    source = str(path)
    version = require_openvino()
    xml = read_once(source, "an OpenVINO")
    weights = read_once(Path(source).with_suffix(".bin"), "an OpenVINO")
    manifest = read_ir(xml, weights, source)
    digest = sha256(xml).hexdigest()  # covers both files: the .xml contains the hash of the weights
    if not wish.trust:
        require_survival(digest, source, "openvino")
    graph = start(xml, weights, source, threads=wish.threads, calls=wish.calls)
    _check_openvino_face(manifest, graph.inputs, graph.outputs, source)
    return require_answers(
        OpenedModel(
            path=Path(path),
            format="OpenVINO IR",
            runtime=version,
            manifest=manifest,
            num_bytes=len(xml) + len(weights),
            sha256=digest,
            ask=graph.ask,
            inputs=graph.inputs,
            outputs=graph.outputs,
            operators=graph.operators,
            num_parameters=graph.num_parameters,
            computed_by="openvino",
        )
    )


def require_openvino() -> str:
    """The name and version of OpenVINO, as text.

    Raises:
        MissingDependency: it is not installed.

    """
    try:
        import openvino
    except ImportError as error:
        raise MissingDependency(error.name or "openvino") from None
    return f"openvino {openvino.__version__.split('-', 1)[0]}"


def start(model: bytes, weights: bytes, source: str, *, threads: int = 0, calls: int = 1) -> CompiledGraph:
    """Read an IR, or an .onnx with empty `weights`; check and compile it.

    Raises:
        ModelFileError: OpenVINO cannot run it, or the model has operators that are refused.

    """
    import openvino

    settings: dict[str, Any] = {
        "NUM_STREAMS": calls,
        # Otherwise processors with bfloat16 would compute in it, and the answers would not be the run's.
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,  # other programs use the same cores
    }
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads * calls
    try:
        core = openvino.Core()
        read = core.read_model(model, weights)
        operators, num_parameters = judge_model(read, source)
        compiled = core.compile_model(read, "CPU", settings)
        inputs = [_openvino_face(port) for port in compiled.inputs]
        outputs = [_openvino_face(port) for port in compiled.outputs]
    except ModelFileError:
        raise
    except Exception as error:  # noqa: BLE001 - RuntimeError, OpenVINO's own, or a name that is not UTF-8
        raise ModelFileError(f"{source} cannot be run by OpenVINO ({_last_line(error)})") from None
    place = {name: index for index, (name, _, _) in enumerate(outputs)}
    requests = threading.local()  # one per thread, because a request holds the tensors of its call

    def ask(image: NDArray[Any], names: Sequence[str]) -> list[NDArray[np.float32]]:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        requests.own.infer([np.ascontiguousarray(image)])
        return [requests.own.get_output_tensor(place[name]).data.copy() for name in names]

    return CompiledGraph(ask, inputs, outputs, operators, num_parameters)


def _last_line(error: Exception) -> str:
    """The last line of an error; OpenVINO's begin with places in its source."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1].strip()[:300]


def _openvino_face(port: Any) -> Face:
    shape: list[int | str] = ["batch" if side.is_dynamic else side.get_length() for side in port.get_partial_shape()]
    return port.get_any_name(), port.get_element_type().get_type_name(), shape


def _check_openvino_face(manifest: Manifest, inputs: list[Face], outputs: list[Face], source: str) -> None:
    """Check names, types and shapes of inputs and outputs against the manifest."""
    spec = manifest.preprocessing
    sides = [spec.height_px, spec.width_px, spec.channels]
    kind = "u8"
    if manifest.input_kind == "float":
        sides, kind = [spec.channels, spec.height_px, spec.width_px], "f32"
    wanted: list[Face] = [("image", kind, ["batch", *sides])]
    answers: list[Face] = [(name, "f32", ["batch", len(manifest.classes)]) for name in ("prediction", "probability")]
    extras = {
        "cam": 3,
        "familiarity": 1,
    }  # outputs that a file may have, and their dimensions; cam has any height, width
    answers += [face for face in outputs[2:] if face[1] == "f32" and extras.get(face[0]) == len(face[2])]
    for side, expected, got in (("inputs", wanted, inputs), ("outputs", answers, outputs)):
        if expected != got:
            raise ModelFileError(f"{source}: its {side} should be {expected}; got {got}")
