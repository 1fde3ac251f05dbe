"""`catseye train`: builds what a run needs, trains it and measures it.

Enters: DATA and settings. Leaves: a finished run folder. Called by cli and as `catseye.train`. The epochs are in
`fit.py`, trials in `trials/ladder.py`.
"""

import time
from typing import Any, Unpack

from catseye.data.sources import Images, with_labels
from catseye.errors import Diverged, UsageError
from catseye.files import StrPath
from catseye.machine.waiting import silenced
from catseye.training import run_folder
from catseye.training.assemble import Assembled, assemble
from catseye.training.distributed import leaves_the_group
from catseye.training.finish import TrainedRun, finish
from catseye.training.fit import fit
from catseye.training.in_processes import train_in_processes
from catseye.training.request import RunRequest, TrainOptions, make_request, refuse_with_resume, requested_settings
from catseye.training.session import (
    RunSession,
    Workplace,
    find_workplace,
    open_session,
    reopen_session,
    with_a_tenth_of_the_rate,
)
from catseye.training.threads import measured_threads
from catseye.training.trials.ladder import search_for_best, searches


@leaves_the_group
def train(data: Images | None = None, labels: Any = None, **options: Unpack[TrainOptions]) -> TrainedRun:
    """Train a classifier on labelled images and measure it on held-out ones.

    `data` is a path (a folder of class folders, a .zip, a .tar, a list as .csv or .parquet, a data set on disk), an
    address of a list, or a built-in name such as digits. Or it is data in memory: images with separate
    `labels`, a data set of torch or Hugging Face, a data frame, or a mapping of splits to any of these. Images are
    uint8 arrays (N, H, W, C), a list of arrays, Pillow images or paths; `labels` (N,) are numbers or texts.

    The options, all of them by name:

    - `time`: "10m" or seconds: the best model that trials find in that time. Otherwise the epochs decide.
    - `recipe`, `model`, `epochs`, `seed`: a recipe's name or file (auto without it, transfer with `pretrained`), a
      network's name (or an `nn.Module`, its class, or a function that builds one), the number of epochs, the
      random seed.
    - `set`: settings keyed by dotted names, `{"training.lr": 0.05}`, or as text, `["training.lr=0.05"]`; `settings` and
      `overrides` are its older names. `config`: a settings file on top of the recipe. `no_skip`, `strict`: short for
      `model.skip=false` and `data.strict=true`.
    - `pretrained`: start from published ImageNet weights. `strategy`, `weights`: how, and from which file. `teacher`: a
      run whose answers are learnt too.
    - `layout`, `image_column`, `label_column`, `split_column`, `group_column`: how `data` is read; `path`, `label`,
      `split` and `group` are short for the columns, as in `train(df, path="file", label="y")`.
    - `corrections`: a file of decisions of `catseye review`, applied to the labels.
    - `augment`: your function from a batch (N, C, H, W) float in [0, 1] to the same shape, after catseye's own.
      `loss`: your function of logits (N, K) and labels (N,), or soft targets (N, K) where images are mixed, to their
      mean loss. `on_epoch(row, model)` is called after every epoch. Code is stored by its import path only.
    - `out`: the run folder. `resume`: an interrupted run, which continues with its own data and settings; `data` is
      then left out, or is the new place of its images.
    - `device`: auto, cpu, cuda, mps. `data_dir`: where built-in data sets are kept. `nproc`: number of processes, one
      per GPU; `max_restarts`: how often they may restart from the checkpoint.
    - `track`: "tensorboard", "mlflow", "mlflow:URI" or "wandb" records the run too; nothing is uploaded by default.
      `tensorboard=True` is short for the first. `console`: where lines are printed, by default standard error.
      `progress=None` is silent; else it shows the epochs (progress.py). `begun_s`: time.monotonic() when the command
      began, to print how long it took.

    Started by torchrun, all processes train one network together, and the first one writes the run folder.

    Raises:
        UsageError: an option, a setting or a name is wrong. DataError: the images cannot be used.
        TrainingError: the loss grew without bound, or memory is too short. WorkerError: a process that decodes
            images died. SaveError: the disk is full. Interrupted: a signal came; the run was saved.

    """
    if options.get("nproc", 1) > 1:
        return train_in_processes(data, dict(options))
    if options.get("max_restarts"):
        raise UsageError("--max-restarts would do nothing without --nproc 2 or more; leave it out")
    request = make_request(with_labels(data, labels), options, TrainOptions)
    with silenced(options.get("progress", "") is None):
        return _train(request)


def _train(request: RunRequest) -> TrainedRun:
    place = find_workplace(request)
    if request.resume is not None:
        return _resume(request, request.resume, place)
    session = open_session(request, requested_settings(request), place)
    if searches(session):
        run, _ = run_folder.choose_run(request.out, session)
        with run_folder.run_held(run, place.processes):
            return _timed(request, place, search_for_best(request, session, run, is_new=True))
    built = assemble(session)
    run, half_done = run_folder.choose_run(request.out, session)
    with run_folder.run_held(run, place.processes):
        if half_done:
            position = run_folder.continue_run(run, built.state, place.console)
        else:
            position = run_folder.begin_run(run, session, built)
        try:
            with run_folder.keep_record(session, built, run, position, track=request.trackers) as record:
                return train_to_the_end(request, session, built, record)
        except Diverged as error:
            if session.decided is None or 2 * position.epoch >= session.settings.training.epochs:
                raise  # the user's own settings are not changed, and half a run is not discarded
            place.say(f"- {str(error).partition('; try')[0]}")
        # Retry outside the handler: inside it, the error holds the failed attempt's tensors.
        del built
        session = with_a_tenth_of_the_rate(session)
        place.say(f"auto: restarted with a tenth of the learning rate, {session.settings.training.lr:.3g}")
        built = assemble(session)
        position = run_folder.begin_run(run, session, built)
        with run_folder.keep_record(session, built, run, position, track=request.trackers) as record:
            return train_to_the_end(request, session, built, record)


def _resume(request: RunRequest, path: StrPath, place: Workplace) -> TrainedRun:
    run = run_folder.find_unfinished(path)
    refuse_with_resume(request)
    with run_folder.run_held(run, place.processes):
        run_folder.refuse_finished(run)
        session = reopen_session(run, place, request)
        if searches(session):
            run_folder.note_place(run, session)
            return _timed(request, place, search_for_best(request, session, run, is_new=False))
        built = assemble(session)
        position = run_folder.continue_run(run, built.state, place.console)
        run_folder.note_place(run, session)
        with run_folder.keep_record(session, built, run, position, track=request.trackers) as record:
            return train_to_the_end(request, session, built, record)


def train_to_the_end(
    request: RunRequest, session: RunSession, built: Assembled, record: run_folder.RunRecord
) -> TrainedRun:
    """Run the remaining epochs, and measure."""
    console = session.place.console
    num_batches = built.loaders["train"].num_batches
    progress = request.progress(console, session.settings.training.epochs, num_batches, built.state.step)
    with measured_threads(record.run, built):
        fit(session, built, record, progress)
    return _timed(request, session.place, finish(session, built, record))


def _timed(request: RunRequest, place: Workplace, trained: TrainedRun) -> TrainedRun:
    """Print how long the whole command took."""
    if trained.first:
        place.say(f"{time.monotonic() - request.begun_s:.1f} s from the command to the result")
    return trained
