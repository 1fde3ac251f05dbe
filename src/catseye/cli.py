"""The `catseye` command: one short function per verb, errors to exit codes (2 usage, 1 failure).

Enters: the command line. Leaves: results on stdout, everything else on stderr. Heavy imports happen
inside the verbs, so that `catseye --help` needs no torch. Longer than other files, because the options of
every verb stand here and nowhere else.
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from catseye.errors import CatseyeError, Interrupted, MissingDependency, UsageError

app = typer.Typer(
    help="Labelled pictures in, an image classifier in production out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
deploy = typer.Typer(help="Write the files that put catseye to work elsewhere.", no_args_is_help=True)
app.add_typer(deploy, name="deploy")
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
Trust = Annotated[
    bool, typer.Option("--trust", help="Open TorchScript, .pt2 and TensorRT files: they are programs; only your own.")
]
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
    nproc: Annotated[int, typer.Option("--nproc", min=1, help="Processes of this machine, one per GPU.")] = 1,
    max_restarts: Annotated[
        int, typer.Option("--max-restarts", min=0, help="With --nproc: go on from the checkpoint so often.")
    ] = 0,
    out: Out = None,
    seed: Seed = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    strict: Strict = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a classifier on labelled pictures and measure it on held-out ones."""
    if nproc > 1:
        from catseye.training.launch import launch

        sys.exit(launch(nproc, max_restarts, sys.argv[1:]))
    if max_restarts:
        raise UsageError("--max-restarts would do nothing without --nproc 2 or more; leave it out")
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
    if not trained.first:
        return
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
    model: Annotated[Path, typer.Argument(help="A run folder, a model.safetensors or an exported file.")],
    data: Annotated[
        str | None, typer.Argument(help="Labelled pictures; a run's own held-out ones if left out.")
    ] = None,
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
    """Measure a trained model on held-out pictures."""
    from catseye.evaluation.evaluate import evaluate as run_evaluation

    result = run_evaluation(
        model, data, out=out, device=device, data_dir=data_dir, strict=strict, trust=trust, corrupt=corrupt
    )
    for note in result.notes:
        stderr.print(f"- {note}", highlight=False, markup=False)
    if as_json:
        corruptions = {"corruptions": result.corruptions.to_json()} if result.corruptions else {}
        _print_json({**result.metrics.to_json(), **corruptions})
        return
    stdout.print(_class_table(result.metrics))
    if result.corruptions:
        stdout.print(_corruption_table(result.corruptions))
    stdout.print(f"[bold]{_headline(result.metrics)}[/bold]")
    best_of = ", ".join(f"top-{k} {share:.2%}" for k, share in result.metrics.top_k.items() if k > 1)
    if best_of:
        stdout.print(best_of, highlight=False)
    stdout.print(f"always guessing the commonest class: {result.metrics.constant_guess:.2%}", highlight=False)
    if result.out:
        names = ["report.html", "metrics.json", "confusion.png", *["corruptions.png"] * bool(result.corruptions)]
        stdout.print("written: " + ", ".join(str(result.out / name) for name in names), markup=False)


