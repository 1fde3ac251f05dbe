"""`catseye evaluate`: a model measured on held-out images.

Enters: a trained model and held-out images. Leaves: metrics, report.html and figures. Called by cli and by
`catseye.evaluate`; `training/finish.py` calls `report` with the logits it already has.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from catseye.data.sources import Images
from catseye.errors import UsageError
from catseye.evaluation.answered import Answered, AnsweredImages, answered, grid_figure, html_mistakes
from catseye.evaluation.calibration import judge
from catseye.evaluation.corruptions import Corruptions, corruptions_figure, measure_corruptions
from catseye.evaluation.figures import confusion_figure, save_figure
from catseye.evaluation.knn_baseline import NeighbourScore, score_neighbours
from catseye.evaluation.measure import measure
from catseye.evaluation.metrics import Metrics, compute_metrics
from catseye.evaluation.predict import Outputs
from catseye.evaluation.report import render_report
from catseye.files import StrPath, write_atomically
from catseye.notebook import Html, html_of, html_table
from catseye.runs import write_json
from catseye.runtimes.loading import open_model

MAX_CLASSES = 200  # rows of the table that a notebook shows


@dataclass(frozen=True)
class Evaluation:
    """The metrics, notes and answers of an evaluation.

    `out` is the folder they were written to, if any.
    """

    metrics: Metrics
    out: Path | None
    notes: list[str]
    corruptions: Corruptions | None = None
    trained_on: int = 0  # images in the score that are known to have trained the model
    neighbours: NeighbourScore | None = None
    answered: Answered | None = field(default=None, repr=False)

    @property
    def predictions(self) -> Any:
        """The answers to all images, as a pandas DataFrame.

        Columns: image, label, predicted, confidence (0 to 1), split, and `p_CLASS` for every class.

        Raises:
            MissingDependency: pandas is not installed.

        """
        return self._answers.to_frame()

    @property
    def confusion(self) -> NDArray[np.int64]:
        """The confusion matrix (K, K) of counts.

        Rows are the true classes, columns the answers, in the order of the classes.
        """
        return self.metrics.confusion

    def plot_confusion(self) -> Figure:
        """The confusion matrix as a matplotlib figure."""
        return confusion_figure(self.metrics)

    def mistakes(self, num: int = 20) -> AnsweredImages:
        """The wrong answers, most confident first, at most `num` of them.

        A notebook shows the images.
        """
        return self._answers.mistakes(num)

    def show_mistakes(self, num: int = 20) -> Figure:
        """The most confident mistakes as a matplotlib figure, at most `num` of them."""
        answers = self._answers
        pairs = [(answers.pixels_of(row.index), row.line) for row in answers.mistakes(num)]
        return grid_figure([(pixels, text) for pixels, text in pairs if pixels is not None])

    @property
    def _answers(self) -> Answered:
        if self.answered is None:
            raise UsageError("this evaluation was not made by catseye.evaluate and has no answers; evaluate the run")
        return self.answered

    def _repr_html_(self) -> str:
        m = self.metrics
        score = f"{m.accuracy:.2%} (95% interval {m.accuracy_low:.2%} – {m.accuracy_high:.2%}, n = {m.num_images:,})"
        notes = "".join(f"<li>{html_of(note)}</li>" for note in self.notes)
        rows = [
            (name, f"{scores.precision:.3f}", f"{scores.recall:.3f}", f"{scores.f1:.3f}", f"{scores.support:,}")
            for name, scores in m.per_class.items()
        ]
        table = html_table(("class", "precision", "recall", "F1", "images"), rows[:MAX_CLASSES])
        shown = html_mistakes(self.answered) if self.answered else ""
        return Html(f"<p><b>accuracy {html_of(score)}</b></p><ul>{notes}</ul>{table}{shown}")


def evaluate(
    model: StrPath,
    data: Images | None = None,
    *,
    out: StrPath | None = None,
    device: str = "auto",
    data_dir: StrPath | None = None,
    strict: bool = False,
    trust: bool = False,
    corrupt: bool = False,
) -> Evaluation:
    """Measure a run, a model.safetensors or an exported file on held-out images.

    An exported file may have any format. Without `data`, a run is measured on its own held-out images: exactly those
    that did not train it. With `data`, on its test split, else its validation split, else all of it; if `data` holds
    the run's own images (perhaps moved), on those that did not train it. Writes metrics.json, report.html and
    confusion.png to `out`; by default to the run's folder if it is measured on its own images. `corrupt` also measures
    the model under noise, blur, JPEG, brightness and rotation, and writes corruptions.json and .png.

    Raises:
        ModelFileError: the model cannot be used. DataError: the images cannot be used.

    """
    measured = measure(open_model(model, device=device, trust=trust), data, data_dir=data_dir, strict=strict)
    if out is None and measured.own:
        out = measured.model.path
    neighbours = score_neighbours(measured, data_dir)
    extra: dict[str, Any] = {
        "data": measured.source,
        "unreadable": list(measured.bad.values()),
        "trained_on": measured.trained_on,
    }
    if neighbours is not None:
        extra["k_nn"] = neighbours.to_json()
    temperature = measured.model.manifest.temperature
    folder = Path(out) if out else None
    metrics = report(measured.outputs, measured.images.classes, temperature, folder, extra)
    corruptions = measure_corruptions(measured) if corrupt else None
    if folder is not None:
        if corruptions:
            write_json(folder / "corruptions.json", corruptions.to_json())
            save_figure(corruptions_figure(corruptions), folder / "corruptions.png")
        write_atomically(
            folder / "report.html", render_report(measured, metrics, corruptions, neighbours).encode("utf-8", "replace")
        )
    return Evaluation(
        metrics, folder, measured.notes, corruptions, measured.trained_on, neighbours, answered=answered(measured)
    )


def report(
    outputs: Outputs, classes: tuple[str, ...], temperature: float, out: Path | None, extra: dict[str, Any]
) -> Metrics:
    """Compute the metrics; with `out`, write metrics.json and confusion.png there."""
    metrics = compute_metrics(outputs.logits, outputs.labels, classes)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        calibration = judge(outputs.logits, outputs.labels, temperature).to_json()
        write_json(out / "metrics.json", {**metrics.to_json(), "calibration": calibration, **extra})
        save_figure(confusion_figure(metrics), out / "confusion.png")
    return metrics
