"""The end of a run: measures its best weights and completes its folder.

Enters: a session, its loaders and the run whose training is done. Leaves: `TrainedRun`. Called by train.py, and by the
trials. The temperature is fitted on validation images, never on the test images. If features of a frozen
backbone are known already, only the head runs.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn

from catseye.classifier import Classifier
from catseye.data.loaders import Loader, draw_part
from catseye.data.sources import ImageSet
from catseye.environment import environment
from catseye.epochs import EpochRows
from catseye.evaluation.calibration import fit_temperature
from catseye.evaluation.evaluate import report
from catseye.evaluation.figures import curves_figure, save_figure
from catseye.evaluation.metrics import Metrics
from catseye.evaluation.predict import Outputs
from catseye.evaluation.strangers import learn_familiarity
from catseye.manifest import Manifest
from catseye.models.familiarity import attach_familiarity
from catseye.runs import Run, load_model, save_model, write_json
from catseye.settings.schema import Settings
from catseye.training.assemble import Assembled
from catseye.training.cached_features import FeatureLoader, in_order
from catseye.training.run_folder import RunRecord
from catseye.training.session import RunSession

NUM_SMALL, NUM_LARGE, SMALL_PX = 2000, 500, 64  # images used for familiarity, by the side of the input


@dataclass(frozen=True)
class TrainedRun:
    """A finished run and its metrics on `side`: test, or else validation.

    It can be passed wherever a model is expected. Images given in Python are kept in `images`, so that the run
    finds them as long as this object exists.
    """

    run: Run
    metrics: Metrics
    side: str
    first: bool = True  # whether this process is the one that writes and prints
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
        """The network with the run's weights, on the CPU; see `Run.model`.

        It is in evaluation mode.
        """
        return self.run.model

    @property
    def classifier(self) -> Classifier:
        """The model, ready to classify images."""
        return self.run.classifier

    def show_batch(self, num_images: int = 16, *, epoch: int = 0) -> Figure:
        """Training images as the network gets them; see `catseye.show_batch`.

        They are augmented, and each has its class.
        """
        return self.run.show_batch(num_images, epoch=epoch)

    def _repr_html_(self) -> str:
        return self.run._repr_html_()


def finish(session: RunSession, built: Assembled, record: RunRecord) -> TrainedRun:
    """Measure the weights that the run kept, write results, remove checkpoints."""
    session.place.processes.wait()  # until the first process has written the best weights
    position = record.position
    with record.checkpoints.kept(position):
        trained = measure_and_complete(
            session,
            built.loaders,
            record.run,
            record.manifest,
            seen={"best_epoch": position.best_epoch + 1},
            rows=record.history.rows,
            spent={"num_parts": built.state.num_parts},
            visit=partial(record.checkpoints.look, position),
        )
    if trained.first:
        record.checkpoints.discard()
    return trained


def measure_and_complete(
    session: RunSession,
    loaders: Mapping[str, Loader],
    run: Run,
    manifest: Manifest,
    *,
    seen: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    spent: Mapping[str, Any],
    visit: Callable[[], None] | None = None,
) -> TrainedRun:
    """Measure a run's model and complete its folder.

    Temperature, metrics, familiarity and figures come first, environment.json last.

    `loaders` are those of the training, of images or of features; `visit` may stop the measurement with an error.
    """
    processes, side = session.place.processes, session.held_out
    best, _ = load_model(run.path, session.place.device)
    answers = None
    if session.prepared.counts["val"]:
        answers = collect_answered(best, session, loaders, "val", visit)
        manifest = manifest.model_copy(update={"temperature": fit_temperature(answers.logits, answers.labels)})
    begun = time.perf_counter()
    if answers is None or side != "val":
        answers = collect_answered(best, session, loaders, side, visit)
    inference_s = time.perf_counter() - begun
    facts = {"split": side, "data": session.prepared.images.source, **seen}
    metrics = report(answers, manifest.classes, manifest.temperature, run.path if processes.first else None, facts)
    if not processes.first:
        return TrainedRun(run, metrics, side, first=False)
    # Only after all joint work: processes align the tensors of their networks, and only the first has these.
    manifest = manifest.model_copy(update={"familiarity_threshold": attach_known(best, session, loaders)})
    if rows:
        save_figure(curves_figure(rows), run.path / "curves.png")
    save_model(run.model_path, best.state_dict(), _with_scores(manifest, side, metrics))
    seconds = {"training_seconds": round(sum(row["seconds"] for row in rows), 2)}
    write_json(run.path / "environment.json", {**environment(), **seconds, **spent})
    spec = session.prepared.spec
    shorter_px = min(spec.height_px, spec.width_px)
    return TrainedRun(run, metrics, side, True, inference_s, shorter_px, session.prepared.images)


def collect_answered(
    model: nn.Module,
    session: RunSession,
    loaders: Mapping[str, Loader],
    side: str,
    visit: Callable[[], None] | None = None,
) -> Outputs:
    """A split's logits; computed by the head alone if the split's features are known."""
    known = isinstance(loaders[side], FeatureLoader)
    part = model.get_submodule("head") if known else model
    loader = loaders[side] if known else session.prepared.loaders[side]
    return session.place.processes.collect(part, loader, session.prepared.spec, after_batch=visit)


def attach_known(model: nn.Module, session: RunSession, loaders: Mapping[str, Loader]) -> float | None:
    """Fit familiarity into the network.

    Returns the threshold below which it answers "unknown", if any.
    """
    prepared, seed = session.prepared, session.settings.seed
    train, unseen = loaders["train"].share(0, 1), loaders["val"]
    if not isinstance(train, FeatureLoader):
        train = draw_part(
            train, NUM_SMALL if max(prepared.spec.height_px, prepared.spec.width_px) <= SMALL_PX else NUM_LARGE, seed
        )
    if not isinstance(unseen, FeatureLoader):
        unseen = draw_part(unseen, NUM_SMALL, seed)
    plain = in_order(train, plain=True)
    fit = learn_familiarity(model, plain, unseen, prepared.spec, len(prepared.images.classes))
    if fit is None:
        return None
    attach_familiarity(model, torch.from_numpy(fit.scale), torch.from_numpy(fit.centres))
    return fit.threshold


def _with_scores(manifest: Manifest, side: str, metrics: Metrics) -> Manifest:
    scores = {
        f"{side}_accuracy": metrics.accuracy,
        f"{side}_accuracy_low": metrics.accuracy_low,
        f"{side}_accuracy_high": metrics.accuracy_high,
        f"{side}_macro_f1": metrics.macro.f1,
        f"{side}_num_images": metrics.num_images,
    }
    return manifest.model_copy(update={"provenance": manifest.provenance.model_copy(update={"metrics": scores})})