@app.command()
def calibrate(
    run: Annotated[Path, typer.Argument(help="A run folder with validation pictures.")],
    max_risk: Annotated[
        str | None,
        typer.Option("--max-risk", help="Errors allowed among the answers, e.g. 2%; the rest is “unknown”."),
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="Pictures of something else: are they told apart?")
    ] = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Fit the probabilities to validation pictures; with --max-risk, choose when to say “unknown”."""
    from catseye.evaluation.calibrate import calibrate as run_calibration
    from catseye.evaluation.rejection import parse_share

    risk = parse_share(max_risk, "--max-risk") if max_risk is not None else None
    done = run_calibration(run, max_risk=risk, against=against, device=device, data_dir=data_dir)
    if as_json:
        _print_json(done.to_json())
        return
    for line in done.to_lines():
        stdout.print(line, highlight=False, markup=False)
    stdout.print(f"written: {run / 'model.safetensors'}, {run / 'calibration.json'}; export it again", markup=False)


@app.command()
def compare(
    models: Annotated[list[Path], typer.Argument(help="Two run folders or more; .onnx files with --data.")],
    data: Annotated[
        str | None, typer.Option("--data", help="Labelled pictures; those that all runs hold out if left out.")
    ] = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare models on the same pictures, and say which differences are noise."""
    from rich.table import Table

    from catseye.evaluation.compare import compare as run_comparison

    found = run_comparison(models, data, device=device, data_dir=data_dir)
    if as_json:
        _print_json(found.to_json())
        return
    table = Table("model", "network", "seed", "accuracy", "95 % interval", "macro F1", box=None)
    for row in found.rows:
        interval = f"{row.low:.2%} – {row.high:.2%}"
        cells = (row.network, str(row.seed), f"{row.accuracy:.2%}", interval, f"{row.macro_f1:.3f}")
        table.add_row(_escape(row.name), *cells)
    stdout.print(table)
    for line in found.to_lines():
        stdout.print(line, highlight=False, markup=False)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A run folder, a model.safetensors or an exported file.")],
    paths: Annotated[list[str], typer.Argument(help="Pictures, folders, globs.")],
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes to show.")] = 1,
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write a table to this file.")] = None,
    device: Device = "auto",
    trust: Trust = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Classify pictures; the exit code is 1 when one could not be read."""
    import catseye
    from catseye.predictions import list_pictures, predict_files, write_csv

    classifier = catseye.load(model, device=device, trust=trust)
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
def explain(
    run: Annotated[Path, typer.Argument(help="A run folder or a model.safetensors.")],
    picture: Annotated[Path, typer.Argument(help="A picture.")],
    method: Annotated[str, typer.Option("--method", help="gradcam, gradcam++, eigencam or cam.")] = "gradcam",
    target: Annotated[
        str | None, typer.Option("--class", help="Explain this class instead of the answer.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The PNG; PICTURE-METHOD.png if left out.")] = None,
    device: Device = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show where in a picture the network sees its answer, and measure what that map is worth."""
    from catseye.explanation.explain import explain as run_explanation

    found = run_explanation(run, picture, method=method, target=target, out=out, device=device)
    if as_json:
        facts = {"class": found.label, "probability": found.probability, "method": found.method}
        _print_json({**facts, "path": str(found.path), "worth": vars(found.worth)})
        return
    worth = found.worth
    stdout.print(f"{found.label} {found.probability:.1%}, {found.method}", highlight=False, markup=False)
    stdout.print(
        f"deletion {worth.deletion:.3f} (random places {worth.deletion_random:.3f}; smaller is better), "
        f"insertion {worth.insertion:.3f} (random places {worth.insertion_random:.3f}; larger is better)",
        highlight=False,
    )
    stdout.print(f"written: {found.path}", highlight=False, markup=False)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    to: Annotated[
        list[str] | None,
        typer.Option("--to", help="onnx (default) torchscript torch-export aotinductor openvino tensorrt; several."),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="INT8 files too, for onnx, openvino and tensorrt.")] = False,
    max_drop: Annotated[float, typer.Option("--max-drop", help="Points of accuracy that an INT8 file may lose.")] = 0.3,
    input_kind: Annotated[
        str, typer.Option("--input", help="uint8: N x H x W x C bytes, or float: N x C x H x W, normalised.")
    ] = "uint8",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="A folder, or a file for one format; RUN/export if left out.", show_default=False),
    ] = None,
    golden: Annotated[
        int, typer.Option("--golden", min=0, max=256, help="Write so many pictures with tensors and answers.")
    ] = 0,
    device: Annotated[str, typer.Option("--device", help="Where the run computes; the file runs on the CPU.")] = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write self-describing model files, each proved on held-out pictures to answer as the run does."""
    from catseye.exporting.export import export as run_export

    done = run_export(
        run,
        to=to or ["onnx"],
        int8=int8,
        max_drop=max_drop,
        input_kind=input_kind,
        out=out,
        golden=golden,
        device=device,
        say=_note,
    )
    if as_json:
        files = [file.to_json() for file in done.files]
        _print_json({"files": files, "card": str(done.card), "golden": str(done.golden) if done.golden else None})
        return
    for file in done.files:
        stdout.print(f"{file.path}: {file.num_bytes / 1e6:.2f} MB", highlight=False, markup=False)
        stdout.print(file.comparison.to_line(), highlight=False, markup=False)
    names = [str(file.path) for file in done.files] + [str(done.card)] + ([str(done.golden)] if done.golden else [])
    stdout.print(f"written: {', '.join(names)}", markup=False)
    stdout.print(f"next: catseye predict {done.path} PICTURE…   or   catseye info {done.path}", highlight=False)


@app.command()
def bench(
    models: Annotated[list[Path], typer.Argument(help="Exported files; a run stands for eager torch.")],
    batch: Annotated[list[int] | None, typer.Option("--batch", help="Pictures per call; several: 1 8 32.")] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option("--threads", help="Threads; several. Above 1 as one call and as so many one-thread calls."),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="Time of each cell in each round.")] = 0.5,
    rounds: Annotated[int, typer.Option("--rounds", help="How often all cells take turns.")] = 5,
    data: Annotated[
        str | None, typer.Option("--data", help="Measure accuracy on these; else it is that of each file's own proof.")
    ] = None,
    spin: Annotated[bool, typer.Option("--spin", help="Let waiting threads spin; they sleep by default.")] = False,
    trust: Trust = False,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure files against each other: latency, pictures per second and accuracy, in turn and repeatedly."""
    import os

    from catseye.exporting.bench import bench as run_bench
    from catseye.exporting.bench_figure import bench_figure

    found = run_bench(
        models,
        batches=batch or (1, 8, 32),
        threads=threads or tuple(sorted({1, min(os.cpu_count() or 1, 8)})),
        seconds=seconds,
        rounds=rounds,
        data=data,
        spin=spin,
        trust=trust,
        say=_note,
    )
    if out is not None:
        from catseye.evaluation.figures import save_figure
        from catseye.runs import write_json

        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "bench.json", found.to_json())
        save_figure(bench_figure(found), out / "bench.png")
    if as_json:
        _print_json(found.to_json())
        return
    stdout.print(_bench_table(found))
    if out is not None:
        stdout.print(f"written: {out / 'bench.json'}, {out / 'bench.png'}")


