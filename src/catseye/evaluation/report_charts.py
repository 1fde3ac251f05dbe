"""The charts of report.html, one function each.

Enters: the measurement of a model. Leaves: SVG as text, already escaped. Called by `report.py`.
"""

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from catseye.classifier import softmax
from catseye.evaluation.calibration import NUM_BINS, reliability_bins
from catseye.evaluation.charts import Axis, Line, axis_of, bar_chart, line_chart
from catseye.evaluation.corruptions import Corruptions
from catseye.evaluation.curves import precision_recall_curve, roc_curve, thin
from catseye.evaluation.rejection import risk_coverage
from catseye.evaluation.report_tables import ClassRow
from catseye.runs import Run

MAX_CURVES = 40


def reliability_chart(logits: NDArray[np.float32], labels: NDArray[np.int64], temperature: float) -> Markup:
    """Accuracy against confidence, before and after the temperature."""
    lines = [Line("perfect", (0, 1), (0, 1), "guide")]
    for name, kind, value in (("at temperature 1", "d", 1.0), (f"at temperature {temperature:.2f}", "a", temperature)):
        p = softmax(logits, value)
        bins = reliability_bins(p.max(1), p.argmax(1) == labels, NUM_BINS)
        lines.append(Line(name, [each.confidence for each in bins], [each.accuracy for each in bins], kind, dots=True))
    axes = Axis("largest probability", percent=True), Axis("right answers", percent=True)
    return line_chart("Reliability diagram: accuracy against confidence", lines, *axes)


def confidence_chart(probabilities: NDArray[np.float64]) -> Markup:
    """Histogram of the largest probability."""
    counts, _ = np.histogram(probabilities.max(1), bins=20, range=(0, 1))
    shares = counts / len(probabilities)
    y = axis_of("share of images", shares, percent=True, from_zero=True)
    return bar_chart("How sure it is", shares.tolist(), Axis("largest probability", percent=True), y)


def risk_chart(probabilities: NDArray[np.float64], labels: NDArray[np.int64], threshold: float | None) -> Markup:
    """Errors among the answers against the share answered.

    The threshold of “unknown” is marked.
    """
    confidence = probabilities.max(1)
    coverage, risk = risk_coverage(confidence, probabilities.argmax(1) == labels)
    x, y = thin((coverage, risk), 160)
    answered = Axis("share answered", percent=True)
    mark = None if threshold is None else float((confidence >= threshold).mean())
    # Among a few most confident answers one error is a high share: they do not set the scale.
    above = axis_of("errors among them", risk[coverage >= 0.05], percent=True, from_zero=True)
    return line_chart("Risk against coverage", [Line("risk", x.tolist(), y.tolist())], answered, above, mark_x=mark)


def class_curves(
    rows: list[ClassRow], probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[Markup, Markup, list[tuple[int, str]]] | None:
    """ROC and precision-recall charts, and the classes in them.

    Classes with the lowest average precision come first.
    """
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


def corruption_chart(corruptions: Corruptions) -> Markup:
    """Accuracy against strength, a line per corruption."""
    strengths = list(range(len(next(iter(corruptions.accuracy.values()))) + 1))
    lines = [
        Line(name, strengths, [corruptions.clean, *values], kind, dots=True)
        for (name, values), kind in zip(corruptions.accuracy.items(), "abcde", strict=True)
    ]
    strength = Axis("strength", 0, strengths[-1], whole=True)
    return line_chart("Accuracy under corruption", lines, strength, Axis("accuracy", percent=True))


def training_charts(run: Run) -> list[Markup]:
    """Loss and accuracy per epoch, as far as the run has them."""
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
