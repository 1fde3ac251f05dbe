"""`catseye evaluate`, `calibrate` and `compare`: what a trained model is worth."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from catseye.cli.options import DataDir, Debug, Device, Json, Out, Strict, Trust
from catseye.cli.printing import headline, print_json, stderr, stdout


def evaluate_verb(
    model: Annotated[Path, typer.Argument(help="A run folder, a model.safetensors or an exported file.")],
    data: Annotated[str | None, typer.Argument(help="Labelled images; a run's own held-out ones if left out.")] = None,
    out: Out = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    strict: Strict = False,
    trust: Trust = False,
    corrupt: Annotated[
        bool, typer.Option("--corrupt", help="Also under noise, blur, JPEG, brightness, rotation; 25 passes more.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a trained model on held-out images."""
    from catseye.evaluation.evaluate import evaluate as run_evaluation

    result = run_evaluation(
        model, data, out=out, device=device, data_dir=data_dir, strict=strict, trust=trust, corrupt=corrupt
    )
    for note in result.notes:
        stderr.print(f"- {note}", highlight=False, markup=False)
    if as_json:
        corruptions = {"corruptions": result.corruptions.to_json()} if result.corruptions else {}
        print_json({**result.metrics.to_json(), **corruptions})
        return
    stdout.print(_class_table(result.metrics))
    if result.corruptions:
        stdout.print(_corruption_table(result.corruptions))
    stdout.print(f"[bold]{headline(result.metrics)}[/bold]")
    best_of = ", ".join(f"top-{k} {share:.2%}" for k, share in result.metrics.top_k.items() if k > 1)
    if best_of:
        stdout.print(best_of, highlight=False)
    stdout.print(f"always guessing the commonest class: {result.metrics.constant_guess:.2%}", highlight=False)
    if result.out:
        names = ["report.html", "metrics.json", "confusion.png", *["corruptions.png"] * bool(result.corruptions)]
        stdout.print("written: " + ", ".join(str(result.out / name) for name in names), markup=False)


def calibrate_verb(
    run: Annotated[Path, typer.Argument(help="A run folder with validation images.")],
    max_risk: Annotated[
        str | None,
        typer.Option("--max-risk", help="Errors allowed among the answers, e.g. 2%; the rest is “unknown”."),
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="Images of something else: are they told apart?")
    ] = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Fit the probabilities to validation images; with --max-risk, choose when to say “unknown”."""
    from catseye.evaluation.calibrate import calibrate as run_calibration
    from catseye.evaluation.rejection import parse_share

    risk = parse_share(max_risk, "--max-risk") if max_risk is not None else None
    done = run_calibration(run, max_risk=risk, against=against, device=device, data_dir=data_dir)
    if as_json:
        print_json(done.to_json())
        return
    for line in done.to_lines():
        stdout.print(line, highlight=False, markup=False)
    stdout.print(f"written: {run / 'model.safetensors'}, {run / 'calibration.json'}; export it again", markup=False)


def compare_verb(
    models: Annotated[list[Path], typer.Argument(help="Two run folders or more; .onnx files with --data.")],
    data: Annotated[
        str | None, typer.Option("--data", help="Labelled images; those that all runs hold out if left out.")
    ] = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare models on the same images, and say which differences are noise."""
    from rich.table import Table

    from catseye.evaluation.compare import compare as run_comparison

    found = run_comparison(models, data, device=device, data_dir=data_dir)
    if as_json:
        print_json(found.to_json())
        return
    table = Table("model", "network", "seed", "accuracy", "95 % interval", "macro F1", box=None)
    for row in found.rows:
        interval = f"{row.low:.2%} – {row.high:.2%}"
        cells = (row.network, str(row.seed), f"{row.accuracy:.2%}", interval, f"{row.macro_f1:.3f}")
        table.add_row(escape(row.name), *cells)
    stdout.print(table)
    for line in found.to_lines():
        stdout.print(line, highlight=False, markup=False)


def _class_table(metrics: Any) -> Any:
    from rich.table import Table

    table = Table("class", *(["precision", "recall", "F1", "support"]), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    rows: Iterable[tuple[str, Any]] = [
        *metrics.per_class.items(),
        ("macro mean", metrics.macro),
        ("weighted mean", metrics.weighted),
    ]
    for name, row in rows:
        table.add_row(escape(name), f"{row.precision:.3f}", f"{row.recall:.3f}", f"{row.f1:.3f}", f"{row.support:,}")
    return table


def _corruption_table(found: Any) -> Any:
    from rich.table import Table

    table = Table("accuracy under", *map(str, range(1, 6)), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, values in found.accuracy.items():
        table.add_row(name, *(f"{value:.1%}" for value in values))
    return table
