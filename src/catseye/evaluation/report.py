"""report.html: everything that was measured, on one page that opens from disk without a network.

Enters: what was measured and its metrics. Leaves: HTML. Every text goes through Jinja's escaping, and the page's own
policy lets only its own script run. Called by `evaluate.py`.
"""

import base64
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from catseye import __version__
from catseye.classifier import softmax
from catseye.evaluation.calibration import NUM_BINS, Calibration, judge, reliability_bins
from catseye.evaluation.charts import Axis, Line, axis_of, bar_chart, line_chart
from catseye.evaluation.corruptions import Corruptions
from catseye.evaluation.curves import average_precision, precision_recall_curve, roc_curve, thin
from catseye.evaluation.gallery import Gallery, choose_pictures
from catseye.evaluation.label_errors import Suspect, find_label_errors
from catseye.evaluation.measure import Measured
from catseye.evaluation.metrics import Metrics, wilson_interval
from catseye.evaluation.rejection import auroc, risk_coverage
from catseye.evaluation.statistics import bootstrap_macro_f1
from catseye.runs import Run, environment, open_run, read_json

MAX_MATRIX = 40  # classes; with more, the table of confused pairs has to do
MAX_CURVES = 40
NUM_CONFUSED = 15


@dataclass(frozen=True)
class ClassRow:
    """One line of the table of classes; AUROC and average precision are None where a class never occurs."""

    name: str
    precision: float
    recall: float
    recall_low: float
    recall_high: float
    f1: float
    support: int
    auroc: float | None
    average_precision: float | None


def render_report(measured: Measured, metrics: Metrics, corruptions: Corruptions | None = None) -> str:
    """The page as text."""
    outputs, manifest = measured.outputs, measured.model.manifest
    probabilities = softmax(outputs.logits, manifest.temperature)
    suspects = find_label_errors(probabilities, outputs.labels)
    gallery = choose_pictures(measured, probabilities, suspects)
    calibration = judge(outputs.logits, outputs.labels, manifest.temperature)
    classes = list(measured.pictures.classes)
    rows = _class_rows(metrics, probabilities, outputs.labels)
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
        f1_interval=bootstrap_macro_f1(metrics.confusion),
        facts=_facts(measured, metrics, calibration, suspects, rows),
        rows=rows,
        classes=classes,
        matrix=_matrix(metrics) if len(classes) <= MAX_MATRIX else None,
        confused=_confused(metrics),
        gallery=gallery,
        payload={"classes": classes, **_payload(gallery)},
        num_suspects=len(suspects),
        calibration=calibration,
        reliability=_reliability(outputs.logits, outputs.labels, manifest.temperature),
        histogram=_histogram(probabilities),
        risk=_risk(probabilities, outputs.labels, manifest.unknown_threshold),
        threshold=manifest.unknown_threshold,
        curves=_class_curves(rows, probabilities, outputs.labels),
        corruptions=corruptions,
        corruption_chart=_corruption_chart(corruptions) if corruptions else None,
        training=_training(run) if run else None,
        details=_details(measured, run),
        settings=(run.path / "settings.toml").read_text(encoding="utf-8") if run else None,
        style=Markup(_asset("report.css")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        digest=digest,
    )


def _asset(name: str) -> str:
    return resources.files("catseye.evaluation").joinpath("templates", name).read_text(encoding="utf-8")


def _payload(gallery: Gallery) -> dict[str, Any]:
    return {"items": gallery.items, "cells": gallery.cells, "heat": gallery.heat_size}


