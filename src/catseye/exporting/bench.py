"""`catseye bench`: the speed of each file, and its accuracy.

Enters: model files and, for the ratio to eager torch, a run. Leaves: `Bench` with a row per file, batch size and thread
setting. Every file has its own process; the cells take turns for several rounds, so that other load on the machine
affects all of them. Waiting threads sleep instead of spinning: spinning ones slow each other down when there are more
programs than cores. Called by cli.
"""

import itertools
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
from matplotlib.figure import Figure

from catseye.environment import environment
from catseye.errors import UsageError, refuse_unknown_options
from catseye.evaluation.figures import save_figure
from catseye.exporting.bench_worker import Ask, BenchWorker, start_worker
from catseye.files import StrPath, path_of
from catseye.machine.cores import num_cores
from catseye.notebook import html_table
from catseye.runs import write_json
from catseye.runtimes.formats import is_model_file

Say = Callable[[str], None]


@dataclass(frozen=True)
class BenchGrid:
    """What to measure: each batch size with each thread setting.

    Each pair is measured for `seconds` in each of `rounds`.

    Raises:
        UsageError: a number is out of range.

    """

    batches: Sequence[int] = (1, 8, 32)
    threads: Sequence[int] = (1,)
    seconds: float = 0.5
    rounds: int = 5

    def __post_init__(self) -> None:
        numbers = (("--batch", self.batches), ("--threads", self.threads), ("--rounds", [self.rounds]))
        for name, values in numbers:
            wrong = [value for value in values if not 1 <= value <= 4096]
            if wrong or not values:
                raise UsageError(f"{name} takes numbers from 1 to 4096; got {wrong or 'none'}")
        if not 0 < self.seconds <= 600:
            raise UsageError(f"--seconds is above 0 and at most 600; got {self.seconds:g}")

    @property
    def asks(self) -> list[Ask]:
        """Every cell of the grid.

        N threads are measured as one call with N threads and as N calls with one thread.
        """
        pairs = dict.fromkeys(pair for count in self.threads for pair in ((count, 1), (1, count)))
        return [Ask(batch, threads, calls) for batch in self.batches for threads, calls in pairs]


class BenchOptions(TypedDict, total=False):
    """The further keyword arguments of `bench`."""

    spin: bool
    trust: bool
    out: StrPath | None
    grid: BenchGrid | None
    say: Say


@dataclass(frozen=True)
class BenchRow:
    """One file at one batch size and thread setting.

    `calls` are made at the same time, each computed by `threads`. Latency is of one call; images per second are of all
    calls together: the median round, with the slowest and fastest. `ratio` is to the first file's row.
    """

    file: str
    format: str
    batch: int
    threads: int
    calls: int
    p50_ms: float
    p99_ms: float
    images_per_s: float
    slowest_round: float
    fastest_round: float
    num_calls: int
    ratio: float


@dataclass(frozen=True)
class FileFacts:
    """A file and its accuracy on `num_images`, from its proof or measured now."""

    file: str
    format: str
    num_bytes: int
    accuracy: float | None
    num_images: int | None


@dataclass(frozen=True)
class Bench:
    """All rows, and what they were measured with."""

    rows: tuple[BenchRow, ...]
    files: tuple[FileFacts, ...]
    base: str
    rounds: int
    seconds: float
    spin: bool

    def plot(self) -> Figure:
        """Images per second of each file, as a matplotlib figure.

        Each batch size has its best thread setting.
        """
        from catseye.exporting.bench_figure import bench_figure

        figure: Figure = bench_figure(self)
        return figure

    def save(self, folder: Path) -> None:
        """bench.json and bench.png."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "bench.json", self.to_json())
        save_figure(self.plot(), folder / "bench.png")

    def _repr_html_(self) -> str:
        rows = [
            (r.file, r.batch, r.calls, r.threads, f"{r.p50_ms:.2f}", f"{r.images_per_s:,.0f}", f"{r.ratio:.2f}")
            for r in self.rows
        ]
        return html_table(("file", "batch", "calls", "threads", "p50 ms", "images/s", f"ratio to {self.base}"), rows)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types, with hardware and versions."""
        return {
            "base_of_ratios": self.base,
            "rounds": self.rounds,
            "seconds_per_cell_and_round": self.seconds,
            "threads_spin": self.spin,
            "files": [asdict(file) for file in self.files],
            "rows": [asdict(row) for row in self.rows],
            "environment": environment(),
        }


