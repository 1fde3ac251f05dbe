"""`catseye teach`: a camera page, on which a person teaches a few classes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from catseye.cli.local_page import show_local_page
from catseye.cli.options import Device, PageHost, PageOpen, PagePort, several
from catseye.cli.places import require_model
from catseye.cli.printing import cell, common_options, tell


def teach_verb(
    model: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN]", help="A run whose features are used; published weights if left out."),
    ] = None,
    classes: Annotated[
        list[str],
        typer.Option("--classes", metavar="NAME,NAME…", help="Their names; the page can change them."),
    ] = ["class 1,class 2,class 3"],  # noqa: B006 - typer copies it
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The run folder to keep it in.", show_default="runs/DATE-taught"),
    ] = None,
    host: PageHost = "127.0.0.1",
    port: PagePort = 8300,
    open_browser: PageOpen = True,
    device: Device = "auto",
) -> None:
    """Teach a few classes with a camera, and export what was learnt.

    Hold to record; the answers are shown live.
    """
    if model is not None:
        require_model(model, "give a run folder, or leave it out for published weights")
    import catseye

    def opened(facts: dict[str, Any]) -> None:
        tell(f"features: {cell(facts['backbone'])}")
        tell(f"{facts['address']}  the camera page; Ctrl-C ends it", bold=True)
        tell("nothing leaves this machine, and nothing is written until you keep the model")

    def show(**heard: Any) -> int:
        return catseye.open_teach(
            model,
            classes=several(classes),
            out=out,
            host=host,
            port=port,
            open=open_browser and not common_options.json,
            device=device,
            **heard,
        )

    show_local_page("opening the network", opened, show)
