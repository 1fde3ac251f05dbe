"""`catseye train`: first `train`, which builds what a run needs, then `fit`, which runs the epochs.

Enters: DATA and settings. Leaves: a finished run folder. Called by cli and by `catseye.train`. `fit`
receives built objects and constructs none; what happens to one batch is in `step.py`.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from catseye.data.loaders import Loader
from catseye.data.prepare import Prepared
from catseye.errors import CatseyeError, DataError, TrainingError, UsageError
from catseye.evaluation.calibration import fit_temperature
from catseye.evaluation.evaluate import report
from catseye.evaluation.figures import curves_figure, save_figure
from catseye.evaluation.metrics import Metrics
from catseye.files import write_atomically
from catseye.machine.devices import keep_freed_memory
from catseye.manifest import Manifest
from catseye.models import registry
from catseye.runs import (
    Run,
    environment,
    load_model,
    open_run,
    save_model,
    write_json,
)
from catseye.settings.merge import load_settings, to_toml
from catseye.settings.schema import Settings
from catseye.training.assemble import (
    Assembled,
    assemble,
    data_manifest,
    find_weights,
    fit_to_data,
    make_manifest,
    prepare_data,
)
from catseye.training.checkpoints import Checkpoints, TrainingPosition
from catseye.training.distributed import (
    Processes,
    check_same_data,
    check_sizes,
    join,
    leaves_the_others,
)
from catseye.training.history import History, history_row, num_unreadable, score_of, summary_writer
from catseye.training.progress import EpochProgress, ShowProgress, name_unreadable
from catseye.training.run_folder import choose_run, continue_run, run_held, what_changed
from catseye.training.signals import StopRequest
from catseye.training.step import Trainer, train_step


@dataclass(frozen=True)
class TrainedRun:
    """A finished run and its metrics on `side`: test, or validation where there is no test split."""

    run: Run
    metrics: Metrics
    side: str
    first: bool = True  # of several processes, the one that writes and prints

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.run.path


@leaves_the_others
def train(
    data: str | Path | None = None,
    *,
    recipe: str | None = None,
    model: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    config: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    resume: str | Path | None = None,
    pretrained: bool = False,
    device: str = "auto",
    data_dir: str | Path | None = None,
    tensorboard: bool = False,
    console: Console | None = None,
    progress: ShowProgress = EpochProgress,
) -> TrainedRun:
    """Train a classifier on labelled images and measure it on held-out ones.

    `data` is a folder of class folders, a zip, a CSV file or a built-in name. `settings` is keyed by
    dotted names, `{"training.lr": 0.05}`; `overrides` are the same as text. `resume` continues an
    interrupted run with its own data and settings. `pretrained` starts from published ImageNet weights
    (recipe transfer, unless another is named); without it the default recipe is quick. Started by torchrun,
    all processes train one network together, and the first one writes the run folder. `progress` shows the epochs
    (progress.py); the lab gives one that draws them.

    Raises:
        UsageError: a setting or name is wrong. DataError: the images cannot be used.
        TrainingError: the loss is not finite, or memory is too short. WorkerError: a process that decodes
            images died. SaveError: the disk is full. Interrupted: a signal came; the run was saved.

    """
    processes, where = join(device)
    console = (console or Console(stderr=True)) if processes.first else Console(quiet=True)
    if where.type == "cpu":
        keep_freed_memory()
    if resume is not None:
        given = {"data": data, "out": out, "model": model, "epochs": epochs, "seed": seed, "config": config}
        given |= {"recipe": recipe, "pretrained": pretrained or None}
        changed = [*(settings or {}), *overrides]
        return _resume(open_run(resume), given, changed, where, tensorboard, console, processes, progress)
    if data is None:
        raise UsageError("DATA is missing: a folder of class folders, a .zip, a .csv or a built-in name such as digits")
    values: dict[str, object] = dict(settings or {})
    for key, value in (("model.name", model), ("training.epochs", epochs), ("seed", seed)):
        if value is not None:
            values[key] = value
    recipe = recipe or ("transfer" if pretrained else "quick")
    if pretrained and not (settings or {}).get("transfer.strategy"):
        values.setdefault("transfer.strategy", "auto")
    chosen = load_settings(recipe, config=Path(config) if config else None, overrides=overrides, values=values)
    check_sizes(chosen, processes)
    registry.entry(chosen.model.name)  # an unknown network is told before minutes go into decoding
    folder = Path(data_dir) if data_dir else None
    published = find_weights(chosen, console)
    expected = published.expected if published else None
    prepared = prepare_data(str(data), chosen, where, folder, console, expected, processes.per_node)
    check_same_data(prepared, processes)
    chosen = fit_to_data(chosen, prepared, console)
    built = assemble(chosen, prepared, where, published, console, processes)
    run, half_done = choose_run(out, chosen, prepared, processes)
    with run_held(run, processes):
        if processes.first and not half_done:
            write_json(run.path / "data.json", data_manifest(prepared, folder))
            if built.plan:
                write_json(run.path / "transfer.json", built.plan.to_json())
            write_atomically(run.path / "settings.toml", to_toml(chosen))  # the last one: it makes the folder a run
        processes.wait()
        if not (run.path / "settings.toml").exists():
            raise UsageError(f"the run folder must be seen from every machine; {run.path} is not; give a shared --out")
        position = continue_run(run, built.trainer, console) if half_done else TrainingPosition()
        return _fit_and_report(run, built, prepared, chosen, position, tensorboard, console, progress)


def _resume(
    run: Run,
    given: Mapping[str, Any],
    changed: list[str],
    where: torch.device,
    tensorboard: bool,
    console: Console,
    processes: Processes,
    progress: ShowProgress,
) -> TrainedRun:
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"--{name} would do nothing with --resume: the run keeps its own; leave it out")
    if changed:
        raise UsageError(f"--set {changed[0]} would do nothing with --resume: the run keeps its own; leave it out")
    with run_held(run, processes):
        if run.finished:
            raise UsageError(f"{run.path} has nothing to continue: it is finished; train anew with another --out")
        chosen, recorded = run.settings, run.data
        if "near_copies" not in recorded:  # a run of before 0.2, whose split did not look at them
            chosen = chosen.model_copy(update={"data": chosen.data.model_copy(update={"near_copies": "ignore"})})
        folder = Path(recorded["data_dir"]) if recorded["data_dir"] else None
        check_sizes(chosen, processes)
        published = find_weights(chosen, console)
        expected = published.expected if published else None
        prepared = prepare_data(recorded["source"], chosen, where, folder, console, expected, processes.per_node)
        check_same_data(prepared, processes)
        splits = data_manifest(prepared, folder)["splits"]
        if prepared.data_sha256 != recorded["sha256"] or splits != recorded["splits"]:
            raise UsageError(what_changed(recorded, splits))
        built = assemble(chosen, prepared, where, published, console, processes)
        position = continue_run(run, built.trainer, console)
        return _fit_and_report(run, built, prepared, chosen, position, tensorboard, console, progress)


def _fit_and_report(
    run: Run,
    built: Assembled,
    prepared: Prepared,
    chosen: Settings,
    position: TrainingPosition,
    tensorboard: bool,
    console: Console,
    progress: ShowProgress,
) -> TrainedRun:
    begun = time.monotonic()
    trainer, manifest = built.trainer, make_manifest(chosen, prepared, built.architecture)
    processes = trainer.processes
    with StopRequest(processes.largest) as stop:
        checkpoints = Checkpoints(run, trainer, stop, chosen.training.checkpoint_s)
        writer = summary_writer(run) if tensorboard and processes.first else None
        history = History(run, position.epoch, writer)
        fit(trainer, built.loaders, run, chosen, manifest, position, history, checkpoints, console, progress)
        processes.wait()  # until the first one has written the best weights
        side = "test" if prepared.counts["test"] else "val"
        best, _ = load_model(run.path, next(trainer.model.parameters()).device)
        with checkpoints.kept(position):
            visit = partial(checkpoints.look, position)
            if prepared.counts["val"]:
                held_out = processes.collect(best, prepared.loaders["val"], prepared.spec, after_batch=visit)
                temperature = fit_temperature(held_out.logits, held_out.labels)
                manifest = manifest.model_copy(update={"temperature": temperature})
            outputs = processes.collect(best, prepared.loaders[side], prepared.spec, after_batch=visit)
        seen = {"split": side, "data": prepared.images.source, "best_epoch": position.best_epoch + 1}
        folder = run.path if processes.first else None
        metrics = report(outputs, manifest.classes, manifest.temperature, folder, seen)
        if not processes.first:
            return TrainedRun(run, metrics, side, first=False)
        save_figure(curves_figure(history.rows), run.path / "curves.png")
        scores = {
            f"{side}_accuracy": metrics.accuracy,
            f"{side}_accuracy_low": metrics.accuracy_low,
            f"{side}_accuracy_high": metrics.accuracy_high,
            f"{side}_macro_f1": metrics.macro.f1,
            f"{side}_num_images": metrics.num_images,
        }
        provenance = manifest.provenance.model_copy(update={"metrics": scores})
        save_model(run.model_path, best.state_dict(), manifest.model_copy(update={"provenance": provenance}))
        spent = {"training_seconds": round(sum(row["seconds"] for row in history.rows), 2)}
        write_json(run.path / "environment.json", {**environment(), **spent, "num_parts": trainer.num_parts})
        checkpoints.discard()
    console.print(f"trained and measured in {time.monotonic() - begun:.1f} s", highlight=False)
    return TrainedRun(run, metrics, side)


def fit(
    trainer: Trainer,
    loaders: Mapping[str, Loader],
    run: Run,
    chosen: Settings,
    manifest: Manifest,
    position: TrainingPosition,
    history: History,
    checkpoints: Checkpoints,
    console: Console,
    show: ShowProgress = EpochProgress,
) -> None:
    """Run the epochs from `position` on; the best weights end up in the run's model.safetensors.

    With a validation split and `training.keep = "best"` the metric `training.best_by` chooses the epoch.
    Otherwise the last weights are kept; the numbers per epoch are then shown but choose nothing.
    """
    training, loader = chosen.training, loaders["train"]
    processes = trainer.processes
    side = "val" if len(loaders["val"].indices) else "test"
    choosing = side == "val" and training.keep == "best"
    progress = show(console, training.epochs, loader.num_batches, trainer.step)
    trainer.model.train()
    with progress, checkpoints.kept(position):
        while position.epoch < training.epochs:
            if training.patience and position.epoch - 1 - position.best_epoch >= training.patience:
                console.print(f"no better epoch for {training.patience}: stopped", highlight=False)
                break
            num_bad = num_unreadable(loaders)
            _run_epoch(trainer, loader, position, checkpoints, progress)
            scored = trainer.ema.model if trainer.ema else trainer.model
            visit = partial(checkpoints.look, position)
            outputs = processes.collect(scored, loaders[side], trainer.spec, trainer.precision, after_batch=visit)
            row = history_row(position, trainer, loaders, side, outputs)
            score = score_of(training.best_by, outputs)
            better = position.best is None or score > position.best
            best = math.isfinite(score) and (better if choosing else position.epoch == training.epochs - 1)
            if best:
                position.best, position.best_epoch = score if choosing else None, position.epoch
            if best and processes.first:
                save_model(run.model_path, trainer.whole_state(scored), manifest)
            if processes.first:
                history.append(row)
            progress.look(scored, outputs)
            progress.epoch_line(row, best=best and choosing)
            if num_unreadable(loaders) > num_bad:
                name_unreadable(loaders, console)
            _begin_next_epoch(position)
            checkpoints.save(position)
            checkpoints.look(position)
    if position.best_epoch < 0:
        raise TrainingError("no epoch to be kept had finite answers; try a smaller training.lr or training.clip_norm=1")


def _run_epoch(
    trainer: Trainer, loader: Loader, position: TrainingPosition, checkpoints: Checkpoints, progress: EpochProgress
) -> None:
    begun, before = time.monotonic(), position.num_images
    spent = position.seconds_s
    loss_sum, num_correct = torch.tensor(position.loss_sum), torch.tensor(position.num_correct)

    def note() -> None:
        # The sums stay on the device until here; reading them at every step would make a GPU wait.
        position.loss_sum, position.num_correct = float(loss_sum), int(num_correct)
        position.seconds_s = spent + time.monotonic() - begun

    try:
        for batch in loader.epoch(position.epoch, start=position.batch):
            parts = trainer.num_parts
            result = train_step(trainer, batch)
            loss_sum = loss_sum.to(result.loss.device) + result.loss * result.num_images
            num_correct = num_correct.to(result.loss.device) + result.num_correct
            position.num_images += result.num_images
            position.batch = batch.place + 1
            if trainer.num_parts > parts:
                progress.say_parts(trainer.step, loader.batch_size, trainer.num_parts)
            if progress.due():
                progress.show(
                    step=trainer.step,
                    epoch=position.epoch,
                    loss=float(loss_sum) / position.num_images,
                    accuracy=int(num_correct) / position.num_images,
                    images_per_s=(position.num_images - before) / (time.monotonic() - begun),
                )
            if checkpoints.due():
                note()
                checkpoints.visit(position)
    except CatseyeError:
        note()
        raise
    note()
    position.batch = loader.num_batches
    if not position.num_images:
        raise DataError(
            f"no training image could be read in epoch {position.epoch + 1}, e.g. {next(iter(loader.bad.values()))}"
        )


def _begin_next_epoch(position: TrainingPosition) -> None:
    position.epoch += 1
    position.batch, position.loss_sum, position.num_correct, position.num_images = 0, 0.0, 0, 0
    position.seconds_s = 0.0
