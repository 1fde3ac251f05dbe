"""`catseye evaluate`: a trained model and held-out pictures in, metrics and a confusion matrix out.

Called by cli, by `catseye.evaluate` and, with the logits it already has, by `training/fit.py`.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from catseye.data.prepare import prepare_evaluation
from catseye.devices import choose_device
from catseye.errors import ModelFileError, UsageError
from catseye.evaluation.figures import confusion_figure, save_figure
from catseye.evaluation.metrics import Metrics, compute_metrics
from catseye.evaluation.predict import Outputs, collect_answers, collect_logits
from catseye.loading import is_model_file, load
from catseye.runs import load_model, open_run, write_json


@dataclass(frozen=True)
class Evaluation:
    """The result, where it was written (if anywhere), and the sentences that belong to it."""

    metrics: Metrics
    out: Path | None
    notes: list[str]


def evaluate(
    model: str | Path,
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    data_dir: str | Path | None = None,
    strict: bool = False,
    trust: bool = False,
) -> Evaluation:
    """Measure a run folder, a model.safetensors or an exported file of any format on held-out pictures.

    Without `data`, a run is measured on its own held-out pictures: exactly those that did not train
    it. With `data`, on the test split of that, else its validation split, else all of it. Writes
    metrics.json and confusion.png to `out`; a run's own folder is the default where it is measured on its own pictures.

    Raises:
        ModelFileError: the model cannot be used. DataError: the pictures cannot be used.

    """
    path = Path(model)
    if not path.exists():
        raise ModelFileError(f"{path} does not exist; give a run folder, a model.safetensors or an exported file")
    exported = load(path, device=device, trust=trust) if is_model_file(path) else None
    where = choose_device("cpu" if exported else device)
    if exported:
        manifest, collect = exported.manifest, partial(collect_answers, exported)
    else:
        network, manifest = load_model(path, where)
        collect = partial(collect_logits, network, spec=manifest.preprocessing)
    chosen = None
    if data is None:
        if not path.is_dir():
            raise UsageError(f"{path} does not say where its pictures are; add DATA: catseye evaluate {path} DATA")
        recorded = open_run(path).data
        data = recorded["source"]
        chosen = {name: side for side, names in recorded["splits"].items() for name in names}
        data_dir = data_dir or recorded["data_dir"]
        out = out or path
    pictures, loader, notes = prepare_evaluation(
        data,
        manifest.preprocessing,
        manifest.classes,
        device=where,
        chosen=chosen,
        data_dir=Path(data_dir) if data_dir else None,
        strict=strict,
    )
    outputs = collect(loader=loader)
    if loader.bad:
        notes.append(
            f"{len(loader.bad)} pictures cannot be read and do not count, e.g. {next(iter(loader.bad.values()))}"
        )
    extra = {"data": str(data), "unreadable": list(loader.bad.values())}
    metrics = report(outputs, pictures.classes, Path(out) if out else None, extra)
    return Evaluation(metrics, Path(out) if out else None, notes)


def report(outputs: Outputs, classes: tuple[str, ...], out: Path | None, extra: dict[str, Any]) -> Metrics:
    """Compute the metrics and, where `out` is given, write metrics.json and confusion.png there."""
    metrics = compute_metrics(outputs.logits, outputs.labels, classes)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "metrics.json", {**metrics.to_json(), **extra})
        save_figure(confusion_figure(metrics), out / "confusion.png")
    return metrics
