"""`catseye info`: what a model file says of itself and what it consists of. No torch for exported files.

Programs (TorchScript, .pt2, TensorRT) are looked into but not started, so they need no trust here.

Enters: a path. Leaves: `Information`. Called by cli.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from catseye.errors import ModelFileError
from catseye.manifest import Manifest
from catseye.runtimes.loading import is_model_file, open_model
from catseye.runtimes.model_file import faces, read_once


@dataclass(frozen=True)
class Information:
    """One model file. `inputs` and `outputs` are (name, type, shape); weights alone have none, and no graph."""

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

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {**vars(self), "manifest": self.manifest.model_dump(mode="json")}

    def to_rows(self) -> list[tuple[str, str]]:
        """What a terminal shows."""
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
            ("unknown below", "-" if manifest.unknown_threshold is None else f"{manifest.unknown_threshold:g}"),
            ("made", f"{origin.created or '-'}, catseye {origin.catseye or '-'}, torch {origin.torch or '-'}"),
            ("data", f"{origin.data_name or '-'} {origin.data_sha256[:12]}, seed {origin.seed}"),
        ]
        rows += [(name.replace("_", " "), f"{value:.2%}") for name, value in origin.metrics.items()]
        if proof := manifest.parity:
            rows.append(
                (
                    "parity",
                    f"{proof.agreement:.2%} equal answers on {proof.num_images} {proof.split} images, "
                    f"|Δp| at most {proof.max_difference:.1e} ({proof.runtime})",
                )
            )
        if how := manifest.quantisation:
            kept = f"; in float: {', '.join(how.float_layers)}" if how.float_layers else ""
            rows.append(("INT8", f"{how.tool}, {how.calibration}, {how.num_calibration_images} images{kept}"))
        rows += [("input", _fact_line(one)) for one in self.inputs] + [
            ("output", _fact_line(one)) for one in self.outputs
        ]
        if self.operators:
            listed = ", ".join(f"{name} {count}" for name, count in self.operators.items())
            rows.append(("operators", f"{sum(self.operators.values())}: {listed}"))
        return rows


def inspect_model(path: str | Path) -> Information:
    """Look into an exported file, a model.safetensors or a run folder.

    Raises:
        ModelFileError: it is none of these, or it is damaged.

    """
    file = Path(path)
    if not file.exists():
        raise ModelFileError(f"{path} does not exist; give an exported file, a run folder or a model.safetensors")
    suffix = file.suffix.lower()
    if suffix in (".torchscript", ".pt2"):
        return _torch_archive(file)
    if suffix == ".engine":
        return _inspect_engine(file)
    return _opened(file) if is_model_file(file) else _safetensors(file)


def _opened(file: Path) -> Information:
    model = open_model(file)
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
    )


def _torch_archive(file: Path) -> Information:
    from catseye.runtimes.torch_archive import read_archive

    content = read_once(file, "a model")
    archive = read_archive(content, str(file))
    manifest = Manifest.from_json(archive.manifest, str(file))
    return _unstarted(file, archive.kind, content, manifest, archive.num_parameters, archive.operators)


def _inspect_engine(file: Path) -> Information:
    from catseye.runtimes.tensorrt_engine_file import split_engine

    content = read_once(file, "an engine")
    manifest, _ = split_engine(content, str(file))
    return _unstarted(file, "TensorRT engine", content, manifest, None, {})


def _unstarted(
    file: Path, kind: str, content: bytes, manifest: Manifest, num_parameters: int | None, operators: dict[str, int]
) -> Information:
    inputs, outputs = faces(manifest)
    return Information(
        path=str(file),
        format=kind,
        num_bytes=len(content),
        sha256=sha256(content).hexdigest(),
        manifest=manifest,
        num_parameters=num_parameters,
        inputs=inputs,
        outputs=outputs,
        operators=operators,
    )


def _safetensors(file: Path) -> Information:
    import torch

    from catseye.runs import MODEL_FILE, load_model

    model, manifest = load_model(file, torch.device("cpu"))  # refuses what `predict` would refuse
    file = file / MODEL_FILE if file.is_dir() else file
    content = file.read_bytes()
    return Information(
        path=str(file),
        format="safetensors",
        num_bytes=len(content),
        sha256=sha256(content).hexdigest(),
        manifest=manifest,
        num_parameters=sum(tensor.numel() for tensor in model.state_dict().values()),
        inputs=[],
        outputs=[],
        operators={},
    )


def _fact_line(value: tuple[str, str, list[int | str]]) -> str:
    name, kind, shape = value
    return f"{name} {kind} ({', '.join(map(str, shape))})"