def _class_rows(metrics: Metrics, probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> list[ClassRow]:
    rows = []
    for index, (name, one) in enumerate(metrics.per_class.items()):
        of_class, scores = labels == index, probabilities[:, index]
        low, high = wilson_interval(round(one.recall * one.support), one.support) if one.support else (0.0, 1.0)
        both = of_class.any() and not of_class.all()
        rows.append(
            ClassRow(
                name, one.precision, one.recall, low, high, one.f1, one.support,
                auroc(scores[of_class], scores[~of_class]) if both else None,
                average_precision(scores, of_class) if of_class.any() else None,
            )
        )  # fmt: skip
    return rows


def _facts(
    measured: Measured, metrics: Metrics, calibration: Calibration, suspects: list[Suspect], rows: list[ClassRow]
) -> list[tuple[str, str]]:
    """What a person should know before shipping: good, mind or bad, and a sentence."""
    found: list[tuple[str, str]] = []
    better = metrics.accuracy_low > metrics.constant_guess
    found.append(
        (
            "good" if better else "bad",
            f"Always guessing the commonest class scores {metrics.constant_guess:.2%}; this model "
            + (f"scores {metrics.accuracy:.2%}." if better else "is not certainly better than that."),
        )
    )
    present = [row for row in rows if row.support]
    weakest = min(present, key=lambda row: row.recall)
    found.append(
        (
            "good" if weakest.recall_low > 0.8 else "mind",
            f"The weakest class is {weakest.name}: {weakest.recall:.1%} of its {weakest.support:,} pictures are "
            f"recognised (95 % interval {weakest.recall_low:.1%} – {weakest.recall_high:.1%}).",
        )
    )
    missing = [row.name for row in rows if not row.support]
    if missing:
        found.append(("bad", f"No pictures of {', '.join(missing[:5])} were measured, so nothing is known of them."))
    ece = calibration.after.ece
    found.append(
        (
            "good" if ece < 0.03 else "mind",
            f"Its probabilities are off by {ece:.2%} on average (ECE); at temperature 1 it would be "
            f"{calibration.before.ece:.2%}.",
        )
    )
    threshold = measured.model.manifest.unknown_threshold
    found.append(
        ("mind", "It never says “unknown”: a picture of something else still gets one of these classes.")
        if threshold is None
        else ("good", f"Below a probability of {threshold:.3f} it says “unknown”.")
    )
    if suspects:
        advice = (
            "look at the clearest: the score can only be as right as the labels"
            if metrics.accuracy > 0.9
            else "but a model that errs so often suspects mostly because of its own mistakes"
        )
        found.append(("mind", f"{len(suspects):,} labels are suspected; {advice}."))
    for note in measured.notes:
        kind = "good" if note.startswith("evaluating on the test") else "mind"
        found.append((kind, note[:1].upper() + note[1:] + "."))
    return found


def _matrix(metrics: Metrics) -> list[list[tuple[int, float]]]:
    """Per cell the count and the strength of its colour, 0 to 1; the root lets small shares show."""
    shares = metrics.confusion / np.maximum(metrics.confusion.sum(1, keepdims=True), 1)
    strength = np.sqrt(shares)
    return [
        [(int(count), round(float(colour), 3)) for count, colour in zip(counts, colours, strict=True)]
        for counts, colours in zip(metrics.confusion, strength, strict=True)
    ]


def _confused(metrics: Metrics) -> list[tuple[int, int, int, float]]:
    """The largest cells off the diagonal: truth, prediction, count, share of the truth's pictures."""
    off = metrics.confusion - np.diag(np.diag(metrics.confusion))
    order = np.argsort(-off, axis=None, kind="stable")[:NUM_CONFUSED]
    support = np.maximum(metrics.confusion.sum(1), 1)
    places = [divmod(int(place), len(off)) for place in order]
    return [(t, p, int(off[t, p]), float(off[t, p] / support[t])) for t, p in places if off[t, p]]


def _reliability(logits: NDArray[np.float32], labels: NDArray[np.int64], temperature: float) -> Markup:
    lines = [Line("perfect", (0, 1), (0, 1), "guide")]
    for name, kind, value in (("at temperature 1", "d", 1.0), (f"at temperature {temperature:.2f}", "a", temperature)):
        p = softmax(logits, value)
        bins = reliability_bins(p.max(1), p.argmax(1) == labels, NUM_BINS)
        lines.append(Line(name, [one.confidence for one in bins], [one.accuracy for one in bins], kind, dots=True))
    axes = Axis("largest probability", percent=True), Axis("right answers", percent=True)
    return line_chart("Reliability diagram: accuracy against confidence", lines, *axes)


def _histogram(probabilities: NDArray[np.float64]) -> Markup:
    counts, _ = np.histogram(probabilities.max(1), bins=20, range=(0, 1))
    shares = counts / len(probabilities)
    y = axis_of("share of pictures", shares, percent=True, from_zero=True)
    return bar_chart("How sure it is", shares.tolist(), Axis("largest probability", percent=True), y)


def _risk(probabilities: NDArray[np.float64], labels: NDArray[np.int64], threshold: float | None) -> Markup:
    confidence = probabilities.max(1)
    coverage, risk = risk_coverage(confidence, probabilities.argmax(1) == labels)
    x, y = thin((coverage, risk), 160)
    answered = Axis("share answered", percent=True)
    mark = None if threshold is None else float((confidence >= threshold).mean())
    # Among the few surest answers one error is a high share: they do not set the scale.
    above = axis_of("errors among them", risk[coverage >= 0.05], percent=True, from_zero=True)
    return line_chart("Risk against coverage", [Line("risk", x.tolist(), y.tolist())], answered, above, mark_x=mark)


def _class_curves(
    rows: list[ClassRow], probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[Markup, Markup, list[tuple[int, str]]] | None:
    """ROC and precision-recall charts, and the classes in them: the worst first, by average precision."""
    usable = [index for index, row in enumerate(rows) if row.auroc is not None]
    usable.sort(key=lambda index: rows[index].average_precision or 0.0)
    usable = usable[:MAX_CURVES]
    if not usable:
        return None
    roc, precision = [Line("chance", (0, 1), (0, 1), "guide")], list[Line]()
    for index in usable:
        of_class, scores, key = labels == index, probabilities[:, index], f"c{index}"
        x, y = thin(roc_curve(scores, of_class))
        roc.append(Line(rows[index].name, x.tolist(), y.tolist(), "faint", key=key))
        x, y = thin(precision_recall_curve(scores, of_class))
        precision.append(Line(rows[index].name, x.tolist(), y.tolist(), "faint", key=key))
    return (
        line_chart(
            "ROC per class", roc, Axis("false-positive rate", percent=True), Axis("true-positive rate", percent=True)
        ),
        line_chart(
            "Precision and recall per class", precision, Axis("recall", percent=True), Axis("precision", percent=True)
        ),
        [(index, rows[index].name) for index in usable],
    )


def _corruption_chart(found: Corruptions) -> Markup:
    strengths = list(range(len(next(iter(found.accuracy.values()))) + 1))
    lines = [
        Line(name, strengths, [found.clean, *values], kind, dots=True)
        for (name, values), kind in zip(found.accuracy.items(), "abcde", strict=True)
    ]
    strength = Axis("strength", 0, strengths[-1], whole=True)
    return line_chart("Accuracy under corruption", lines, strength, Axis("accuracy", percent=True))


def _training(run: Run) -> list[Markup]:
    history = run.history
    charts = []
    for quantity, percent in (("loss", False), ("accuracy", True)):
        lines = []
        for side, kind in (("train", "d"), ("val", "a"), ("test", "b")):
            points = [(row["epoch"], row[f"{side}_{quantity}"]) for row in history if f"{side}_{quantity}" in row]
            if points:
                x, y = zip(*points, strict=True)
                lines.append(Line(side, x, y, kind, dots=len(points) < 30))
        if lines:
            values = [value for line in lines for value in line.y]
            epochs = axis_of("epoch", [value for line in lines for value in line.x], whole=True)
            axis = axis_of(quantity, values, percent=percent, from_zero=not percent)
            charts.append(line_chart(f"{quantity} per epoch", lines, epochs, axis))
    return charts


def _details(measured: Measured, run: Run | None) -> list[tuple[str, str]]:
    """Where the numbers come from, as rows of a table."""
    manifest = measured.model.manifest
    origin, spec = manifest.provenance, manifest.preprocessing
    rows = [
        ("model", str(measured.model.path)),
        ("network", manifest.architecture.name),
        ("pictures measured", f"{len(measured.outputs.labels):,} of {measured.source}"),
        ("input", f"{spec.channels} x {spec.height_px} x {spec.width_px}, {spec.resize}, {spec.filter}"),
        ("temperature", f"{manifest.temperature:.4f}"),
        ("trained", f"{origin.created or '-'}, catseye {origin.catseye or '-'}, torch {origin.torch or '-'}"),
        ("seed", str(origin.seed)),
        ("data sha256", origin.data_sha256 or "-"),
        ("settings sha256", origin.settings_sha256 or "-"),
    ]
    if measured.bad:
        rows.append(("unreadable", f"{len(measured.bad)} pictures do not count"))
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
