"""Options that verbs share, each with one meaning, and how values are read."""

import os
from pathlib import Path
from typing import Annotated

import typer

from catseye.errors import UsageError

Out = Annotated[Path | None, typer.Option("--out", help="The folder for the results.", show_default=False)]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="The folder of the built-in data sets.", show_default=False)
]
NewPlace = Annotated[
    str | None, typer.Option("--data", help="Where the run's images are now, if they were moved.", show_default=False)
]
Seed = Annotated[
    int | None, typer.Option("--seed", help="Seed of split, weights, order and augmentation.", show_default=False)
]
Strict = Annotated[bool, typer.Option("--strict", help="An unreadable image is an error, not a warning.")]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Open TorchScript, .pt2 and TensorRT files: they can run code, so only your own."),
]
# For pages on which a person works.
PageHost = Annotated[
    str, typer.Option("--host", help="127.0.0.1, localhost or ::1: the page serves this machine only.")
]
PagePort = Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free port.")]
PageOpen = Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")]


def _switch_cache_off(no_cache: bool) -> None:
    # In the environment, so that the processes of --nproc inherit it.
    if no_cache:
        from catseye.data.cache import OFF

        os.environ[OFF] = "1"


NoCache = Annotated[
    bool,
    typer.Option("--no-cache", callback=_switch_cache_off, help="Decode all images again, and cache none."),
]
Layout = Annotated[
    str,
    typer.Option(
        "--layout",
        help="What the folders of DATA are: auto, splits (train, test …) or classes; names: files are cat.0.jpg.",
    ),
]
ImageColumn = Annotated[
    str, typer.Option("--image-column", help="Column of a .csv with the files; guessed if left out.")
]
LabelColumn = Annotated[
    str, typer.Option("--label-column", help="Column of a .csv with the class; guessed if left out.")
]
SplitColumn = Annotated[str, typer.Option("--split-column", help="Column with train, val, test; or none.")]
GroupColumn = Annotated[
    str, typer.Option("--group-column", help="Column whose equal values stay in one split; or none.")
]


def several(values: list[str] | None) -> list[str]:
    """The values of an option that is repeated or takes several, joined by commas.

    >>> several(["onnx,openvino", "tensorrt"])
    ['onnx', 'openvino', 'tensorrt']
    """
    return [value.strip() for text in values or [] for value in text.split(",") if value.strip()]


def whole_numbers(values: list[str] | None, option: str) -> list[int]:
    """The same for whole numbers.

    Raises:
        UsageError: a value is not a whole number.

    """
    texts = several(values)
    for value in texts:
        if not (value.isascii() and value.isdigit()):
            raise UsageError(
                f"{option} takes whole numbers with commas between them; got {value!r}; for example {option} 1,8"
            )
    return [int(value) for value in texts]
