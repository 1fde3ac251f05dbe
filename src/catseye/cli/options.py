"""The options that several verbs share; each means the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path | None, typer.Option("--out", help="Where results go.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable results on stdout, the rest on stderr.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where built-in data sets lie or go.", show_default=False)
]
Seed = Annotated[int | None, typer.Option("--seed", help="Split, weights, order, augmentation.", show_default=False)]
Strict = Annotated[bool, typer.Option("--strict", help="An unreadable image is an error, not a warning.")]
Trust = Annotated[
    bool, typer.Option("--trust", help="Open TorchScript, .pt2 and TensorRT files: they are programs; only your own.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
