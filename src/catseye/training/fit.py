"""`catseye train`: first `train`, which builds what a run needs, then `fit`, which runs the epochs.

Enters: DATA and settings. Leaves: a finished run folder. Called by cli and by `catseye.train`. `fit`
receives built objects and constructs none; what happens to one batch is in `step.py`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from catseye.config import Settings, load_settings, to_toml
from catseye.data.loaders import Loader
from catseye.data.prepare import Prepared
from catseye.devices import choose_device, keep_freed_memory
from catseye.errors import Interrupted, UsageError
from catseye.evaluation.calibration import fit_temperature
from catseye.evaluation.evaluate import report
from catseye.evaluation.figures import curves_figure, save_figure
from catseye.evaluation.metrics import Metrics, confusion_matrix, cross_entropy, macro_f1
from catseye.evaluation.predict import Outputs, collect_logits
from catseye.manifest import Manifest
from catseye.models import registry
from catseye.runs import (
    CHECKPOINT_FILE,
    Run,
    create_run,
    environment,
    load_model,
    locked,
    open_run,
    save_model,
    write_atomically,
    write_json,
)
from catseye.training.assemble import (
    Assembled,
    assemble,
    data_manifest,
    find_weights,
    fit_to_data,
    make_manifest,
    prepare_data,
)
from catseye.training.checkpoints import Position, load_checkpoint, save_checkpoint
from catseye.training.history import History, summary_writer
from catseye.training.progress import EpochProgress
from catseye.training.signals import StopRequest
from catseye.training.step import Trainer, train_step


@dataclass(frozen=True)
class Trained:
    """A finished run and its metrics on `side`: test, or validation where there is no test split."""

    run: Run
    metrics: Metrics
    side: str

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.run.path


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
) -> Trained:
    """Train a classifier on labelled pictures and measure it on held-out ones.

    `data` is a folder of class folders, a zip, a CSV file or a built-in name. `settings` is keyed by
    dotted names, `{"training.lr": 0.05}`; `overrides` are the same as text. `resume` continues an
    interrupted run with its own data and settings. `pretrained` starts from published ImageNet weights
    (recipe transfer, unless another is named); without it the default recipe is quick.

    Raises:
        UsageError: a setting or name is wrong. DataError: the pictures cannot be used.
        TrainingError: the loss is not finite. Interrupted: a signal came; the run was saved.

    """
    console = console or Console(stderr=True)
    where = choose_device(device)
    if where.type == "cpu":
        keep_freed_memory()
    if resume is not None:
        given = {"data": data, "out": out, "model": model, "epochs": epochs, "seed": seed, "config": config}
        given |= {"recipe": recipe, "pretrained": pretrained or None}
        return _resume(open_run(resume), given, [*(settings or {}), *overrides], where, tensorboard, console)
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
    registry.entry(chosen.model.name)  # an unknown network is told before minutes go into decoding
    folder = Path(data_dir) if data_dir else None
    published = find_weights(chosen, console)
    prepared = prepare_data(str(data), chosen, where, folder, console, published.expected if published else None)
    chosen = fit_to_data(chosen, prepared, console)
    built = assemble(chosen, prepared, where, published, console)
    run = create_run(out, f"{Path(prepared.pictures.source).stem}-{chosen.model.name}")
    write_atomically(run.path / "settings.toml", to_toml(chosen))
    write_json(run.path / "data.json", data_manifest(prepared, folder))
    if built.plan:
        write_json(run.path / "transfer.json", built.plan.to_json())
    return _fit_and_report(run, built, prepared, chosen, Position(), tensorboard, console)


def _resume(
    run: Run, given: Mapping[str, Any], changed: list[str], where: torch.device, tensorboard: bool, console: Console
) -> Trained:
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"--{name} would do nothing with --resume: the run keeps its own; leave it out")
    if changed:
        raise UsageError(f"--set {changed[0]} would do nothing with --resume: the run keeps its own; leave it out")
    checkpoint = run.path / CHECKPOINT_FILE
    if not checkpoint.exists():
        raise UsageError(f"{run.path} has nothing to continue: no {CHECKPOINT_FILE}; it is finished or never began")
    chosen, recorded = run.settings, run.data
    folder = Path(recorded["data_dir"]) if recorded["data_dir"] else None
    published = find_weights(chosen, console)
    expected = published.expected if published else None
    prepared = prepare_data(recorded["source"], chosen, where, folder, console, expected)
    if prepared.data_sha256 != recorded["sha256"]:
        raise UsageError(f"{recorded['source']} has changed since the run began; put it back or start a new run")
    built = assemble(chosen, prepared, where, published, console)
    position = load_checkpoint(checkpoint, built.trainer)
    console.print(f"continuing {run.path} at epoch {position.epoch + 1}, batch {position.batch + 1}", highlight=False)
    return _fit_and_report(run, built, prepared, chosen, position, tensorboard, console)


def _fit_and_report(
    run: Run,
    built: Assembled,
    prepared: Prepared,
    chosen: Settings,
    position: Position,
    tensorboard: bool,
    console: Console,
) -> Trained:
    begun = time.monotonic()
    trainer, manifest = built.trainer, make_manifest(chosen, prepared, built.architecture)
    with locked(run):
        history = History(run, position.epoch, summary_writer(run) if tensorboard else None)
        fit(trainer, built.loaders, run, chosen, manifest, position, history, console)
        save_figure(curves_figure(history.rows), run.path / "curves.png")
        side = "test" if prepared.counts["test"] else "val"
        best, _ = load_model(run.path, next(trainer.model.parameters()).device)
        if prepared.counts["val"]:
            held_out = collect_logits(best, prepared.loaders["val"], prepared.spec)
            temperature = fit_temperature(held_out.logits, held_out.labels)
            manifest = manifest.model_copy(update={"temperature": temperature})
        outputs = collect_logits(best, prepared.loaders[side], prepared.spec)
        seen = {"split": side, "data": prepared.pictures.source, "best_epoch": position.best_epoch + 1}
        metrics = report(outputs, manifest.classes, manifest.temperature, run.path, seen)
        scores = {f"{side}_accuracy": metrics.accuracy, f"{side}_macro_f1": metrics.macro.f1}
        provenance = manifest.provenance.model_copy(update={"metrics": scores})
        save_model(run.model_path, best.state_dict(), manifest.model_copy(update={"provenance": provenance}))
        spent = {"training_seconds": round(sum(row["seconds"] for row in history.rows), 2)}
        write_json(run.path / "environment.json", {**environment(), **spent})
        (run.path / CHECKPOINT_FILE).unlink(missing_ok=True)
    console.print(f"trained and measured in {time.monotonic() - begun:.1f} s", highlight=False)
    return Trained(run, metrics, side)


def fit(
    trainer: Trainer,
    loaders: Mapping[str, Loader],
    run: Run,
    chosen: Settings,
    manifest: Manifest,
    position: Position,
    history: History,
    console: Console,
) -> None:
    """Run the epochs from `position` on; the best weights end up in the run's model.safetensors.

    With a validation split and `training.keep = "best"` the metric `training.best_by` chooses the epoch.
    Otherwise the last weights are kept; the numbers per epoch are then shown but choose nothing.
    """
    training, loader = chosen.training, loaders["train"]
    side = "val" if len(loaders["val"].indices) else "test"
    choosing = side == "val" and training.keep == "best"
    progress = EpochProgress(console, training.epochs, loader.num_batches, trainer.step)
    trainer.model.train()
    with StopRequest() as stop, progress:
        while position.epoch < training.epochs:
            _run_epoch(trainer, loader, run, position, stop, progress)
            scored = trainer.ema.model if trainer.ema else trainer.model
            outputs = collect_logits(scored, loaders[side], trainer.spec, precision=trainer.precision)
            row = _history_row(position, trainer, side, outputs)
            score = _score(training.best_by, outputs)
            best = position.best is None or score > position.best if choosing else position.epoch == training.epochs - 1
            if best:
                save_model(run.model_path, trainer.whole_state(scored), manifest)
                position.best, position.best_epoch = score, position.epoch
            history.append(row)
            progress.epoch_line(row, best=best and choosing)
            _begin_next_epoch(position)
            save_checkpoint(run.path / CHECKPOINT_FILE, trainer, position)
            if training.patience and position.epoch - 1 - position.best_epoch >= training.patience:
                console.print(f"no better epoch for {training.patience}: stopped", highlight=False)
                break
            _stop_if_asked(stop, run)


def _run_epoch(
    trainer: Trainer, loader: Loader, run: Run, position: Position, stop: StopRequest, progress: EpochProgress
) -> None:
    begun, before = time.monotonic(), position.num_pictures
    spent = position.seconds_s
    loss_sum, num_correct = torch.tensor(position.loss_sum), torch.tensor(position.num_correct)
    for batch in loader.epoch(position.epoch, start=position.batch):
        result = train_step(trainer, batch)
        # Sums stay on the device; reading them would make a GPU wait.
        loss_sum = loss_sum.to(result.loss.device) + result.loss * result.num_pictures
        num_correct = num_correct.to(result.loss.device) + result.num_correct
        position.num_pictures += result.num_pictures
        position.batch += 1
        if progress.due():
            seconds = time.monotonic() - begun
            progress.show(
                step=trainer.step,
                epoch=position.epoch,
                loss=float(loss_sum) / position.num_pictures,
                accuracy=int(num_correct) / position.num_pictures,
                images_per_s=(position.num_pictures - before) / seconds,
            )
        if stop.received is not None:
            break
    position.loss_sum, position.num_correct = float(loss_sum), int(num_correct)
    position.seconds_s, position.step = spent + time.monotonic() - begun, trainer.step
    if stop.received is not None and position.batch < loader.num_batches:
        save_checkpoint(run.path / CHECKPOINT_FILE, trainer, position)
        _stop_if_asked(stop, run)


def _stop_if_asked(stop: StopRequest, run: Run) -> None:
    if stop.received is not None:
        raise Interrupted(f"stopped and saved; continue with: catseye train --resume {run.path}", stop.received)


def _begin_next_epoch(position: Position) -> None:
    position.epoch += 1
    position.batch, position.loss_sum, position.num_correct, position.num_pictures = 0, 0.0, 0, 0
    position.seconds_s = 0.0


def _score(best_by: str, outputs: Outputs) -> float:
    """Larger is better."""
    if best_by == "loss":
        return -cross_entropy(outputs.logits, outputs.labels)
    predicted = outputs.logits.argmax(1)
    if best_by == "macro_f1":
        return macro_f1(confusion_matrix(outputs.labels, predicted, outputs.logits.shape[1]))
    return float((predicted == outputs.labels).mean())


def _history_row(position: Position, trainer: Trainer, side: str, outputs: Outputs) -> dict[str, Any]:
    return {
        "epoch": position.epoch + 1,
        "train_loss": position.loss_sum / position.num_pictures,
        "train_accuracy": position.num_correct / position.num_pictures,
        f"{side}_loss": cross_entropy(outputs.logits, outputs.labels),
        f"{side}_accuracy": float((outputs.logits.argmax(1) == outputs.labels).mean()),
        "lr": trainer.schedule(trainer.step - 1)[0],
        "seconds": round(position.seconds_s, 3),
        "images_per_s": round(position.num_pictures / position.seconds_s, 1),
    }
