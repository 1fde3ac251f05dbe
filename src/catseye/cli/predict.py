"""`catseye predict`: a class for every image."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from catseye.cli.early import require_device, require_name
from catseye.cli.options import Device, Trust
from catseye.cli.places import require_model, require_order, require_out_file, require_out_folder, require_paths
from catseye.cli.printing import asked, note, print_json, tell
from catseye.counting import count
from catseye.errors import CatseyeError, UsageError
from catseye.machine.waiting import Waiting

ENGINES = ("here", "ray")


def predict(
    model: Annotated[Path, typer.Argument(help="A run folder, a model.safetensors or an exported file.")],
    paths: Annotated[list[str] | None, typer.Argument(help="Images, folders, globs.", show_default=False)] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes to show.")] = 1,
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write a table to this file.")] = None,
    from_list: Annotated[
        Path | None, typer.Option("--list", help="A text file with one path per line.", show_default=False)
    ] = None,
    engine: Annotated[str, typer.Option("--engine", help="here, or ray: millions of images, into Parquet.")] = "here",
    out: Annotated[
        Path | None, typer.Option("--out", help="ray: the folder of Parquet files; one half done is continued.")
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
        raise UsageError("what is to be classified? images, folders or globs behind the model, or --list FILE")
    require_model(model)
    require_order(model, paths or [])
    require_paths(paths or [])
    require_out_file(csv, "--csv")
    if engine == "ray":
        require_out_folder(out)
        if csv or out is None:
            raise UsageError(f"--engine ray writes Parquet into --out DIR; got {'--csv' if csv else 'no --out'}")
        _predict_with_ray(model, _names(paths, from_list), out, top, workers, part_size, device, trust)
        return
    idle = [name for name, value in (("--out", out), ("--workers", workers), ("--part-size", part_size)) if value]
    if idle:
        raise UsageError(f"{idle[0]} goes with --engine ray; got no --engine; --csv FILE writes a table here")
    import catseye
    from catseye.prediction.paths import predict_files, write_csv

    classifier = catseye.load(model, device=device, trust=trust)
    names = list(_names(paths, from_list))
    rows = []
    with Waiting("classifying", len(names)) as waiting:
        for row in predict_files(classifier, names, top=top):
            rows.append(row)
            waiting.step()
    if csv:
        write_csv(rows, csv)
    if asked.json:
        print_json([row.to_json() for row in rows])
    else:
        for row in rows:
            tell(row.to_text())
    failed = sum(row.error is not None for row in rows)
    if failed:
        raise CatseyeError(f"{failed} of {count(len(rows), 'image')} could not be read")


def _names(paths: list[str] | None, from_list: Path | None) -> Iterator[str]:
    from catseye.prediction.paths import walk_images
    from catseye.prediction.plan import read_list

    return chain(walk_images(paths or ()), read_list(from_list) if from_list else ())


def _predict_with_ray(
    model: Path,
    names: Iterator[str],
    out: Path,
    top: int,
    workers: int,
    part_size: int | None,
    device: str,
    trust: bool,
) -> None:
    from catseye.prediction.predict import PART_SIZE, predict_in_parts
    from catseye.prediction.ray_engine import RayWorkers

    size = part_size or PART_SIZE
    done = predict_in_parts(
        model, names, out, top=top, part_size=size, workers=RayWorkers(workers, device, trust), tell=note
    )
    if asked.json:
        print_json(done.to_json())
    else:
        now = (
            f"{done.num_images_now:,} of them now in {done.seconds:.1f} s" if done.num_images_now else "none left to do"
        )
        tell(f"{done.num_images:,} images in {done.num_parts:,} parts, {now}")
        tell(f"written: {out}")
    if done.num_failed:
        raise CatseyeError(f"{done.num_failed:,} of {done.num_images:,} images could not be read; their rows say why")
