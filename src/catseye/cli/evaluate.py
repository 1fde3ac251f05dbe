"""`catseye evaluate`, `calibrate` and `compare`: how good a trained model is."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from catseye.cli.early import require_device
from catseye.cli.options import DataDir, Device, NewPlace, NoCache, Out, Strict, Trust
from catseye.cli.places import one_data, require_data, require_model, require_order, require_out_folder
from catseye.cli.printing import cell, common_options, headline, next_step, note, print_json, show, tell
from catseye.errors import UsageError


def evaluate_verb(
    model: Annotated[Path, typer.Argument(help="A run folder, a model.safetensors or an exported file.")],
    data: Annotated[str | None, typer.Argument(help="Labelled images; a run's own held-out ones if left out.")] = None,
    place: Annotated[
        str | None, typer.Option("--data", help="The same as DATA: new images, or the new place of the run's own.")
    ] = None,
    out: Out = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    strict: Strict = False,
    trust: Trust = False,
    corrupt: Annotated[
        bool,
        typer.Option("--corrupt", help="Also test under noise, blur, JPEG, brightness and rotation: 25 more passes."),
    ] = False,
    no_cache: NoCache = False,
) -> None:
    """Measure a trained model on held-out images."""
    require_model(model)
    data = one_data(data, place)
    require_order(model, [data] if data else [])
    require_data(data)
    require_device(device)
    # The report of a run on its own images goes into the run folder.
    require_out_folder(out, model if data is None and model.is_dir() else None)
    import catseye

    result = catseye.evaluate(
        model, data, out=out, device=device, data_dir=data_dir, strict=strict, trust=trust, corrupt=corrupt
    )
    for line in result.notes:
        note(line)
    if common_options.json:
        corruptions = {"corruptions": result.corruptions.to_json()} if result.corruptions else {}
        near = {"k_nn": result.neighbours.to_json()} if result.neighbours else {}
        print_json({**result.metrics.to_json(), "trained_on": result.trained_on, **near, **corruptions})
        return
    show(_class_table(result.metrics))
    if result.corruptions:
        show(_corruption_table(result.corruptions))
    tell(headline(result.metrics, result.trained_on), bold=True)
    best_of = ", ".join(f"top-{k} {share:.2%}" for k, share in result.metrics.top_k.items() if k > 1)
    if best_of:
        tell(best_of)
    tell(f"always guessing the commonest class: {result.metrics.constant_guess:.2%}")
    if result.neighbours:
        tell(result.neighbours.sentence())
    if result.out:
        names = ["report.html", "metrics.json", "confusion.png", *["corruptions.png"] * bool(result.corruptions)]
        tell("written: " + ", ".join(str(result.out / name) for name in names))


def calibrate_verb(
    run: Annotated[Path, typer.Argument(help="A run folder with validation images.")],
    max_risk: Annotated[
        str | None,
        typer.Option("--max-risk", help="Share of errors allowed among the answers, e.g. 2%; the rest is “unknown”."),
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="Images of other things: how many are recognised as unknown?")
    ] = None,
    data: NewPlace = None,
    device: Device = "auto",
    data_dir: DataDir = None,
) -> None:
    """Fit the probabilities to validation images.

    With --max-risk, also choose when to say “unknown”.
    """
    require_model(run, "give a run folder")
    require_data(against)
    require_data(data)
    require_device(device)
    from catseye.evaluation.rejection import parse_share

    risk = parse_share(max_risk, "--max-risk") if max_risk is not None else None
    import catseye

    done = catseye.calibrate(run, max_risk=risk, against=against, data=data, device=device, data_dir=data_dir)
    if common_options.json:
        print_json(done.to_json())
        return
    for line in done.to_lines():
        tell(line)
    tell(f"written: {run / 'model.safetensors'}, {run / 'calibration.json'}")
    next_step("catseye", "export", run)


def compare_verb(
    models: Annotated[list[Path], typer.Argument(help="Two run folders or more; .onnx files with --data.")],
    data: Annotated[
        str | None, typer.Option("--data", help="Labelled images; those that every run held out if left out.")
    ] = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    no_cache: NoCache = False,
) -> None:
    """Compare models on the same images, and say which differences are noise."""
    for model in models:
        require_model(model)
    require_data(data)
    require_device(device)
    if len(models) < 2:
        raise UsageError(f"compare takes two models or more; got {len(models)}: catseye compare RUN RUN …")
    from rich.table import Table

    import catseye

    comparison = catseye.compare(models, data, device=device, data_dir=data_dir)
    if common_options.json:
        print_json(comparison.to_json())
        return
    table = Table("model", "network", "seed", "accuracy", "95% interval", "macro F1", box=None)
    for row in comparison.rows:
        interval = f"{row.low:.2%} – {row.high:.2%}"
        cells = (row.network, str(row.seed), f"{row.accuracy:.2%}", interval, f"{row.macro_f1:.3f}")
        table.add_row(cell(row.name), *cells)
    show(table)
    for line in comparison.to_lines():
        tell(line)


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
        table.add_row(cell(name), f"{row.precision:.3f}", f"{row.recall:.3f}", f"{row.f1:.3f}", f"{row.support:,}")
    return table


def _corruption_table(corruptions: Any) -> Any:
    from rich.table import Table

    table = Table("accuracy under", *map(str, range(1, 6)), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, values in corruptions.accuracy.items():
        table.add_row(name, *(f"{value:.1%}" for value in values))
    return table
