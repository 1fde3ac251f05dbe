"""An exported .onnx file, opened and computed by ONNX Runtime. No torch, no `onnx` package.

Enters: the path of a file that may come from a stranger. Leaves: `OnnxModel`. The file is read once, into bytes;
those bytes are judged, hashed and run, so nothing can be swapped in between. Called by `loading.py`, serving and
exporting.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from catseye.errors import ModelFileError
from catseye.manifest import METADATA_KEY, Manifest
from catseye.model_file import ModelFile, Outputs, check_answers, first_line, read_once, tensor_of
from catseye.onnx_structure import Structure, read_structure
from catseye.preprocess import Pixels


@dataclass(frozen=True)
class OnnxModel:
    """An opened file: what it says of itself, what it consists of, and the session that runs it."""

    manifest: Manifest
    structure: Structure
    num_bytes: int
    sha256: str
    session: Any = field(repr=False)

    def run(self, pixels: Pixels) -> Outputs:
        """All outputs by name: prediction (N, K) logits, probability (N, K), and cam (N, h, w) where there is one.

        Shape: pixels (N, H, W, C) uint8, as `preprocess` makes them.
        """
        image = tensor_of(pixels, self.manifest)
        names = [one.name for one in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, {"image": image}), strict=True))

    def model_file(self, path: str | Path) -> ModelFile:
        """The face that all formats share."""
        import onnxruntime

        found = self.structure
        return ModelFile(
            path=str(path),
            format="ONNX",
            runtime=f"onnxruntime {onnxruntime.__version__}",
            manifest=self.manifest,
            num_bytes=self.num_bytes,
            sha256=self.sha256,
            run=self.run,
            inputs=[(one.name, one.type, list(one.shape)) for one in self.session.get_inputs()],
            outputs=[(one.name, one.type, list(one.shape)) for one in self.session.get_outputs()],
            operators=dict(found.operators.most_common()),
            num_parameters=found.num_parameters,
            opset=found.opset,
            producer=found.producer,
        )


def open_onnx(
    path: str | Path,
    *,
    threads: int = 0,
    spin: bool = False,
    providers: tuple[str, ...] = ("CPUExecutionProvider",),
) -> OnnxModel:
    """Read, judge and start an .onnx file.

    `threads` = 0: one per core; with `spin`, waiting ones burn their core; `providers` are tried in order.

    Raises:
        ModelFileError: it is missing, too large, damaged, not made by catseye, refers to other files, or
            does not do what its manifest says.

    """
    source = str(path)
    content = read_once(source, "an ONNX")
    structure = read_structure(content, source)
    manifest = Manifest.from_json(structure.metadata.get(METADATA_KEY), source)
    if manifest.input_kind is None:
        raise ModelFileError(f"{source}: its manifest does not say what its input is; export it again")
    model = OnnxModel(
        manifest,
        structure,
        len(content),
        sha256(content).hexdigest(),
        _session(content, source, threads, spin, providers),
    )
    _check_face(model, source)
    check_answers(model.run, model.manifest, source)
    return model


def _session(content: bytes, source: str, threads: int, spin: bool, providers: tuple[str, ...]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what it has to say comes as an exception
    # Waiting threads would otherwise burn a core each between two pictures.
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


def _check_face(model: OnnxModel, source: str) -> None:
    """Names, types and shapes of inputs and outputs are what the manifest promises."""
    manifest = model.manifest
    spec, num_classes = manifest.preprocessing, len(manifest.classes)
    if manifest.input_kind == "uint8":
        wanted_inputs = {"image": ("tensor(uint8)", [spec.height_px, spec.width_px, spec.channels])}
    else:
        wanted_inputs = {"image": ("tensor(float)", [spec.channels, spec.height_px, spec.width_px])}
    wanted_outputs = {name: ("tensor(float)", [num_classes]) for name in ("prediction", "probability")}
    inputs, outputs = _face(model.session.get_inputs()), _face(model.session.get_outputs())
    outputs.pop("cam", None)
    for side, wanted, got in (("inputs", wanted_inputs, inputs), ("outputs", wanted_outputs, outputs)):
        if wanted != got:
            raise ModelFileError(f"{source}: its {side} should be {wanted} behind a free batch size; got {got}")


def _face(values: list[Any]) -> dict[str, tuple[str, list[int | str]]]:
    # A fixed batch size stays in the list, so that it does not compare equal.
    return {
        one.name: (one.type, [*one.shape[1:]] if one.shape and not isinstance(one.shape[0], int) else [*one.shape])
        for one in values
    }
