"""`catseye export`, `bench` and `info`: model files, their speed and content."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from catseye.cli.early import require_device
from catseye.cli.habits import in_rows
from catseye.cli.options import NewPlace, Out, Trust, several, whole_numbers
from catseye.cli.places import require_data, require_model, require_out_folder
from catseye.cli.printing import cell, command_line, common_options, next_step, note, print_json, show, stdout, tell
from catseye.counting import count, shortened
from catseye.errors import UsageError
from catseye.exporting.offered import require_formats


def export_verb(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to", help="onnx (default), torchscript, torch-export, aotinductor, openvino, tensorrt, hub: one or more."
        ),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Also write INT8 files, for onnx, openvino and tensorrt.")
    ] = False,
    max_drop: Annotated[float, typer.Option("--max-drop", help="Points of accuracy that an INT8 file may lose.")] = 0.3,
    input_kind: Annotated[
        str, typer.Option("--input", help="uint8: N x H x W x C bytes, or float: N x C x H x W, normalised.")
    ] = "uint8",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="A folder, or a file for one format; RUN/export if left out.", show_default=False),
    ] = None,
    golden: Annotated[
        int,
        typer.Option("--golden", min=0, max=256, help="Also write this many images with their tensors and answers."),
    ] = 0,
    examples: Annotated[
        int,
        typer.Option(
            "--examples", min=0, max=24, help="Put this many held-out images into the file, for serve's page."
        ),
    ] = 0,
    data: NewPlace = None,
    device: Annotated[
        str, typer.Option("--device", help="Where the run computes; the exported file runs on the CPU.")
    ] = "auto",
) -> None:
    """Write self-describing model files, checked against the run on held-out images."""
    require_model(run, "give a run folder")
    require_data(data)
    require_device(device)
    formats = several(to) or ["onnx"]
    require_formats(formats, int8=int8, max_drop=max_drop, input_kind=input_kind)
    if out is None or not out.suffix or out.is_dir():
        require_out_folder(out, run / "export" if run.is_dir() else None)
    else:
        require_out_folder(out.parent)
    import catseye

    done = catseye.export(
        run,
        to=formats,
        int8=int8,
        max_drop=max_drop,
        input=input_kind,
        out=out,
        golden=golden,
        examples=examples,
        data=data,
        device=device,
        say=note,
    )
    if common_options.json:
        files = [file.to_json() for file in done.files]
        print_json({"files": files, "card": str(done.card), "golden": str(done.golden) if done.golden else None})
        return
    for file in done.files:
        tell(f"{file.path}: {file.num_bytes / 1e6:.2f} MB")
        tell(file.comparison.to_line())
    if examples:
        tell(
            f"{done.num_examples} of {count(examples, 'example image')} put into each file: "
            "anyone with the file can see them"
        )
    names = [str(file.path) for file in done.files] + [str(done.card)] + ([str(done.golden)] if done.golden else [])
    tell(f"written: {', '.join(names)}")
    next_step("catseye", "predict", done.path, "IMAGE…")
    next_step("catseye", "info", done.path)


def bench_verb(
    models: Annotated[list[Path], typer.Argument(help="Exported files; a run is measured in eager torch.")],
    batch: Annotated[list[str] | None, typer.Option("--batch", help="Images per call; several: 1,8,32.")] = None,
    threads: Annotated[
        list[str] | None,
        typer.Option(
            "--threads", help="Threads; several: 1,2. Above 1: both one call, and as many one-thread calls at once."
        ),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="Seconds per measurement in each round.")] = 0.5,
    rounds: Annotated[int, typer.Option("--rounds", help="Rounds in which all files take turns.")] = 5,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Measure accuracy on these; by default it is the accuracy found at export."),
    ] = None,
    spin: Annotated[bool, typer.Option("--spin", help="Let waiting threads spin; they sleep by default.")] = False,
    trust: Trust = False,
    out: Out = None,
) -> None:
    """Compare files in alternating rounds: latency, images per second, accuracy."""
    batches, thread_counts = whole_numbers(batch, "--batch"), whole_numbers(threads, "--threads")
    _refuse_rows(models)
    for model in models:
        require_model(model)
    require_data(data)
    require_out_folder(out)
    import catseye

    benchmark = catseye.bench(
        models,
        batch=batches or (1, 8, 32),
        threads=thread_counts or None,
        seconds=seconds,
        rounds=rounds,
        data=data,
        spin=spin,
        trust=trust,
        out=out,
        say=note,
    )
    if common_options.json:
        print_json(benchmark.to_json())
        return
    for table in _bench_tables(benchmark, stdout.width):
        show(table)
    base = shortened(benchmark.base, 20)
    tell(f"ratio: images/s against {base}; median of {count(benchmark.rounds, 'round')}")
    if out is not None:
        tell(f"written: {out / 'bench.json'}, {out / 'bench.png'}")


def info_verb(
    model: Annotated[Path, typer.Argument(help="An exported file, a run folder or a model.safetensors.")],
) -> None:
    """Show a model file's manifest, export check, inputs, outputs, operators, size."""
    from rich.table import Table

    import catseye

    inspection = catseye.info(model)
    if common_options.json:
        print_json(inspection.to_json())
        return
    table = Table(box=None, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # a hash must stay whole
    for name, text in inspection.to_rows():
        table.add_row(cell(name), cell(text))
    show(table)


def _refuse_rows(models: list[Path]) -> None:
    """Refuse `--batch 1 8`, which would take the 8 for a model."""
    for model in models:
        if model.name.isascii() and str(model).isdigit() and not model.exists():
            words = sys.argv[1:]
            advice = command_line("catseye", *in_rows(words, ("--batch", "--threads")))
            raise UsageError(f"several values are separated by commas; got the model {model}; type: {advice}")


def _bench_tables(benchmark: Any, width: int) -> list[Any]:
    """A table of the files and one of their speeds.

    Names that do not fit are shortened in the middle.
    """
    from rich.table import Table

    files = Table("file", "MB", "accuracy", "images", box=None)
    for file in benchmark.files:
        accuracy = ("-", "-") if file.accuracy is None else (f"{file.accuracy:.2%}", f"{file.num_images:,}")
        files.add_row(cell(shortened(file.file, width - 34)), f"{file.num_bytes / 1e6:.2f}", *accuracy)
    speeds = Table("file", "batch", "calls", "threads", "p50 ms", "p99 ms", "images/s", "ratio", box=None)
    for table in (files, speeds):
        for column in table.columns[1:]:
            column.justify = "right"
    for row in benchmark.rows:
        numbers = (f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}", f"{row.images_per_s:,.0f}", f"{row.ratio:.2f}")
        name = shortened(row.file, max(12, width - 68))
        speeds.add_row(cell(name), str(row.batch), str(row.calls), str(row.threads), *numbers)
    return [files, speeds]
