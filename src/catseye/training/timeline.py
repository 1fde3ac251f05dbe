"""`catseye timeline`: seven CNNs of history, on the same images in the same time.

Enters: DATA and a budget per network. Leaves: timeline.json, timeline.md, timeline.png and a run folder each.
Called by cli. The published figures beside the measured ones come from models/milestones.py.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from matplotlib.figure import Figure
from rich.table import Table

from catseye.data.sources import Images, with_labels
from catseye.environment import environment
from catseye.errors import UnknownName, UsageError
from catseye.evaluation.figures import save_figure
from catseye.files import write_atomically
from catseye.models.milestones import MILESTONES, Milestone
from catseye.models.summary import summarise
from catseye.notebook import html_table
from catseye.runs import create_run, load_model, write_json
from catseye.settings.schema import Settings
from catseye.settings.typed import parse_duration
from catseye.training.assemble import assemble
from catseye.training.request import RunRequest, TimelineOptions, make_request, requested_settings
from catseye.training.run_folder import begin_run, choose_run, keep_record, run_held
from catseye.training.session import RunSession, find_workplace, open_session
from catseye.training.step import train_step
from catseye.training.train import train_to_the_end

MAX_EPOCHS = 200
MAX_TEST = 2_000  # held-out images at most, so that slow networks finish too
WARMUP_STEPS = 2
TIMED_S, MIN_TIMED_STEPS = 3.0, 3  # long enough to make slow first steps negligible


@dataclass(frozen=True)
class MilestoneResult:
    """The measured results of one network.

    `num_seen` counts images shown in training, repeats included; speeds are images/s.
    """

    name: str
    year: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    num_test: int
    num_parameters: int
    gmacs: float
    train_images_per_s: float
    inference_images_per_s: float
    num_seen: int
    epochs: int
    training_s: float
    published_top1: float | None


@dataclass(frozen=True)
class Timeline:
    """The results, the oldest network first, and the folder with a run of each."""

    folder: Path
    results: list[MilestoneResult]

    def plot(self) -> Figure:
        """Accuracy over the years, as a matplotlib figure."""
        return timeline_figure(self.results, sum(result.training_s for result in self.results) / len(self.results))

    def _repr_html_(self) -> str:
        rows = [
            (r.year, r.name, f"{r.accuracy:.1%}", f"{r.num_parameters:,}", f"{r.train_images_per_s:,.0f}", r.epochs)
            for r in self.results
        ]
        return html_table(("year", "network", "accuracy", "parameters", "images/s", "epochs"), rows)


def timeline(
    data: Images,
    labels: Any = None,
    *,
    budget: str | float = "10m",
    model: str | Sequence[str] = (),
    **options: Unpack[TimelineOptions],
) -> Timeline:
    """Train the milestones from LeNet-5 to ConvNeXt for the same time each.

    `budget` is the training time of each: "90s", "10m", "1h", or seconds. `model`: only these. `data`, `labels` and the
    options are those of `catseye.train`: `set`, `seed`, `out`, `device`, `data_dir`, `console`.

    Raises:
        UsageError: a setting is wrong. DataError: the images cannot be used.

    """
    names = [model] if isinstance(model, str) else list(model)
    seconds = parse_duration(budget) if isinstance(budget, str) else float(budget)
    return Timeline(*run_timeline(with_labels(data, labels), budget_s=seconds, names=names, **options))


def run_timeline(
    data: Images, *, budget_s: float, names: Sequence[str] = (), **options: Unpack[TimelineOptions]
) -> tuple[Path, list[MilestoneResult]]:
    """Train each milestone for `budget_s` seconds on the same images.

    Returns the folder and the results.

    The number of steps is computed beforehand from a few timed ones, so the schedule ends with the budget.
    If that is less than an epoch, a random part of the training images is used. The options are those of
    `catseye.train`: `overrides`, `seed`, `out`, `device`, `data_dir`, `console`.

    Raises:
        UsageError: a setting is wrong. DataError: the images cannot be used.

    """
    for name in names:
        if name not in {milestone.name for milestone in MILESTONES}:
            raise UnknownName("milestone", name, [milestone.name for milestone in MILESTONES])
    milestones = [milestone for milestone in MILESTONES if milestone.name in names or not (names or milestone.extra)]
    request = replace(make_request(data, options, TimelineOptions), recipe="timeline")
    settings = requested_settings(request)
    if settings.transfer.strategy != "none":
        raise UsageError("transfer.strategy would do nothing here: a timeline trains from fresh weights; leave it out")
    session = open_session(request, settings, find_workplace(request, alone=True))
    session = session.with_parts({session.held_out: MAX_TEST})
    folder = create_run(request.out, f"{Path(session.prepared.images.source).stem}-timeline").path
    results = []
    for milestone in milestones:
        session.place.console.print(f"[bold]{milestone.title}[/bold] ({milestone.year})", highlight=False, markup=True)
        results.append(_measure(milestone, request, session, budget_s, folder))
        _write_timeline(folder, results, session.prepared.images.source, budget_s, session.settings)
    return folder, results


def _measure(
    milestone: Milestone, request: RunRequest, shared: RunSession, budget_s: float, folder: Path
) -> MilestoneResult:
    session = _affordable(milestone, shared, budget_s)
    built = assemble(session)
    run, _ = choose_run(folder / milestone.name, session)
    with run_held(run, session.place.processes):
        position = begin_run(run, session, built)
        with keep_record(session, built, run, position) as record:
            trained = train_to_the_end(request, session, built, record)
    metrics, spec = trained.metrics, session.prepared.spec
    model, _ = load_model(run.path, session.place.device)
    size = summarise(model, (spec.channels, spec.height_px, spec.width_px))
    seconds = sum(row["seconds"] for row in record.history.rows)
    epochs = session.settings.training.epochs
    num_seen = epochs * len(session.loaders["train"].indices)
    return MilestoneResult(
        name=milestone.name,
        year=milestone.year,
        accuracy=metrics.accuracy,
        accuracy_low=metrics.accuracy_low,
        accuracy_high=metrics.accuracy_high,
        num_test=metrics.num_images,
        num_parameters=size.num_parameters,
        gmacs=round(size.num_macs / 1e9, 4),
        train_images_per_s=round(num_seen / seconds, 1),
        inference_images_per_s=round(metrics.num_images / trained.inference_s, 1),
        num_seen=num_seen,
        epochs=epochs,
        training_s=round(seconds, 1),
        published_top1=milestone.top1,
    )


def _affordable(milestone: Milestone, shared: RunSession, budget_s: float) -> RunSession:
    """The session of one network, with the epochs that the time allows.

    If the time is too short for one epoch, only a part of the images is used.
    """
    settings = shared.settings
    settings = settings.model_copy(update={"model": settings.model.model_copy(update={"name": milestone.name})})
    session = replace(shared, settings=settings)
    num_images = len(session.loaders["train"].indices)
    affordable = max(2 * settings.training.batch_size, int(budget_s / _time_per_image(session, budget_s)))
    epochs = max(1, min(MAX_EPOCHS, affordable // num_images))
    settings = settings.model_copy(update={"training": settings.training.model_copy(update={"epochs": epochs})})
    return replace(session, settings=settings).with_parts({"train": affordable // epochs})


def _time_per_image(session: RunSession, budget_s: float) -> float:
    """Seconds of training per image, from a few steps of a temporary network."""
    built = assemble(session)
    built.state.model.train()
    begun, images, number = time.perf_counter(), 0, 0
    while True:
        for batch in built.loaders["train"].epoch(number):
            if number == WARMUP_STEPS:
                begun, images = time.perf_counter(), 0
            loss = train_step(built.state, batch).loss
            images += len(batch.labels)
            number += 1
            float(loss)  # waits for a GPU
            spent = time.perf_counter() - begun
            if number >= WARMUP_STEPS + MIN_TIMED_STEPS and spent >= min(TIMED_S, budget_s / 10):
                return spent / images


def _write_timeline(
    folder: Path, results: list[MilestoneResult], data: str, budget_s: float, settings: Settings
) -> None:
    facts: dict[str, Any] = {"data": data, "budget_s": budget_s, "seed": settings.seed, "environment": environment()}
    write_json(folder / "timeline.json", {**facts, "results": [asdict(result) for result in results]})
    write_atomically(folder / "timeline.md", timeline_markdown(results))
    save_figure(timeline_figure(results, budget_s), folder / "timeline.png")


def timeline_markdown(results: Sequence[MilestoneResult]) -> str:
    """The table of the results."""
    head = "year | network | accuracy (95% interval) | parameters | G multiply-adds | training img/s | inference img/s"
    lines = [f"| {head} | images seen |", "|---" * 8 + "|"]
    for r in results:
        accuracy = f"{r.accuracy:.1%} ({r.accuracy_low:.1%} – {r.accuracy_high:.1%})"
        sizes = f"{r.num_parameters / 1e6:.2f} M | {r.gmacs:.4f}"
        speeds = f"{r.train_images_per_s:,.0f} | {r.inference_images_per_s:,.0f}"
        lines.append(f"| {r.year} | {r.name} | {accuracy} | {sizes} | {speeds} | {r.num_seen:,} |")
    return "\n".join(lines) + "\n"


def timeline_table(results: Sequence[MilestoneResult]) -> Table:
    """The same table for a terminal."""
    table = Table(
        "year", "network", "accuracy", "95% interval", "params", "GMAC", "train/s", "infer/s", "seen", box=None
    )
    for r in results:
        interval = f"{r.accuracy_low:.1%} – {r.accuracy_high:.1%}"
        speeds = (f"{r.train_images_per_s:,.0f}", f"{r.inference_images_per_s:,.0f}", f"{r.num_seen:,}")
        sizes = (f"{r.num_parameters / 1e6:.2f} M", f"{r.gmacs:.4f}")
        table.add_row(str(r.year), r.name, f"{r.accuracy:.1%}", interval, *sizes, *speeds)
    return table


def timeline_figure(results: Sequence[MilestoneResult], budget_s: float) -> Figure:
    """Accuracy of each network with its interval, and its training speed."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    places = range(len(results))
    labels = [f"{result.name}\n{result.year}" for result in results]
    values = [result.accuracy * 100 for result in results]
    errors = [
        [(result.accuracy - result.accuracy_low) * 100 for result in results],
        [(result.accuracy_high - result.accuracy) * 100 for result in results],
    ]
    left.errorbar(places, values, yerr=errors, fmt="o-", capsize=4)
    left.set(ylabel="held-out accuracy, %", title=f"the same {budget_s:g} s of training for each")
    right.bar(places, [result.train_images_per_s for result in results], label="training")
    right.set(yscale="log", ylabel="images per second", title="training speed on this machine")
    for axes in (left, right):
        axes.set_xticks(list(places), labels, fontsize=7, rotation=20)
        axes.grid(alpha=0.3, axis="y")
    return figure
