"""`catseye lab`: interactive pages about what a convolutional network does."""

from pathlib import Path
from typing import Annotated, Any

import typer

from catseye.cli.printing import common_options, print_json, tell


def lab_verb(
    model: Annotated[
        str | None,
        typer.Argument(help="A run folder, a model.safetensors or a name from `catseye models`.", show_default=False),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="127.0.0.1, localhost or ::1: the lab serves this machine only.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free port.")] = 8100,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the pages in the browser.")] = True,
    timeline: Annotated[
        Path | None,
        typer.Option("--timeline", help="The folder of a `catseye timeline` run, for chapter 8.", show_default=False),
    ] = None,
) -> None:
    """Open interactive pages, from a pixel to ConvNeXt.

    They also show a live training run, and your own image and model.
    """
    import catseye

    def ready(facts: dict[str, Any]) -> None:
        if common_options.json:
            print_json(facts)
            return
        tell(f"{facts['address']}  the lab; Ctrl-C ends it", bold=True)

    code = catseye.open_lab(
        model, host=host, port=port, open=open_browser and not common_options.json, timeline=timeline, ready=ready
    )
    if code:
        raise typer.Exit(code)
