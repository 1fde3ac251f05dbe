"""`catseye predict`: a class for every image."""

from pathlib import Path
from typing import Annotated, Any

import typer

from catseye.cli.early import require_device, require_name
from catseye.cli.options import Device, Trust
from catseye.cli.places import require_model, require_order, require_out_file, require_out_folder, require_paths
from catseye.cli.printing import common_options, note, print_json, tell
from catseye.counting import count
from catseye.errors import CatseyeError, UsageError

ENGINES = ("here", "ray")


def predict_verb(
    model: Annotated[Path, typer.Argument(help="A run folder, a model.safetensors or an exported file.")],
    paths: Annotated[
        list[str] | None, typer.Argument(help="Images, folders, globs, lists (.csv, .txt …).", show_default=False)
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes to show.")] = 1,
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write a table to this file.")] = None,
    from_list: Annotated[
        Path | None, typer.Option("--list", help="A text file with one path per line.", show_default=False)
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="here: in this process; ray: millions of images, into Parquet files.")
    ] = "here",
    out: Annotated[
        Path | None, typer.Option("--out", help="ray: the folder of Parquet files; an unfinished one is continued.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=0, help="ray: processes; 0: one per core.")] = 0,
    part_size: Annotated[
        int | None, typer.Option("--part-size", min=1, help="ray: images per Parquet file; 2000 if left out.")
    ] = None,
    device: Device = "auto",
    trust: Trust = False,
) -> None:
    """Classify images; the exit code is 1 when one could not be read."""
    require_name("engine", engine, ENGINES)
    require_device(device)
    if not paths and from_list is None:
        raise UsageError("nothing to classify; give images, folders, globs or lists (.csv, .txt) after the model")
    require_model(model)
    require_order(model, paths or [])
    require_paths(paths or [])
    require_out_file(csv, "--csv")
    if engine == "ray":
        require_out_folder(out)
    import catseye

    result = catseye.predict(
        model,
        paths or None,
        top=top,
        csv=csv,
        list=from_list,
        engine=engine,
        out=out,
        workers=workers,
        part_size=part_size,
        device=device,
        trust=trust,
        tell=note,
    )
    if engine == "ray":
        _tell_parts(result, out)
    else:
        _tell_rows(result)


def _tell_rows(rows: Any) -> None:
    if common_options.json:
        print_json([row.to_json() for row in rows])
    else:
        for row in rows:
            tell(row.to_text())
    if rows.num_failed:
        raise CatseyeError(f"{rows.num_failed} of {count(len(rows), 'image')} could not be read")


def _tell_parts(done: Any, out: Path | None) -> None:
    if common_options.json:
        print_json(done.to_json())
    else:
        now = (
            f"{done.num_images_now:,} of them now in {done.seconds:.1f} s" if done.num_images_now else "none left to do"
        )
        tell(f"{done.num_images:,} images in {done.num_parts:,} parts, {now}")
        tell(f"written: {out}")
    if done.num_failed:
        raise CatseyeError(f"{done.num_failed:,} of {done.num_images:,} images could not be read; their rows say why")
