"""An exported .onnx file, opened and computed by ONNX Runtime. No torch, no `onnx` package.

Enters: the path of a file that may come from a stranger. Leaves: `ModelFile`. The file is read once, into bytes;
those bytes are judged, hashed and run, so nothing can be swapped in between. Called by `loading.py`, serving and
exporting.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.errors import ModelFileError
from catseye.manifest import METADATA_KEY, Manifest
from catseye.runtimes.model_file import Face, ModelFile, first_line, read_once, require_answers
from catseye.runtimes.onnx_structure import read_structure


def open_onnx(
    path: str | Path,
    *,
    threads: int = 0,
    spin: bool = False,
    providers: tuple[str, ...] = ("CPUExecutionProvider",),
) -> ModelFile:
    """Read, judge and start an .onnx file.

    `threads` = 0: one per core; with `spin`, waiting ones burn their core; `providers` are tried in order.

    Raises:
        ModelFileError: it is missing, too large, damaged, not made by catseye, refers to other files, or
            does not do what its manifest says.

    """
    import onnxruntime

    source = str(path)
    content = read_once(source, "an ONNX")
    structure = read_structure(content, source)
    manifest = Manifest.from_json(structure.metadata.get(METADATA_KEY), source)
    if manifest.input_kind is None:
        raise ModelFileError(f"{source}: its manifest does not say what its input is; export it again")
    session = _session(content, source, threads, spin, providers)
    inputs, outputs = _onnx_face(session.get_inputs()), _onnx_face(session.get_outputs())
    _check_onnx_face(manifest, inputs, outputs, source)

    def ask(image: NDArray[Any], names: Sequence[str]) -> list[NDArray[np.float32]]:
        found: list[NDArray[np.float32]] = session.run(list(names), {"image": image})
        return found

    return require_answers(
        ModelFile(
            path=source,
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
        )
    )


def _session(content: bytes, source: str, threads: int, spin: bool, providers: tuple[str, ...]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what it has to say comes as an exception
    # Waiting threads would otherwise burn a core each between two images.
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    options.add_session_config_entry("session.inter_op.allow_spinning", str(int(spin)))
    # Else bytes that look like ORT's own format, which was not judged above, would be taken for that.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=list(providers))
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions have no common root but this
        raise ModelFileError(f"{source} cannot be run by ONNX Runtime ({first_line(error)})") from None
    if session.get_providers()[0] != providers[0]:  # it falls back to the CPU without a word
        raise ModelFileError(
            f"{source}: {providers[0]} cannot be started on this machine; got {session.get_providers()}"
        )
    return session


def _check_onnx_face(manifest: Manifest, inputs: list[Face], outputs: list[Face], source: str) -> None:
    """Names, types and shapes of inputs and outputs are what the manifest promises."""
    spec, num_classes = manifest.preprocessing, len(manifest.classes)
    if manifest.input_kind == "uint8":
        wanted_inputs = {"image": ("tensor(uint8)", [spec.height_px, spec.width_px, spec.channels])}
    else:
        wanted_inputs = {"image": ("tensor(float)", [spec.channels, spec.height_px, spec.width_px])}
    wanted_outputs = {name: ("tensor(float)", [num_classes]) for name in ("prediction", "probability")}
    found = [one for one in outputs if one[0] != "cam"]
    for side, wanted, got in (
        ("inputs", wanted_inputs, _behind_batch(inputs)),
        ("outputs", wanted_outputs, _behind_batch(found)),
    ):
        if wanted != got:
            raise ModelFileError(f"{source}: its {side} should be {wanted} behind a free batch size; got {got}")


def _onnx_face(values: list[Any]) -> list[Face]:
    return [(one.name, one.type, list(one.shape)) for one in values]


def _behind_batch(face: list[Face]) -> dict[str, tuple[str, list[int | str]]]:
    # A fixed batch size stays in the list, so that it does not compare equal.
    return {name: (kind, shape[1:] if shape and not isinstance(shape[0], int) else shape) for name, kind, shape in face}
