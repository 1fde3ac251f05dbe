"""`catseye info`: the manifest and the contents of a model file.

Exported files need no torch. Programs (TorchScript, .pt2, TensorRT) are inspected but not started, so they need no
trust here.

Enters: a path. Leaves: `Information`. Called by cli.
"""

from dataclasses import dataclass
from typing import Any

from catseye.counting import count
from catseye.files import StrPath
from catseye.manifest import Manifest, Parity
from catseye.runtimes.loading import open_model


@dataclass(frozen=True)
class Information:
    """The facts of a model file.

    `inputs` and `outputs` are (name, type, shape); weights alone have no operators.
    """

    path: str
    format: str
    num_bytes: int
    sha256: str
    manifest: Manifest
    num_parameters: int | None
    inputs: list[tuple[str, str, list[int | str]]]
    outputs: list[tuple[str, str, list[int | str]]]
    operators: dict[str, int]
    opset: int | None = None
    producer: str = ""
    when_unknown: str = ""

    def to_json(self) -> dict[str, Any]:
        """All fields as plain JSON types."""
        fields = self.manifest.model_dump(mode="json", exclude={"examples"})
        return {**vars(self), "manifest": {**fields, "num_examples": len(self.manifest.examples)}}

    def to_rows(self) -> list[tuple[str, str]]:
        """Label and text of each line that the terminal shows."""
        manifest, spec, origin = self.manifest, self.manifest.preprocessing, self.manifest.provenance
        names = ", ".join(manifest.classes[:12]) + (" …" if len(manifest.classes) > 12 else "")
        values = "" if self.num_parameters is None else f", {self.num_parameters:,} values"
        rows = [
            ("file", self.path),
            ("format", self.format + (f", opset {self.opset}" if self.opset else "")),
            ("size", f"{self.num_bytes / 1e6:,.2f} MB{values}"),
            ("sha256", self.sha256),
            ("network", manifest.architecture.name),
            ("classes", f"{len(manifest.classes)}: {names}"),
            ("image", f"{spec.channels} x {spec.height_px} x {spec.width_px}, {spec.resize}, {spec.filter}"),
            ("mean, std", f"{list(spec.mean)}, {list(spec.std)}"),
            ("temperature", f"{manifest.temperature:g}"),
            ("says unknown", f"where {self.when_unknown}" if self.when_unknown else "never"),
            ("made", f"{origin.created or '-'}, catseye {origin.catseye or '-'}, torch {origin.torch or '-'}"),
            ("data", f"{origin.data_name or '-'} {origin.data_sha256[:12]}, seed {origin.seed}"),
        ]
        rows += origin.metric_texts()
        if proof := manifest.parity:
            rows.append(("parity", _proof_line(proof)))
        if how := manifest.quantisation:
            kept = f"; in float: {', '.join(how.float_layers)}" if how.float_layers else ""
            rows.append(("INT8", f"{how.tool}, {how.calibration}, {how.num_calibration_images} images{kept}"))
        if manifest.examples:
            rows.append(("examples", f"{count(len(manifest.examples), 'image')} of the data, for the page of serve"))
        rows += [("input", _tensor_line(tensor)) for tensor in self.inputs]
        rows += [("output", _tensor_line(tensor)) for tensor in self.outputs]
        if self.operators:
            listed = ", ".join(f"{name} {count}" for name, count in self.operators.items())
            rows.append(("operators", f"{sum(self.operators.values())}: {listed}"))
        return rows


def info(path: StrPath) -> Information:
    """Inspect an exported file, a model.safetensors or a run folder.

    Raises:
        ModelFileError: it is none of these, or it is damaged.

    """
    model = open_model(path, need="facts")
    file = model.path
    if model.network is not None and file.is_dir():
        from catseye.runs import MODEL_FILE

        file /= MODEL_FILE
    return Information(
        path=str(file),
        format=model.format,
        num_bytes=model.num_bytes,
        sha256=model.sha256,
        manifest=model.manifest,
        num_parameters=model.num_parameters,
        inputs=model.inputs,
        outputs=model.outputs,
        operators=model.operators,
        opset=model.opset,
        producer=model.producer,
        when_unknown=model.when_unknown(),
    )


def _proof_line(proof: Parity) -> str:
    difference = proof.familiarity_difference
    others = "" if difference is None else f", familiarity off by at most {difference:.1e}"
    if proof.heat_map_difference is not None:
        others += f", heat maps by at most {proof.heat_map_difference:.1e}"
    return (
        f"{proof.agreement:.2%} equal answers on {proof.num_images} {proof.split} images, |Δp| (difference of a "
        f"probability) at most {proof.max_difference:.1e}{others} ({proof.runtime})"
    )


def _tensor_line(tensor: tuple[str, str, list[int | str]]) -> str:
    name, kind, shape = tensor
    return f"{name} {kind} ({', '.join(map(str, shape))})"
