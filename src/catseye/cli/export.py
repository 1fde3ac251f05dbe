"""`catseye export`, `bench` and `info`: model files, how fast they are, what they say of themselves."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from catseye.cli.options import Debug, Json, Out, Trust
from catseye.cli.printing import note, print_json, stdout


def export_verb(
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
        int, typer.Option("--golden", min=0, max=256, help="Write so many images with tensors and answers.")
    ] = 0,
    device: Annotated[str, typer.Option("--device", help="Where the run computes; the file runs on the CPU.")] = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write self-describing model files, each proved on held-out images to answer as the run does."""
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
        say=note,
    )
    if as_json:
        files = [file.to_json() for file in done.files]
        print_json({"files": files, "card": str(done.card), "golden": str(done.golden) if done.golden else None})
        return
    for file in done.files:
        stdout.print(f"{file.path}: {file.num_bytes / 1e6:.2f} MB", highlight=False, markup=False)
        stdout.print(file.comparison.to_line(), highlight=False, markup=False)
    names = [str(file.path) for file in done.files] + [str(done.card)] + ([str(done.golden)] if done.golden else [])
    stdout.print(f"written: {', '.join(names)}", markup=False)
    stdout.print(f"next: catseye predict {done.path} IMAGE…   or   catseye info {done.path}", highlight=False)


def bench_verb(
    models: Annotated[list[Path], typer.Argument(help="Exported files; a run stands for eager torch.")],
    batch: Annotated[list[int] | None, typer.Option("--batch", help="Images per call; several: 1 8 32.")] = None,
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
    """Measure files against each other: latency, images per second and accuracy, in turn and repeatedly."""
    from catseye.exporting.bench import bench as run_bench
    from catseye.exporting.bench_figure import bench_figure
    from catseye.machine.cores import num_cores

    found = run_bench(
        models,
        batches=batch or (1, 8, 32),
        threads=threads or tuple(sorted({1, min(num_cores(), 8)})),
        seconds=seconds,
        rounds=rounds,
        data=data,
        spin=spin,
        trust=trust,
        say=note,
    )
    if out is not None:
        from catseye.evaluation.figures import save_figure
        from catseye.runs import write_json

        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "bench.json", found.to_json())
        save_figure(bench_figure(found), out / "bench.png")
    if as_json:
        print_json(found.to_json())
        return
    stdout.print(_bench_table(found))
    if out is not None:
        stdout.print(f"written: {out / 'bench.json'}, {out / 'bench.png'}")


def info(
    model: Annotated[Path, typer.Argument(help="An exported file, a run folder or a model.safetensors.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a model file says of itself: manifest, proof, inputs and outputs, operators, size."""
    from rich.table import Table

    from catseye.runtimes.inspection import inspect_model

    found = inspect_model(model)
    if as_json:
        print_json(found.to_json())
        return
    table = Table(box=None, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # a hash must stay whole
    for name, text in found.to_rows():
        table.add_row(name, escape(text))
    stdout.print(table, highlight=False)


def _bench_table(found: Any) -> Any:
    from rich.table import Table

    facts = {one.file: one for one in found.files}
    table = Table(
        "file", "MB", "accuracy", "batch", "calls", "threads", "p50 ms", "p99 ms", "images/s", "ratio", box=None
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for row in found.rows:
        file = facts[row.file]
        accuracy = "-" if file.accuracy is None else f"{file.accuracy:.2%} ({file.num_images:,})"
        numbers = (f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}", f"{row.images_per_s:,.0f}", f"{row.ratio:.2f}")
        cells = (f"{file.num_bytes / 1e6:.2f}", accuracy, str(row.batch), str(row.calls), str(row.threads), *numbers)
        table.add_row(escape(row.file), *cells)
    table.caption = f"ratio: images/s against {found.base} at the same setting; median of {found.rounds} rounds"
    return table
