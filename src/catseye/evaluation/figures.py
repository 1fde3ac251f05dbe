"""The confusion matrix of an evaluation, and writing a figure as a PNG.

Enters: `Metrics`, or a matplotlib figure. Leaves: figures and PNG files. Called by `evaluate.py` and
`training/finish.py`. `curves_figure` is that of epochs.py. Works without a display.
"""

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from catseye.epochs import curves_figure as curves_figure
from catseye.evaluation.metrics import Metrics
from catseye.files import write_atomically

MAX_LABELLED = 30  # classes whose names and counts still fit


def confusion_figure(metrics: Metrics) -> Figure:
    """The confusion matrix: rows are the true classes, columns the answers.

    Colour is the share of the row, the number is the count.
    """
    names, counts = list(metrics.per_class), metrics.confusion
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(4 + 0.45 * len(names), 16)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    if len(names) <= MAX_LABELLED:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    axes.set(xlabel="predicted", ylabel="true", title=f"accuracy {metrics.accuracy:.2%}, n = {metrics.num_images:,}")
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, atomically."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    write_atomically(path, content.getvalue())
