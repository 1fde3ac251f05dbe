"""`catseye embed`, `search`: images as vectors, and those most similar to one."""

from pathlib import Path
from typing import Annotated

import typer

from catseye.cli.options import DataDir, Device, Layout
from catseye.cli.places import is_model, require_data, require_model, require_out_file
from catseye.cli.printing import cell, common_options, next_step, note, print_json, show, stderr, tell
from catseye.counting import count
from catseye.errors import UsageError


def embed_verb(
    words: Annotated[
        list[str], typer.Argument(metavar="[RUN] DATA", help="A run whose network is used, and images as in train.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write: .npz or .parquet.")] = Path(
        "features.npz"
    ),
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Published ImageNet weights instead of a run's network.")
    ] = False,
    layout: Layout = "auto",
    device: Device = "auto",
    data_dir: DataDir = None,
) -> None:
    """Turn images into feature vectors, one row per image, in a file."""
    model, data = _model_and_data(words, pretrained)
    if model is not None:
        require_model(Path(model), "give a run folder, or --pretrained in its place")
    require_data(data)
    require_out_file(out, "--out")
    import catseye

    with stderr.status("opening images", spinner="line") as status:
        embedding = catseye.embed(
            model,
            data,
            out=out,
            pretrained=pretrained,
            layout=layout,
            device=device,
            data_dir=data_dir,
            tell=lambda message: status.update(cell(message)),
        )
    for why in list(embedding.bad.values())[:10]:
        note(f"left out: {why}")
    if common_options.json:
        facts = {
            "num_images": embedding.num_images,
            "num_features": embedding.num_features,
            "num_resumed": embedding.num_resumed,
        }
        print_json({"file": str(embedding.path), **facts, "left_out": list(embedding.bad.values())})
        return
    if embedding.num_resumed:
        note(f"from an earlier call: {count(embedding.num_resumed, 'image')}")
    tell(
        f"{count(embedding.num_images, 'image')}, {embedding.num_features:,} features each, "
        f"from {model or 'published weights'}",
        bold=True,
    )
    tell(f"written: {out}")
    next_step("catseye", "search", out, "IMAGE", "--top", "20")


def _model_and_data(words: list[str], pretrained: bool) -> tuple[str | None, str]:
    """RUN and DATA as they were typed.

    Raises:
        UsageError: one of them is missing, or there is one too many.

    """
    if pretrained and len(words) == 1:
        return None, words[0]
    if not pretrained and len(words) == 2:
        return words[0], words[1]
    if pretrained:
        raise UsageError(f"with --pretrained there is no run, only DATA; got {' '.join(words)}")
    if len(words) == 1 and not is_model(Path(words[0])):
        raise UsageError(f"embed takes a network before DATA; got {words[0]} alone; add a run, or --pretrained")
    raise UsageError(f"embed takes RUN DATA; got {' '.join(words)}; for example catseye embed first-run photos")


def search_verb(
    features: Annotated[Path, typer.Argument(metavar="FEATURES", help="A file that catseye embed wrote.")],
    image: Annotated[Path, typer.Argument(help="The image to search with.")],
    top: Annotated[int, typer.Option("--top", min=1, help="How many images to show.")] = 20,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="RUN", help="The run that made the file, if it was moved.", show_default=False),
    ] = None,
    device: Device = "auto",
) -> None:
    """Find the images in a feature file that are most similar to one image."""
    import catseye

    hits = catseye.search(features, image, top=top, model=model, device=device)
    if common_options.json:
        print_json([vars(hit) for hit in hits])
        return
    from rich.table import Table

    table = Table("cosine", "class", "image", box=None)
    for hit in hits:
        table.add_row(f"{hit.cosine:.4f}", cell(hit.label or "–"), cell(hit.name))
    show(table)
