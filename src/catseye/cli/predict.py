"""`catseye predict`: a class for every picture."""

from pathlib import Path
from typing import Annotated

import typer

from catseye.cli.options import Debug, Device, Json, Trust
from catseye.cli.printing import print_json, stdout
from catseye.errors import CatseyeError


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
        print_json([row.to_json() for row in rows])
    else:
        for row in rows:
            stdout.print(row.to_text(), highlight=False, markup=False)
    failed = sum(row.error is not None for row in rows)
    if failed:
        raise CatseyeError(f"{failed} of {len(rows)} pictures could not be read")
