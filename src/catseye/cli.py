"""The `catseye` command: one short function per verb, errors to exit codes (2 usage, 1 failure).

Enters: the command line. Leaves: results on stdout, everything else on stderr. Heavy imports happen
inside the verbs, so that `catseye --help` needs no torch. Longer than other files, because the options of
every verb stand here and nowhere else.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from catseye.errors import CatseyeError, Interrupted, UsageError

app = typer.Typer(
    help="Labelled pictures in, an image classifier in production out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
stdout = Console(soft_wrap=True)
stderr = Console(stderr=True, soft_wrap=True)

Out = Annotated[Path | None, typer.Option("--out", help="Where results go.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable results on stdout, the rest on stderr.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where built-in data sets lie or go.", show_default=False)
]
Seed = Annotated[int | None, typer.Option("--seed", help="Split, weights, order, augmentation.", show_default=False)]
Strict = Annotated[bool, typer.Option("--strict", help="An unreadable picture is an error, not a warning.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.command()
def check(
    data: Annotated[str, typer.Argument(help="As in train.")],
    group_by: Annotated[
        str, typer.Option("--group-by", help="Regular expression: file names with one first group stay together.")
    ] = "",
    fail_on: Annotated[
        str | None, typer.Option("--fail-on", help="error or warning: exit code 1 where one is found.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write check.json and check.html here.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what is wrong with labelled pictures before anything is trained on them."""
    from catseye.data.check import check as run_check

    if fail_on not in (None, "error", "warning"):
        raise UsageError(f"--fail-on is error or warning; got {fail_on!r}")
    with stderr.status("listing pictures", spinner="line") as status:
        verdict = run_check(data, group_by=group_by, data_dir=data_dir, out=out, tell=status.update)
    if as_json:
        _print_json(verdict.to_json())
    else:
        if verdict.findings:
            stdout.print(_findings_table(verdict), soft_wrap=False)
        num, seconds = len(verdict.names), verdict.seconds_s
        stdout.print(f"[bold]{verdict.headline()}[/bold] in {num:,} pictures, {seconds:.1f} s", highlight=False)
        if out:
            stdout.print(f"written: {out / 'check.json'}, {out / 'check.html'}", highlight=False, markup=False)
        else:
            stdout.print("next: --out DIR writes a page with the pictures, and check.json", highlight=False)
    if fail_on and verdict.fails(fail_on):  # type: ignore[arg-type]
        raise CatseyeError(f"the check found {verdict.headline()} (--fail-on {fail_on})")


