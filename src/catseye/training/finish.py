"""The end of a run: its best weights are measured on held-out images and its folder is completed.

Enters: a session and the record of a run whose epochs are done. Leaves: `TrainedRun`. Called by fit.py. The
temperature is fitted on validation images, never on the test images.
"""

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure
from torch import nn

from catseye.classifier import Classifier
from catseye.data.sources import ImageSet
from catseye.epochs import EpochRows
from catseye.evaluation.calibration import fit_temperature
from catseye.evaluation.evaluate import report
from catseye.evaluation.figures import curves_figure, save_figure
from catseye.evaluation.metrics import Metrics
from catseye.manifest import Manifest
from catseye.runs import Run, environment, load_model, save_model, write_json
from catseye.settings.schema import Settings
from catseye.training.assemble import Assembled
from catseye.training.known import learn_familiarity
from catseye.training.run_folder import RunRecord
from catseye.training.session import RunSession


@dataclass(frozen=True)
class TrainedRun:
    """A finished run and its metrics on `side`: test, or validation where there is no test split.

    It stands for the run folder wherever a model is asked for. Images that were given in Python are in `images`, so
    that the run finds them as long as this is held.
    """

    run: Run
    metrics: Metrics
    side: str
    first: bool = True  # of several processes, the one that writes and prints
    inference_s: float = 0.0  # for one pass over the images of `side`
    input_px: int = 0  # shorter side of the network's input
    images: ImageSet | None = field(default=None, repr=False)

    def __fspath__(self) -> str:
        """The run folder."""
        return str(self.run.path)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.run.path

    @property
    def settings(self) -> Settings:
        """Everything that decided what the run computed."""
        return self.run.settings

    @property
    def history(self) -> EpochRows:
        """One row per finished epoch; `.plot()` draws them."""
        return self.run.history

    @property
    def model(self) -> nn.Module:
        """The network with the run's weights, on the CPU, in evaluation mode; see `Run.model`."""
        return self.run.model

    @property
    def classifier(self) -> Classifier:
        """The model, ready to be asked about images."""
        return self.run.classifier

    def show_batch(self, num_images: int = 16, *, epoch: int = 0) -> Figure:
        """Training images as the network sees them, augmented, with their classes; see `catseye.show_batch`."""
        return self.run.show_batch(num_images, epoch=epoch)

    def _repr_html_(self) -> str:
        return self.run._repr_html_()


def finish(session: RunSession, built: Assembled, record: RunRecord) -> TrainedRun:
    """Measure the weights that the run kept, write its results and remove its checkpoints."""
    prepared, processes, run, position = session.prepared, session.place.processes, record.run, record.position
    processes.wait()  # until the first one has written the best weights
    manifest, side = record.manifest, session.held_out
    best, _ = load_model(run.path, session.place.device)
    with record.checkpoints.kept(position):
        visit = partial(record.checkpoints.look, position)
        if prepared.counts["val"]:
            held_out = processes.collect(best, prepared.loaders["val"], prepared.spec, after_batch=visit)
            temperature = fit_temperature(held_out.logits, held_out.labels)
            manifest = manifest.model_copy(update={"temperature": temperature})
        begun = time.perf_counter()
        outputs = processes.collect(best, prepared.loaders[side], prepared.spec, after_batch=visit)
        inference_s = time.perf_counter() - begun
    seen = {"split": side, "data": prepared.images.source, "best_epoch": position.best_epoch + 1}
    folder = run.path if processes.first else None
    metrics = report(outputs, manifest.classes, manifest.temperature, folder, seen)
    if not processes.first:
        return TrainedRun(run, metrics, side, first=False)
    # After what all processes do together: they align the tensors of their networks, and only the first has these.
    threshold = learn_familiarity(best, session, built)
    manifest = manifest.model_copy(update={"familiarity_threshold": threshold})
    rows = record.history.rows
    save_figure(curves_figure(rows), run.path / "curves.png")
    save_model(run.model_path, best.state_dict(), _with_scores(manifest, side, metrics))
    spent = {"training_seconds": round(sum(row["seconds"] for row in rows), 2)}
    write_json(run.path / "environment.json", {**environment(), **spent, "num_parts": built.state.num_parts})
    record.checkpoints.discard()
    return TrainedRun(
        run, metrics, side, True, inference_s, min(prepared.spec.height_px, prepared.spec.width_px), prepared.images
    )


def _with_scores(manifest: Manifest, side: str, metrics: Metrics) -> Manifest:
    scores = {
        f"{side}_accuracy": metrics.accuracy,
        f"{side}_accuracy_low": metrics.accuracy_low,
        f"{side}_accuracy_high": metrics.accuracy_high,
        f"{side}_macro_f1": metrics.macro.f1,
        f"{side}_num_images": metrics.num_images,
    }
    return manifest.model_copy(update={"provenance": manifest.provenance.model_copy(update={"metrics": scores})})