@app.command()
def info(
    model: Annotated[Path, typer.Argument(help="An exported file, a run folder or a model.safetensors.")],
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


@app.command()
def serve(
    model: Annotated[Path, typer.Argument(help="A file that `catseye export` wrote.")],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; others than this machine need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8000,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=256, help="Processes; one is replaced when it dies.")
    ] = 1,
    watch: Annotated[
        bool, typer.Option("--watch", help="Take a new version of the file in, once it is proved.")
    ] = False,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Callers have to send what stands in it.", show_default=False)
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond this machine without a token.")] = False,
    runtime: Annotated[str, typer.Option("--runtime", help="auto, cpu, cuda, tensorrt, openvino.")] = "auto",
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=0, max=256, help="Calls side by side; 0: measured.")
    ] = 0,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=0, max=1024, help="Pictures per call at most; 0: measured.")
    ] = 0,
    max_body: Annotated[int, typer.Option("--max-body", min=1024, help="Bytes of a request's body.")] = 20_000_000,
    max_pixels: Annotated[int, typer.Option("--max-pixels", min=1, help="Pixels of a picture.")] = 50_000_000,
    max_header: Annotated[int, typer.Option("--max-header", min=1024, help="Bytes of a request's headers.")] = 16_384,
    max_parts: Annotated[int, typer.Option("--max-parts", min=1, help="Parts of a form.")] = 64,
    max_queue: Annotated[int, typer.Option("--max-queue", min=1, help="Pictures that wait; more get 503.")] = 512,
    max_connections: Annotated[int, typer.Option("--max-connections", min=1, help="More get 503.")] = 2048,
    deadline: Annotated[
        float, typer.Option("--deadline", min=0.01, help="Seconds until a picture's answer, else 504.")
    ] = 10.0,
    header_time: Annotated[
        float, typer.Option("--header-time", min=0.1, help="Seconds for a request's headers.")
    ] = 10.0,
    body_time: Annotated[float, typer.Option("--body-time", min=0.1, help="Seconds for its body.")] = 30.0,
    drain: Annotated[float, typer.Option("--drain", min=0, help="Seconds of `not ready` before a stop.")] = 0.5,
    quiet: Annotated[bool, typer.Option("--quiet", help="Log no request that went well.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer over HTTP: a page at /, POST /predict, the Open Inference Protocol, metrics."""
    try:
        from catseye.serving.command import serve as run_server
    except ImportError as error:
        raise MissingDependency(error.name or "uvicorn", "serve") from None
    from catseye.serving.settings import Limits, Settings

    limits = Limits(
        body_bytes=max_body,
        max_pixels=max_pixels,
        header_bytes=max_header,
        max_parts=max_parts,
        max_queued=max_queue,
        max_connections=max_connections,
        deadline_s=deadline,
        header_s=header_time,
        body_s=body_time,
    )
    settings = Settings(
        model,
        host,
        port,
        workers,
        watch,
        token_file,
        insecure,
        runtime,
        concurrency,
        batch_size,
        drain,
        quiet,
        limits,
    )

    def ready(facts: dict[str, Any]) -> None:
        if as_json:
            _print_json(facts)
            return
        stdout.print(f"[bold]{facts['address']}[/bold]  the page; /docs says how to ask", highlight=False)
        stdout.print(f"curl -X POST -F file=@cat.jpg {facts['address']}/predict", highlight=False)

    code = run_server(settings, ready)
    if code:
        raise typer.Exit(code)


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


Nodes = Annotated[int, typer.Option("--nodes", min=1, max=1000, help="Machines.")]
Gpus = Annotated[int, typer.Option("--gpus-per-node", min=0, max=64, help="Processes per machine; 0: one, on the CPU.")]
Cpus = Annotated[int, typer.Option("--cpus-per-node", min=1, max=1024, help="Cores per machine.")]
Memory = Annotated[str, typer.Option("--memory", help="Per machine, such as 32Gi.")]
JobName = Annotated[str, typer.Option("--name", help="Of the job.")]
TrainOptions = Annotated[str, typer.Option("--options", help='More of `catseye train`: "--model resnet18 -e 90".')]
RunThere = Annotated[str, typer.Argument(help="The run folder, as the machines see it; continued if half done.")]
DataThere = Annotated[str, typer.Argument(help="DATA as in train, as the machines see it.")]
Folder = Annotated[Path, typer.Option("--out", help="The folder that the file is written to.")]


@deploy.command("kubernetes-job")
def deploy_kubernetes_job(
    data: DataThere,
    run: RunThere,
    image: Annotated[str, typer.Option("--image", help="An image with catseye\\[train] and torchrun in it.")],
    claim: Annotated[str, typer.Option("--claim", help="The PersistentVolumeClaim with DATA and room for the run.")],
    mount: Annotated[str, typer.Option("--mount", help="Where the pods see that claim.")] = "/work",
    nodes: Nodes = 2,
    gpus_per_node: Gpus = 1,
    cpus_per_node: Cpus = 8,
    memory: Memory = "32Gi",
    name: JobName = "catseye-train",
    options: TrainOptions = "",
    out: Folder = Path(),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a Kubernetes Indexed Job that trains on several machines."""
    from catseye.deploying.training_job import TrainingJob, kubernetes_job, split_words

    words = split_words(options)
    job = TrainingJob(data, run, nodes, gpus_per_node, cpus_per_node, memory, name, words)
    text = kubernetes_job(job, image=image, claim=claim, mount=mount)
    _write_file(out / "train-job.yaml", text, "kubectl apply -f", as_json)


@deploy.command("slurm")
def deploy_slurm(
    data: DataThere,
    run: RunThere,
    time: Annotated[str, typer.Option("--time", help="The most that the job may take, HH:MM:SS.")] = "24:00:00",
    setup: Annotated[str, typer.Option("--setup", help="A line of shell that makes torchrun and catseye known.")] = "",
    nodes: Nodes = 2,
    gpus_per_node: Gpus = 1,
    cpus_per_node: Cpus = 8,
    memory: Memory = "32Gi",
    name: JobName = "catseye-train",
    options: TrainOptions = "",
    out: Folder = Path(),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a Slurm script that trains on several machines."""
    from catseye.deploying.training_job import TrainingJob, slurm_script, split_words

    words = split_words(options)
    job = TrainingJob(data, run, nodes, gpus_per_node, cpus_per_node, memory, name, words)
    _write_file(out / "train.sbatch", slurm_script(job, time=time, setup=setup), "sbatch", as_json)


def _write_file(path: Path, text: str, verb: str, as_json: bool) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--out {path.parent} cannot be written to ({error.strerror})") from None
    if as_json:
        _print_json({"written": [str(path)]})
        return
    stdout.print(f"written: {path}", markup=False)
    stdout.print(f"next: {verb} {path}", highlight=False, markup=False)


def spread(words: list[str]) -> list[str]:
    """Options that take several values may name them in a row.

    >>> spread(["export", "RUN", "--to", "onnx", "openvino", "--out", "o"])
    ['export', 'RUN', '--to', 'onnx', '--to', 'openvino', '--out', 'o']
    """
    several = {"--to": re.compile(r"[a-z][a-z-]*"), "--batch": re.compile(r"\d+"), "--threads": re.compile(r"\d+")}
    found: list[str] = []
    option, first = None, False
    for word in words:
        if word in several and words[0] in ("export", "bench"):
            option, first = word, True
            found.append(word)
            continue
        if option is not None and not first and several[option].fullmatch(word) and not Path(word).exists():
            found.append(option)
        elif not first:
            option = None
        found.append(word)
        first = False
    return found


def main() -> None:
    """Run the command line and turn errors into exit codes."""
    debug = "--debug" in sys.argv
    try:
        app(args=spread(sys.argv[1:]), standalone_mode=False)
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


def _note(line: str) -> None:
    stderr.print(f"- {line}", highlight=False, markup=False)


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


def _bench_table(found: Any) -> Any:
    from rich.table import Table

    facts = {one.file: one for one in found.files}
    table = Table(
        "file", "MB", "accuracy", "batch", "calls", "threads", "p50 ms", "p99 ms", "pictures/s", "ratio", box=None
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for row in found.rows:
        file = facts[row.file]
        accuracy = "-" if file.accuracy is None else f"{file.accuracy:.2%} ({file.num_pictures:,})"
        numbers = (f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}", f"{row.pictures_per_s:,.0f}", f"{row.ratio:.2f}")
        cells = (f"{file.num_bytes / 1e6:.2f}", accuracy, str(row.batch), str(row.calls), str(row.threads), *numbers)
        table.add_row(_escape(row.file), *cells)
    table.caption = f"ratio: pictures/s against {found.base} at the same setting; median of {found.rounds} rounds"
    return table


def _corruption_table(found: Any) -> Any:
    from rich.table import Table

    table = Table("accuracy under", *map(str, range(1, 6)), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, values in found.accuracy.items():
        table.add_row(name, *(f"{value:.1%}" for value in values))
    return table


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
