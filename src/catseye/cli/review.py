"""`catseye review` and `label`: pages on which a person corrects or adds labels."""

from pathlib import Path
from typing import Annotated, Any

import typer

from catseye.cli.local_page import show_local_page
from catseye.cli.options import DataDir, Device, Layout, PageHost, PageOpen, PagePort, several
from catseye.cli.places import is_model, require_data, require_out_file
from catseye.cli.printing import common_options, next_step, tell
from catseye.errors import UsageError

Who = Annotated[str, typer.Option("--who", help="Name recorded with each decision; this user's if left out.")]


def review_verb(
    data: Annotated[str, typer.Argument(metavar="RUN|DATA", help="A run folder, or images as in train.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file that decisions are added to.")] = Path(
        "corrections.csv"
    ),
    who: Who = "",
    layout: Layout = "auto",
    host: PageHost = "127.0.0.1",
    port: PagePort = 8200,
    open_browser: PageOpen = True,
    device: Device = "auto",
    data_dir: DataDir = None,
) -> None:
    """Review labels that are probably wrong, with one key per decision.

    No image is changed.
    """
    is_run = is_model(Path(data))
    if not is_run:
        require_data(data)
    require_out_file(out, "--out")
    if is_run and layout != "auto":
        raise UsageError("--layout would do nothing here: a run keeps its own layout; leave it out")
    import catseye

    def opened(facts: dict[str, Any]) -> None:
        tell(facts["says"])
        tell(f"{facts['address']}  the review; Ctrl-C ends it", bold=True)
        next_step("catseye", "train", "DATA" if is_run else data, "--corrections", out)

    def show(**heard: Any) -> int:
        return catseye.open_review(
            data,
            out=out,
            who=who,
            layout=layout,
            host=host,
            port=port,
            open=open_browser and not common_options.json,
            device=device,
            data_dir=data_dir,
            **heard,
        )

    show_local_page("listing images", opened, show)


def label_verb(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of images without labels, or with some.")],
    classes: Annotated[
        list[str], typer.Option("--classes", metavar="NAME,NAME…", help="Names of the classes: cat,dog.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The list to write; train takes it as DATA.")
    ] = Path("labels.csv"),
    who: Who = "",
    host: PageHost = "127.0.0.1",
    port: PagePort = 8200,
    open_browser: PageOpen = True,
    device: Device = "auto",
) -> None:
    """Label a folder of images with few decisions.

    The page proposes labels and asks about the most useful image.
    """
    require_out_file(out, "--out")
    import catseye

    def opened(facts: dict[str, Any]) -> None:
        tell(facts["says"])
        tell(f"{facts['address']}  the labelling; Ctrl-C ends it", bold=True)
        next_step("catseye", "train", out)

    def show(**heard: Any) -> int:
        return catseye.open_labels(
            folder,
            classes=several(classes),
            out=out,
            who=who,
            host=host,
            port=port,
            open=open_browser and not common_options.json,
            device=device,
            **heard,
        )

    show_local_page("listing images", opened, show)
