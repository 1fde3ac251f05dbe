"""report.html: all measurements on one page that needs no server or network.

Enters: the measurement of a model and its metrics. Leaves: HTML. Jinja escapes every text, and the page's content
policy allows only its own script. Called by `evaluate.py`.
"""

import base64
from datetime import datetime
from hashlib import sha256
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from catseye import __version__
from catseye.classifier import softmax
from catseye.counting import agree, count
from catseye.environment import environment
from catseye.evaluation.calibration import Calibration, judge
from catseye.evaluation.corruptions import Corruptions
from catseye.evaluation.gallery import Gallery, choose_images
from catseye.evaluation.knn_baseline import NeighbourScore
from catseye.evaluation.label_errors import Suspect, find_label_errors
from catseye.evaluation.measure import MeasuredModel
from catseye.evaluation.metrics import Metrics
from catseye.evaluation.report_charts import (
    class_curves,
    confidence_chart,
    corruption_chart,
    reliability_chart,
    risk_chart,
    training_charts,
)
from catseye.evaluation.report_tables import ClassRow, class_rows, confused_pairs, read_trials, shaded_matrix
from catseye.evaluation.statistics import bootstrap_macro_f1
from catseye.runs import Run, open_run, read_json

MAX_MATRIX = 40  # classes; with more, only the table of confused pairs is shown