def bench(
    models: StrPath | Sequence[StrPath],
    *,
    batch: int | Sequence[int] = (1, 8, 32),
    threads: int | Sequence[int] | None = None,
    seconds: float = 0.5,
    rounds: int = 5,
    data: Any = None,
    **options: Unpack[BenchOptions],
) -> Bench:
    """Measure files against each other: latency, images per second and accuracy.

    `batch`: images per call. `threads`: N is measured as one call with N threads and as N calls with one thread; left
    out, 1 and all cores, at most 8. The cells are measured in turn, each for `seconds` in each of `rounds`; `grid`
    holds the four in one object. With `spin`, waiting threads spin. `out`: a folder for bench.json and bench.png. `say`
    gets progress messages.

    A run among `models` means eager torch and is the base of the ratios; without one, the first file is. With `data`
    each model's accuracy is measured on its held-out images; else it is taken from the proof in the file.

    Raises:
        UsageError: there is no file. ModelFileError: a file cannot be opened.

    """
    refuse_unknown_options(options, BenchOptions)
    say, spin, trust = options.get("say", _say_nothing), options.get("spin", False), options.get("trust", False)
    grid = options.get("grid") or BenchGrid(
        [batch] if isinstance(batch, int) else batch,
        sorted({1, min(num_cores(), 8)}) if threads is None else [threads] if isinstance(threads, int) else threads,
        seconds,
        rounds,
    )
    models = [models] if isinstance(models, str | os.PathLike) else models
    if not models:
        raise UsageError(
            "bench needs a model file or a run; got none; name one, for example first-run/export/model.onnx"
        )
    paths = sorted(map(path_of, models), key=is_model_file)  # runs first, else as given
    asks = grid.asks
    workers: list[BenchWorker] = []
    try:
        for path in paths:
            is_unique = [other.name for other in paths].count(path.name) == 1
            name = path.name if is_unique and path.name else str(path)
            workers.append(start_worker(path, name, asks, spin=spin, trust=trust))
            say(f"{path}: opened, {workers[-1].format}")
        files = tuple(_facts(worker, data, trust) for worker in workers)
        measured = _measure_in_turn(workers, grid, say)
    finally:
        for worker in workers:
            worker.stop()
    base = {ask: statistics.median(rate for rate, _ in measured[0, ask]) for ask in asks}
    rows = tuple(
        _row(worker, ask, measured[index, ask], base[ask]) for index, worker in enumerate(workers) for ask in asks
    )
    result = Bench(rows, files, files[0].file, grid.rounds, grid.seconds, spin)
    if (out := options.get("out")) is not None:
        result.save(Path(out))
    return result


def _measure_in_turn(
    workers: Sequence[BenchWorker], grid: BenchGrid, say: Callable[[str], None]
) -> dict[tuple[int, Ask], list[tuple[float, list[float]]]]:
    """Measure every cell once a round: (worker's index, ask) -> one result a round."""
    measured: dict[tuple[int, Ask], list[tuple[float, list[float]]]] = {}
    for turn in range(grid.rounds):
        say(f"round {turn + 1} of {grid.rounds}: {len(workers) * len(grid.asks)} cells of {grid.seconds:g} s")
        for ask, (index, worker) in itertools.product(grid.asks, enumerate(workers)):
            measured.setdefault((index, ask), []).append(worker.measure(ask, grid.seconds))
    return measured


def _say_nothing(line: str) -> None:
    """The default for `say`: no messages."""


def _row(worker: BenchWorker, ask: Ask, rounds: list[tuple[float, list[float]]], base: float) -> BenchRow:
    rates = [rate for rate, _ in rounds]
    times = np.array([time for _, times in rounds for time in times])
    return BenchRow(
        file=worker.name,
        format=worker.format,
        batch=ask.batch,
        threads=ask.threads,
        calls=ask.calls,
        p50_ms=float(np.quantile(times, 0.5)) * 1e3,
        p99_ms=float(np.quantile(times, 0.99)) * 1e3,
        images_per_s=statistics.median(rates),
        slowest_round=min(rates),
        fastest_round=max(rates),
        num_calls=len(times),
        ratio=statistics.median(rates) / base,
    )


def _facts(worker: BenchWorker, data: str | Path | None, trust: bool) -> FileFacts:
    if data is not None:
        from catseye.evaluation.evaluate import evaluate

        metrics = evaluate(worker.path, data, device="cpu", trust=trust).metrics
        return FileFacts(worker.name, worker.format, worker.num_bytes, metrics.accuracy, metrics.num_images)
    proof = worker.manifest.parity
    known = (proof.file_accuracy, proof.num_images) if proof else (None, None)
    return FileFacts(worker.name, worker.format, worker.num_bytes, *known)