@app.command()
def train(
    data: Annotated[
        str | None, typer.Argument(help="Folder of class folders, .zip, .csv, or digits, mnist, cifar10 …")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="A name from `catseye models`.")] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="quick (default), transfer, classic or a TOML file.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", "-e", help="Short for --set training.epochs.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Your settings, on top of the recipe.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. training.lr=0.05.")] = None,
    no_skip: Annotated[bool, typer.Option("--no-skip", help="residual without its shortcuts.")] = False,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Start from published ImageNet weights.")] = False,
    strategy: Annotated[
        str | None,
        typer.Option("--strategy", help="With --pretrained: auto, feature-extraction, fine-tune, full, scratch."),
    ] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="A local file of published weights.")] = None,
    teacher: Annotated[Path | None, typer.Option("--teacher", help="Learn from this run's answers too.")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Continue this interrupted run.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write events for TensorBoard too.")] = False,
    out: Out = None,
    seed: Seed = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    strict: Strict = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a classifier on labelled pictures and measure it on held-out ones."""
    from catseye.training.fit import train as run_training

    settings: dict[str, object] = {}
    if no_skip:
        settings["model.skip"] = False
    if strict:
        settings["data.strict"] = True
    if strategy:
        settings["transfer.strategy"] = strategy
    if weights:
        settings["transfer.weights"] = str(weights)
    if teacher:
        settings["distillation.teacher"] = str(teacher)
    trained = run_training(
        data,
        recipe=recipe,
        model=model,
        epochs=epochs,
        seed=seed,
        config=config,
        settings=settings,
        overrides=overrides or [],
        out=out,
        resume=resume,
        pretrained=pretrained or strategy is not None or weights is not None,
        device=device,
        data_dir=data_dir,
        tensorboard=tensorboard,
        console=stderr,
    )
    if as_json:
        _print_json({"run": str(trained.path), "split": trained.side, **trained.metrics.to_json()})
        return
    stdout.print(f"[bold]{_headline(trained.metrics)}[/bold] on the {trained.side} split")
    stdout.print(f"run folder: {trained.path}")
    stdout.print(
        f"next: catseye evaluate {trained.path}   or   catseye predict {trained.path} PICTURE…", highlight=False
    )


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A run folder, a model.safetensors or an .onnx file.")],
    data: Annotated[
        str | None, typer.Argument(help="Labelled pictures; a run's own held-out ones if left out.")
    ] = None,
    out: Out = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    strict: Strict = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a trained model on held-out pictures."""
    from catseye.evaluation.evaluate import evaluate as run_evaluation

    result = run_evaluation(model, data, out=out, device=device, data_dir=data_dir, strict=strict)
    for note in result.notes:
        stderr.print(f"- {note}", highlight=False, markup=False)
    if as_json:
        _print_json(result.metrics.to_json())
        return
    stdout.print(_class_table(result.metrics))
    stdout.print(f"[bold]{_headline(result.metrics)}[/bold]")
    best_of = ", ".join(f"top-{k} {share:.2%}" for k, share in result.metrics.top_k.items() if k > 1)
    if best_of:
        stdout.print(best_of, highlight=False)
    stdout.print(f"always guessing the commonest class: {result.metrics.constant_guess:.2%}", highlight=False)
    if result.out:
        stdout.print(f"written: {result.out / 'metrics.json'}, {result.out / 'confusion.png'}")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A run folder, a model.safetensors or an .onnx file.")],
    paths: Annotated[list[str], typer.Argument(help="Pictures, folders, globs.")],
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes to show.")] = 1,
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write a table to this file.")] = None,
    device: Device = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Classify pictures; the exit code is 1 when one could not be read."""
    import catseye
    from catseye.predictions import list_pictures, predict_files, write_csv

    classifier = catseye.load(model, device=device)
    rows = list(predict_files(classifier, list_pictures(paths), top=top))
    if csv:
        write_csv(rows, csv)
    if as_json:
        _print_json([row.to_json() for row in rows])
    else:
        for row in rows:
            stdout.print(row.to_text(), highlight=False, markup=False)
    failed = sum(row.error is not None for row in rows)
    if failed:
        raise CatseyeError(f"{failed} of {len(rows)} pictures could not be read")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    to: Annotated[str, typer.Option("--to", help="The format; onnx is the only one so far.")] = "onnx",
    input_kind: Annotated[
        str, typer.Option("--input", help="uint8: N x H x W x C bytes, or float: N x C x H x W, normalised.")
    ] = "uint8",
    out: Annotated[
        Path | None, typer.Option("--out", help="A folder or FILE.onnx; RUN/export if left out.", show_default=False)
    ] = None,
    golden: Annotated[
        int, typer.Option("--golden", min=0, max=256, help="Write so many pictures with tensors and answers.")
    ] = 0,
    device: Annotated[str, typer.Option("--device", help="Where the run computes; the file runs on the CPU.")] = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write one self-describing model file, proved on held-out pictures to answer as the run does."""
    from catseye.exporting.export import export as run_export

    done = run_export(
        run,
        to=to,
        input_kind=input_kind,
        out=out,
        golden=golden,
        device=device,
        say=lambda line: stderr.print(f"- {line}", highlight=False, markup=False),
    )
    if as_json:
        facts = {"path": str(done.path), "num_bytes": done.num_bytes, "sha256": done.sha256, "card": str(done.card)}
        _print_json({**facts, "golden": str(done.golden) if done.golden else None, "parity": done.comparison.to_json()})
        return
    stdout.print(f"{done.path}: {done.num_bytes / 1e6:.2f} MB", highlight=False, markup=False)
    stdout.print(done.comparison.to_line(), highlight=False, markup=False)
    stdout.print(f"written: {done.path}, {done.card}" + (f", {done.golden}" if done.golden else ""), markup=False)
    stdout.print(f"next: catseye predict {done.path} PICTURE…   or   catseye info {done.path}", highlight=False)


@app.command()
def info(
    model: Annotated[Path, typer.Argument(help="An .onnx file, a run folder or a model.safetensors.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a model file says of itself: manifest, proof, inputs and outputs, operators, size."""
    from rich.table import Table

    from catseye.inspection import inspect_model

    found = inspect_model(model)
    if as_json:
        _print_json(found.to_json())
        return
    table = Table(box=None, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # a hash must stay whole
    for name, text in found.to_rows():
        table.add_row(name, _escape(text))
    stdout.print(table, highlight=False)


@app.command("lr-find")
def lr_find(
    data: Annotated[str, typer.Argument(help="As in train.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="A name from `catseye models`.")] = None,
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="quick, transfer, classic or a TOML file.")] = "quick",
    overrides: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, as in train.")] = None,
    steps: Annotated[int, typer.Option("--steps", min=10, max=10_000, help="At most so many steps.")] = 100,
    out: Out = None,
    seed: Seed = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Find a learning rate: train briefly while it grows, and see where the loss falls fastest."""
    from catseye.evaluation.figures import save_figure
    from catseye.runs import create_run
    from catseye.training.lr_find import find_lr, lr_figure

    curve = find_lr(
        data,
        recipe=recipe,
        model=model,
        overrides=overrides or [],
        num_steps=steps,
        seed=seed,
        device=device,
        data_dir=data_dir,
        console=stderr,
    )
    folder = create_run(out, f"{Path(data).stem}-lr-find").path
    save_figure(lr_figure(curve), folder / "lr-find.png")
    if as_json:
        points = {"rates": curve.rates.tolist(), "losses": curve.losses.tolist()}
        _print_json({"suggestion": curve.suggestion, **points})
        return
    stdout.print(f"[bold]suggestion: --set training.lr={curve.suggestion:.2g}[/bold]", highlight=False)
    stdout.print(f"written: {folder / 'lr-find.png'}")


@app.command()
def timeline(
    data: Annotated[str, typer.Argument(help="As in train.")],
    budget: Annotated[str, typer.Option("--budget", help="Training time of each network: 90s, 10m, 1h.")] = "10m",
    models: Annotated[list[str] | None, typer.Option("--model", "-m", help="Only these; may be repeated.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, as in train.")] = None,
    out: Out = None,
    seed: Seed = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train the milestones from LeNet-5 to ConvNeXt on the same pictures for the same time."""
    from catseye.training.milestones import parse_duration, run_timeline, timeline_table

    folder, results = run_timeline(
        data,
        budget_s=parse_duration(budget),
        names=models or [],
        overrides=overrides or [],
        seed=seed,
        out=out,
        device=device,
        data_dir=data_dir,
        console=stderr,
    )
    if as_json:
        _print_json([vars(result) for result in results])
        return
    stdout.print(timeline_table(results))
    stdout.print(f"written: {folder / 'timeline.json'}, timeline.md, timeline.png")


@app.command()
def models(as_json: Json = False, debug: Debug = False) -> None:
    """List the networks: the timeline with its published facts, then all others by name."""
    from catseye.models import timeline

    if as_json:
        _print_json(timeline.to_json())
        return
    for part in timeline.tables():
        stdout.print(part, soft_wrap=False, highlight=False)


@app.command()
def summary(
    model: Annotated[str, typer.Argument(help="A name from `catseye models`.")],
    shape: Annotated[str, typer.Option("--input", help="CxHxW.")] = "3x32x32",
    classes: Annotated[int, typer.Option("--classes", min=2, help="Number of classes.")] = 10,
    no_skip: Annotated[bool, typer.Option("--no-skip", help="residual without its shortcuts.")] = False,
    stem: Annotated[
        str | None, typer.Option("--stem", help="auto, small (for 64 px and less) or standard.", show_default=False)
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the dimension flow of a network: layer, shape, parameters, multiply-adds, receptive field."""
    from catseye.models import registry
    from catseye.models.summary import parse_shape, summarise, summary_table

    channels, height, width = parse_shape(shape)
    options: dict[str, Any] = {"skip": False} if no_skip else {}
    if stem is not None:
        options["stem"] = stem
    network = registry.create(model, num_classes=classes, in_channels=channels, input_px=height, **options)
    result = summarise(network, (channels, height, width))
    if as_json:
        _print_json(result.to_json())
        return
    stdout.print(summary_table(result))
    stdout.print(f"{result.num_parameters:,} parameters, {result.num_macs / 1e6:,.1f} M multiply-adds", highlight=False)
    for note in result.notes:
        stdout.print(f"- {note}", highlight=False, markup=False)


def main() -> None:
    """Run the command line and turn errors into exit codes."""
    debug = "--debug" in sys.argv
    try:
        app(standalone_mode=False)
    except typer.Exit as done:
        sys.exit(done.exit_code)
    except typer.Abort:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the last edge: no traceback without --debug
        sys.exit(_explain(error, debug))
    except KeyboardInterrupt:
        stderr.print("stopped before anything was begun; nothing was saved")
        sys.exit(130)


def _explain(error: Exception, debug: bool) -> int:
    """Say what went wrong and return the exit code; only --debug shows the traceback."""
    if debug and not isinstance(error, Interrupted):
        import traceback

        traceback.print_exc()
    if isinstance(error, typer.TyperException):
        stderr.print(f"[bold red]error:[/] {_escape(error.format_message())}; see catseye --help", highlight=False)
        return 2
    if isinstance(error, BrokenPipeError):
        # The reader of our output is gone; there is nobody left to tell.
        sys.stdout = sys.stderr = None
        return 1
    if isinstance(error, CatseyeError):
        stderr.print(f"[bold red]error:[/] {_escape(str(error))}", highlight=False)
        return error.exit_code
    if isinstance(error, ModuleNotFoundError):
        stderr.print(f"error: this needs {error.name}, which is not installed; run: pip install 'catseye\\[train]'")
        return 1
    kind = type(error).__name__
    stderr.print(f"[bold red]error:[/] {_escape(f'{kind}: {error}')}", highlight=False)
    stderr.print("this looks like a fault in catseye; --debug shows where", highlight=False)
    return 1


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _print_json(content: Any) -> None:
    # Not through rich: results must not be coloured or wrapped.
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def _headline(metrics: Any) -> str:
    low, high = metrics.accuracy_low, metrics.accuracy_high
    return f"accuracy {metrics.accuracy:.2%} (95 % interval {low:.2%} – {high:.2%}, n = {metrics.num_pictures:,})"


def _findings_table(verdict: Any) -> Any:
    from rich.table import Table

    colours = {"error": "red", "warning": "yellow", "note": "cyan"}
    table = Table("severity", "count", "what", box=None)
    table.columns[1].justify = "right"
    table.columns[2].overflow = "fold"
    for found in verdict.findings:
        severity = f"[{colours[found.severity]}]{found.severity}[/]"
        table.add_row(severity, f"{found.count:,}", _escape(found.title + verdict.first_case(found)))
    return table


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
        table.add_row(_escape(name), f"{row.precision:.3f}", f"{row.recall:.3f}", f"{row.f1:.3f}", f"{row.support:,}")
    return table