def render_report(
    measured: MeasuredModel,
    metrics: Metrics,
    corruptions: Corruptions | None = None,
    neighbours: NeighbourScore | None = None,
) -> str:
    """The page as text."""
    outputs, manifest = measured.outputs, measured.model.manifest
    probabilities = softmax(outputs.logits, manifest.temperature)
    suspects = find_label_errors(probabilities, outputs.labels)
    gallery = choose_images(measured, probabilities, suspects)
    calibration = judge(outputs.logits, outputs.labels, manifest.temperature)
    classes = list(measured.images.classes)
    rows = class_rows(metrics, probabilities, outputs.labels)
    run = open_run(measured.model.path) if measured.model.path.is_dir() else None
    page = Environment(
        loader=PackageLoader("catseye.evaluation"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    script = _asset("report.js")
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    return page.get_template("report.html").render(
        title=f"{manifest.architecture.name} on {manifest.provenance.data_name or measured.source}",
        version=__version__,
        now=datetime.now().astimezone().isoformat(timespec="minutes"),
        metrics=metrics,
        trained_on=measured.trained_on,
        f1_interval=bootstrap_macro_f1(metrics.confusion),
        facts=_report_facts(measured, metrics, calibration, suspects, rows) + _on_neighbours(neighbours, metrics),
        rows=rows,
        classes=classes,
        matrix=shaded_matrix(metrics) if len(classes) <= MAX_MATRIX else None,
        confused=confused_pairs(metrics),
        gallery=gallery,
        payload={"classes": classes, **_payload(gallery)},
        num_suspects=len(suspects),
        calibration=calibration,
        reliability=reliability_chart(outputs.logits, outputs.labels, manifest.temperature),
        histogram=confidence_chart(probabilities),
        risk=risk_chart(probabilities, outputs.labels, manifest.unknown_threshold),
        threshold=manifest.unknown_threshold,
        curves=class_curves(rows, probabilities, outputs.labels),
        corruptions=corruptions,
        corruption_chart=corruption_chart(corruptions) if corruptions else None,
        training=training_charts(run) if run else None,
        trials=read_trials(run) if run else [],
        details=_details(measured, run),
        settings=(run.path / "settings.toml").read_text(encoding="utf-8") if run else None,
        style=Markup(_asset("page.css", "catseye.data") + _asset("report.css")),  # noqa: S704 - our own files
        script=Markup(script),  # noqa: S704 - our own file
        digest=digest,
    )


def _asset(name: str, package: str = "catseye.evaluation") -> str:
    return resources.files(package).joinpath("templates", name).read_text(encoding="utf-8")


def _payload(gallery: Gallery) -> dict[str, Any]:
    return {"items": gallery.items, "cells": gallery.cells, "heat": gallery.heat_size}


def _report_facts(
    measured: MeasuredModel, metrics: Metrics, calibration: Calibration, suspects: list[Suspect], rows: list[ClassRow]
) -> list[tuple[str, str]]:
    """What to know before deployment: pairs of good, mind or bad, and a sentence."""
    facts: list[tuple[str, str]] = []
    better = metrics.accuracy_low > metrics.constant_guess
    facts.append(
        (
            "good" if better else "bad",
            f"Always guessing the commonest class scores {metrics.constant_guess:.2%}; this model "
            + (f"scores {metrics.accuracy:.2%}." if better else "is not clearly better."),
        )
    )
    present = [row for row in rows if row.support]
    weakest = min(present, key=lambda row: row.recall)
    facts.append(
        (
            "good" if weakest.recall_low > 0.8 else "mind",
            f"The weakest class is {weakest.name}: {weakest.recall:.1%} of its {weakest.support:,} images are "
            f"recognised (95% interval {weakest.recall_low:.1%} – {weakest.recall_high:.1%}).",
        )
    )
    missing = [row.name for row in rows if not row.support]
    if missing:
        facts.append(("bad", f"No images of {', '.join(missing[:5])} were measured, so nothing is known about them."))
    ece = calibration.after.ece
    facts.append(
        (
            "good" if ece < 0.03 else "mind",
            f"Its probabilities are off by {ece:.2%} on average (ECE); at temperature 1 it would be "
            f"{calibration.before.ece:.2%}.",
        )
    )
    condition = measured.model.when_unknown()
    facts.append(
        ("good", f"It says “unknown” where {condition}.")
        if condition
        else ("mind", "It never says “unknown”: an image of something else still gets one of these classes.")
    )
    if suspects:
        advice = (
            "look at the clearest: a score is only as good as its labels"
            if metrics.accuracy > 0.9
            else "but with this many errors, most are the model's own mistakes"
        )
        facts.append(
            ("mind", f"{count(len(suspects), 'label')} {agree(len(suspects), 'is', 'are')} suspected; {advice}.")
        )
    for note in measured.notes:
        kind = "good" if note.startswith("evaluating on the test") else "mind"
        if measured.trained_on and note.startswith("TRAINED ON"):  # this outweighs everything else
            facts.insert(0, ("bad", f"{note}."))
            continue
        facts.append((kind, note[:1].upper() + note[1:] + "."))
    return facts


def _on_neighbours(neighbours: NeighbourScore | None, metrics: Metrics) -> list[tuple[str, str]]:
    if neighbours is None:
        return []
    sentence = neighbours.sentence()
    return [("good" if metrics.accuracy >= neighbours.accuracy else "mind", f"{sentence[:1].upper()}{sentence[1:]}.")]


def _details(measured: MeasuredModel, run: Run | None) -> list[tuple[str, str]]:
    """Where the numbers come from, as rows of a table."""
    manifest = measured.model.manifest
    origin, spec = manifest.provenance, manifest.preprocessing
    rows = [
        ("model", str(measured.model.path)),
        ("network", manifest.architecture.name),
        ("images measured", f"{len(measured.outputs.labels):,} of {measured.source}"),
        ("input", f"{spec.channels} x {spec.height_px} x {spec.width_px}, {spec.resize}, {spec.filter}"),
        ("temperature", f"{manifest.temperature:.4f}"),
        ("trained", f"{origin.created or '-'}, catseye {origin.catseye or '-'}, torch {origin.torch or '-'}"),
        ("seed", str(origin.seed)),
        ("data sha256", origin.data_sha256 or "-"),
        ("settings sha256", origin.settings_sha256 or "-"),
    ]
    if measured.bad:
        rows.append(
            ("unreadable", f"{count(len(measured.bad), 'image')} {agree(len(measured.bad), 'does', 'do')} not count")
        )
    if run:
        data = run.data
        counts = ", ".join(f"{len(names):,} {side}" for side, names in data["splits"].items() if names)
        rows += [("split", counts), *(("about the data", note) for note in data["notes"])]
        path = run.path / "environment.json"
        if path.exists():
            made = read_json(path)
            rows.append(("trained on", _machine(made)))
            rows.append(("training time", f"{made.get('training_seconds', 0):,.0f} s"))
    return [*rows, ("measured on", f"{measured.model.device}, {_machine(environment())}")]


def _machine(made: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in made["packages"].items() if version)
    gpu = f", {made['gpu']}" if made.get("gpu") else ""
    return f"{made['processor']}, {made['cpus']} CPUs{gpu}; Python {made['python']}, {packages}"
