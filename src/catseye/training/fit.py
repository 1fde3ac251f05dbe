"""The epochs of a run.

Enters: a session, built objects, the record of a run. Leaves: the run's weights and history. Called by train.py. `fit`
constructs nothing; a single batch is handled in `step.py`.
"""

import math
import time
from functools import partial

import torch

from catseye.errors import CatseyeError, DataError, TrainingError
from catseye.training import run_folder
from catseye.training.assemble import Assembled
from catseye.training.history import history_row, num_unreadable, score_of
from catseye.training.progress import EpochProgress, name_unreadable
from catseye.training.session import RunSession
from catseye.training.step import StepResult, TrainState, train_step

SO_FAR_S = 5.0  # if no epoch is chosen, how often the newest weights are written as the run's model


def fit(session: RunSession, built: Assembled, record: run_folder.RunRecord, progress: EpochProgress) -> None:
    """Run the epochs from the record's position on.

    The best weights end up in the run's model.safetensors.

    With a validation split and `training.keep = "best"` the metric `training.best_by` chooses the epoch.
    Otherwise the last weights are kept; the numbers per epoch are then shown but choose nothing.
    """
    training, console, processes = session.settings.training, session.place.console, session.place.processes
    state, loaders = built.state, built.loaders
    position, checkpoints = record.position, record.checkpoints
    side = "val" if len(loaders["val"].indices) else "test"
    choosing = side == "val" and training.keep == "best"
    state.model.train()
    written_at = -math.inf
    with progress, checkpoints.kept(position):
        while position.epoch < training.epochs:
            if training.patience and position.epoch - 1 - position.best_epoch >= training.patience:
                console.print(f"no better epoch for {training.patience}: stopped", highlight=False)
                break
            num_bad = num_unreadable(loaders)
            _run_epoch(built, record, progress)
            scored = state.ema.model if state.ema else state.model
            visit = partial(checkpoints.look, position)
            outputs = processes.collect(scored, loaders[side], state.spec, state.precision, after_batch=visit)
            row = history_row(position, state, loaders, side, outputs)
            score = score_of(training.best_by, outputs)
            better = position.best is None or score > position.best
            best = math.isfinite(score) and (better if choosing else position.epoch == training.epochs - 1)
            if best:
                position.best, position.best_epoch = score if choosing else None, position.epoch
            # Where the last epoch counts, earlier ones are written as a provisional model.
            late = time.monotonic() - written_at >= SO_FAR_S
            if processes.first and (best or (not choosing and math.isfinite(score) and late)):
                record.keep(state.whole_state(scored))
                written_at = time.monotonic()
            if processes.first:
                record.history.append(row)
            progress.look(scored, outputs)
            progress.epoch_line(row, best=best and choosing)
            if session.own.on_epoch is not None and processes.first:
                session.own.on_epoch(row, scored)
            if num_unreadable(loaders) > num_bad:
                name_unreadable(loaders, console)
            position.begin_next_epoch()
            checkpoints.save(position)
            checkpoints.look(position)
    if position.best_epoch < 0:
        raise TrainingError("no epoch gave finite answers; try a smaller training.lr or training.clip_norm=1")


class _EpochSums:
    """Loss and correct answers of an epoch so far.

    They stay on the device, because reading them makes a GPU wait.
    """

    def __init__(self, record: run_folder.RunRecord, state: TrainState) -> None:
        self.record, self.state, position = record, state, record.position
        self.begun, self.images_before, self.seconds_before = time.monotonic(), position.num_images, position.seconds_s
        self.loss_sum, self.num_correct = torch.tensor(position.loss_sum), torch.tensor(position.num_correct)

    def add(self, results: list[StepResult]) -> None:
        """Count the results of some steps."""
        position, watch, schedule = self.record.position, self.record.watch, self.state.schedule
        for result in results:
            self.loss_sum = self.loss_sum.to(result.loss.device) + result.loss * result.num_images
            self.num_correct = self.num_correct.to(result.loss.device) + result.num_correct
            position.num_images += result.num_images
            position.batch = result.place + 1
        for result in results:  # after all are counted, because it may raise
            watch.note(result.loss, result.step, schedule(result.step - 1)[0])

    def add_the_rest(self) -> None:
        """Wait for steps that were launched, and count them."""
        while self.record.captured and (results := self.record.captured.finish()):
            self.add(results)

    def show(self, progress: EpochProgress) -> None:
        """Show the means."""
        position = self.record.position
        progress.show(
            step=self.state.step,
            epoch=position.epoch,
            loss=float(self.loss_sum) / position.num_images,
            accuracy=int(self.num_correct) / position.num_images,
            images_per_s=(position.num_images - self.images_before) / (time.monotonic() - self.begun),
        )

    def store(self) -> None:
        """Write the sums into the position, which checkpoints contain."""
        position = self.record.position
        position.loss_sum, position.num_correct = float(self.loss_sum), int(self.num_correct)
        position.seconds_s = self.seconds_before + time.monotonic() - self.begun


def _run_epoch(built: Assembled, record: run_folder.RunRecord, progress: EpochProgress) -> None:
    state, loader = built.state, built.loaders["train"]
    position, checkpoints, captured = record.position, record.checkpoints, record.captured
    sums = _EpochSums(record, state)
    try:
        for batch in loader.epoch(position.epoch, start=position.batch):
            parts = state.num_parts
            sums.add(captured.take(batch) if captured else [train_step(state, batch)])
            if state.num_parts > parts:
                progress.say_parts(state.step, loader.batch_size, state.num_parts)
            if progress.due() and position.num_images:
                sums.show(progress)
            if checkpoints.due():
                sums.add_the_rest()
                sums.store()
                checkpoints.visit(position)
        sums.add_the_rest()
        record.watch.look(state.step, state.schedule(max(0, state.step - 1))[0])
    except CatseyeError:
        try:
            sums.add_the_rest()
        finally:
            sums.store()
        raise
    sums.store()
    position.batch = loader.num_batches
    if not position.num_images:
        raise DataError(
            f"no training image could be read in epoch {position.epoch + 1}, e.g. {next(iter(loader.bad.values()))}"
        )
