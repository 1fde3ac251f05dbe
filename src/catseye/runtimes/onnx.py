"""An .onnx file, computed by ONNX Runtime or by OpenVINO. No torch.

Enters: the path of an untrusted file. Leaves: `OpenedModel`. The file is read once, into bytes; those bytes are
checked, hashed and run, so that nothing can be swapped in between. Called by `loading.py`.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.errors import ModelFileError, UsageError
from catseye.files import StrPath
from catseye.manifest import METADATA_KEY, Manifest
from catseye.runtimes.model_file import (
    Face,
    OpenedModel,
    OpenSettings,
    first_line,
    read_once,
    require_answers,
    tensor_of,
)
from catseye.runtimes.onnx_bound import BoundSession
from catseye.runtimes.onnx_structure import read_structure

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
OTHER_RUNTIME_TOLERANCE = 2e-2  # OpenVINO rounds INT8 layers differently from ONNX Runtime


def open_onnx(path: StrPath, wish: OpenSettings = OpenSettings()) -> OpenedModel:  # noqa: B008 - frozen
    """Read, check and start an .onnx file.

    Raises:
        ModelFileError: it is missing, too large, damaged, not made by catseye, refers to other files, or
            does not do what its manifest says.
        UsageError: the runtime is not available here.

    """
    import onnxruntime

    source = str(path)
    content = read_once(source, "an ONNX")
    structure = read_structure(content, source)
    manifest = Manifest.from_json(structure.metadata.get(METADATA_KEY), source)
    if manifest.input_kind is None:
        raise ModelFileError(f"{source}: its manifest does not say what its input is; export it again")
    computed_by = _available(wish.runtime or "cpu")
    session = _session(content, source, wish, computed_by)
    try:
        inputs, outputs = _onnx_face(session.get_inputs()), _onnx_face(session.get_outputs())
    except (UnicodeDecodeError, RuntimeError) as error:
        raise ModelFileError(f"{source}: its inputs or outputs cannot be read ({first_line(error)})") from None
    _check_onnx_face(manifest, inputs, outputs, source)

    def ask(image: NDArray[Any], names: Sequence[str]) -> list[NDArray[np.float32]]:
        outputs: list[NDArray[np.float32]] = session.run(list(names), {"image": image})
        return outputs

    if computed_by == "cuda":
        ask = BoundSession(session, inputs, outputs, graph=wish.graph, sizes=wish.fixed_sizes)

    opened = require_answers(
        OpenedModel(
            path=Path(path),
            format="ONNX",
            runtime=f"onnxruntime {onnxruntime.__version__}",
            manifest=manifest,
            num_bytes=len(content),
            sha256=sha256(content).hexdigest(),
            ask=ask,
            inputs=inputs,
            outputs=outputs,
            operators=dict(structure.operators.most_common()),
            num_parameters=structure.num_parameters,
            opset=structure.opset,
            producer=structure.producer,
            computed_by=computed_by,
        )
    )
    return _in_openvino(opened, content, wish) if computed_by == "openvino" else opened


def _available(runtime: str) -> str:
    """The runtime's name; for "auto", "cuda" if ONNX Runtime supports it, else "cpu".

    Raises:
        UsageError: the installed ONNX Runtime has no such provider.

    """
    if runtime in ("cpu", "openvino"):
        return runtime
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if _PROVIDERS["cuda"] in available:
        _load_cuda_libraries()
    if runtime == "auto":
        # TensorRT takes minutes to build an engine at the first call: only if requested by name.
        return "cuda" if _PROVIDERS["cuda"] in available else "cpu"
    if _PROVIDERS[runtime] not in available:
        raise UsageError(
            f"--runtime {runtime} needs ONNX Runtime with {_PROVIDERS[runtime]}; this one has {', '.join(available)}; "
            "pip install onnxruntime-gpu instead of onnxruntime"
        )
    return runtime


def _in_openvino(opened: OpenedModel, content: bytes, wish: OpenSettings) -> OpenedModel:
    """The same graph in OpenVINO, if its answers are those of ONNX Runtime."""
    from catseye.runtimes.openvino import require_openvino, start
    from catseye.runtimes.trial import require_survival

    version = require_openvino()
    if not wish.trust:
        require_survival(opened.sha256, str(opened.path), "openvino")
    ask = start(content, b"", str(opened.path), threads=wish.threads, calls=wish.calls).ask
    spec = opened.manifest.preprocessing
    pixels = np.random.default_rng(1).integers(0, 256, (2, spec.height_px, spec.width_px, spec.channels), np.uint8)
    probabilities = ask(tensor_of(pixels, opened.manifest), ("probability",))[0]
    difference = float(np.abs(probabilities - opened.run(pixels)["probability"]).max())
    if not difference <= OTHER_RUNTIME_TOLERANCE:
        raise ModelFileError(
            f"{opened.path}: OpenVINO's probabilities are off by {difference:.3f}; serve it with --runtime cpu, or run "
            "`catseye export --to openvino --int8`, which checks its file in OpenVINO"
        )
    return replace(opened, ask=ask, runtime=version)


def _session(content: bytes, source: str, wish: OpenSettings, computed_by: str) -> Any:
    import onnxruntime

    wanted = _PROVIDERS.get(computed_by, _PROVIDERS["cpu"])
    providers: list[Any] = list(dict.fromkeys([wanted, _PROVIDERS["cpu"]]))
    if computed_by == "cuda":
        providers[0] = (wanted, cuda_options(wish))

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = wish.threads
    options.log_severity_level = 4  # errors arrive as exceptions
    # By default, each waiting thread would keep a core busy between two images.
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(wish.spin)))
    options.add_session_config_entry("session.inter_op.allow_spinning", str(int(wish.spin)))
    # Otherwise it would also accept ORT's own format, which was not checked above.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        # With its fallback it would try again and print about it to stdout, where results are expected.
        session = onnxruntime.InferenceSession(content, options, providers=providers, enable_fallback=0)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions have no other common base class
        raise ModelFileError(f"{source} cannot be run by ONNX Runtime ({first_line(error)})") from None
    if session.get_providers()[0] != wanted:  # it falls back to the CPU silently
        raise ModelFileError(f"{source}: {wanted} cannot be started on this machine; got {session.get_providers()}")
    return session


def cuda_options(wish: OpenSettings) -> dict[str, str]:
    """Options of the CUDA provider.

    Its default tries every convolution algorithm for every new shape.

    >>> cuda_options(OpenSettings(graph=True))
    {'cudnn_conv_algo_search': 'HEURISTIC', 'enable_cuda_graph': '1'}
    """
    return {"cudnn_conv_algo_search": wish.conv_search, "enable_cuda_graph": str(int(wish.graph))}


def _load_cuda_libraries() -> None:
    """Load pip's CUDA and cuDNN; otherwise only the system's are found."""
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on
        # It prints what it does not find; if that is needed, the session reports it.
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()


def _check_onnx_face(manifest: Manifest, inputs: list[Face], outputs: list[Face], source: str) -> None:
    """Check names, types and shapes of inputs and outputs against the manifest."""
    spec, num_classes = manifest.preprocessing, len(manifest.classes)
    if manifest.input_kind == "uint8":
        wanted_inputs = {"image": ("tensor(uint8)", [spec.height_px, spec.width_px, spec.channels])}
    else:
        wanted_inputs = {"image": ("tensor(float)", [spec.channels, spec.height_px, spec.width_px])}
    wanted_outputs = {name: ("tensor(float)", [num_classes]) for name in ("prediction", "probability")}
    extras = {"cam": 3, "familiarity": 1}  # outputs that a file may have, and their dimensions
    required = [face for face in outputs if face[0] not in extras or len(face[2]) != extras[face[0]]]
    for side, wanted, got in (
        ("inputs", wanted_inputs, _behind_batch(inputs)),
        ("outputs", wanted_outputs, _behind_batch(required)),
    ):
        if wanted != got:
            raise ModelFileError(f"{source}: its {side} should be {wanted} after a free batch size; got {got}")


def _onnx_face(values: list[Any]) -> list[Face]:
    return [(value.name, value.type, list(value.shape)) for value in values]


def _behind_batch(face: list[Face]) -> dict[str, tuple[str, list[int | str]]]:
    # A fixed batch size stays in the list, so that it does not compare equal.
    return {name: (kind, shape[1:] if shape and not isinstance(shape[0], int) else shape) for name, kind, shape in face}
