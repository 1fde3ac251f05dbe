"""`catseye explain`: what a network sees, one verb for each question.

`explain RUN IMAGE` is `explain cam`.
"""

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from catseye.cli.early import INITS, MAPS, require_device, require_image, require_name
from catseye.cli.options import Device
from catseye.cli.places import require_model, require_order, require_out_folder
from catseye.cli.printing import common_options, print_json, tell
from catseye.cli.verbs import as_verb
from catseye.errors import ImageError, UsageError
from catseye.settings.typed import parse_place


class CamByDefault(TyperGroup):
    """The verbs of explain; any other first word is a run, for `cam`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `cam` before a run, but leave a misspelt verb, so that a fix is suggested."""
        first = args[0] if args else ""
        is_verb = first in self.commands or first in ("-h", "--help")
        misspelt = not Path(first).exists() and get_close_matches(first, self.commands)
        if args and not is_verb and not misspelt:
            args = ["cam", *args]
        return super().parse_args(ctx, args)


explain = typer.Typer(
    cls=CamByDefault,
    help="Show what a network sees: its filters, its maps, where it looks, what its gradients do.",
    no_args_is_help=True,
)

Run = Annotated[Path, typer.Argument(help="A run folder or a model.safetensors.")]
Image = Annotated[Path, typer.Argument(help="An image.")]
Layer = Annotated[str | None, typer.Option("--layer", help="A name from `catseye summary`.", show_default=False)]
OutFolder = Annotated[
    Path | None, typer.Option("--out", help="The folder for PNGs and index.html.", show_default=False)
]


@explain.command("cam")
@as_verb
def explain_cam_verb(
    run: Run,
    image: Image,
    method: Annotated[str, typer.Option("--method", help="gradcam, gradcam++, eigencam or cam.")] = "gradcam",
    target: Annotated[
        str | None, typer.Option("--class", help="Explain this class instead of the answer.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A folder, or the PNG; IMAGE-METHOD.png if left out.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Show which part of an image the answer rests on, and how reliable the map is."""
    require_name("method", method, MAPS)
    _require_both(run, image, device)
    require_out_folder(out if out is None or not out.suffix or out.is_dir() else out.parent)
    import catseye

    result = catseye.explain(run, image, method=method, target=target, out=out, device=device)
    if common_options.json:
        facts = {"class": result.label, "probability": result.probability, "method": result.method}
        print_json({**facts, "path": str(result.path), "worth": vars(result.worth)})
        return
    worth = result.worth
    tell(f"{result.label} {result.probability:.1%}, {result.method}")
    tell(
        f"deletion {worth.deletion:.3f} (random places {worth.deletion_random:.3f}; smaller is better), "
        f"insertion {worth.insertion:.3f} (random places {worth.insertion_random:.3f}; larger is better)"
    )
    tell(f"written: {result.path}")


@explain.command("kernels")
@as_verb
def explain_kernels_verb(
    run: Run,
    image: Annotated[Path | None, typer.Argument(help="An image, to show what the filters respond to.")] = None,
    out: OutFolder = None,
    device: Device = "auto",
) -> None:
    """Draw the filters of the first convolution."""
    _require_both(run, image, device)
    require_out_folder(out, Path("kernels"))
    import catseye

    _tell_written(catseye.explain_kernels(run, image, out=out or Path("kernels"), device=device))


@explain.command("feature-maps")
@as_verb
def explain_feature_maps_verb(
    run: Run,
    image: Image,
    layer: Layer = None,
    out: OutFolder = None,
    device: Device = "auto",
) -> None:
    """Draw the feature maps of an image, the strongest first."""
    _require_both(run, image, device)
    require_out_folder(out, Path(f"{image.stem}-feature-maps"))
    import catseye

    folder = out or Path(f"{image.stem}-feature-maps")
    _tell_written(catseye.explain_feature_maps(run, image, layer=layer, out=folder, device=device))


@explain.command("receptive-field")
@as_verb
def explain_receptive_field_verb(
    run: Run,
    image: Image,
    layer: Layer = None,
    channel: Annotated[
        int | None, typer.Option("--channel", min=0, help="The strongest if left out.", show_default=False)
    ] = None,
    place: Annotated[
        str | None,
        typer.Option("--at", help="ROW,COLUMN in the map; its highest value if left out.", show_default=False),
    ] = None,
    out: OutFolder = None,
    device: Device = "auto",
) -> None:
    """Draw the region that one activation can see, and which part of it counts."""
    _require_both(run, image, device)
    position = None if place is None else parse_place(place)
    require_out_folder(out, Path(f"{image.stem}-receptive-field"))
    import catseye

    folder = out or Path(f"{image.stem}-receptive-field")
    _tell_written(
        catseye.explain_receptive_field(
            run, image, layer=layer, channel=channel, at=position, out=folder, device=device
        )
    )


@explain.command("gradient-flow")
@as_verb
def explain_gradient_flow_verb(
    depth: Annotated[int, typer.Option("--depth", help="Layers with weights, an even number from 10 to 100.")] = 50,
    norm: Annotated[bool, typer.Option("--norm", help="Batch normalisation after every convolution.")] = False,
    initialisation: Annotated[str, typer.Option("--init", help="pytorch, glorot or he.")] = "pytorch",
    steps: Annotated[
        int, typer.Option("--steps", min=0, max=1000, help="Training steps between the two measurements.")
    ] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of weights and images.")] = 0,
    out: OutFolder = None,
) -> None:
    """Measure the gradient at each layer of a deep network, with and without skips."""
    if depth % 2 or not 10 <= depth <= 100:
        raise UsageError(f"--depth is an even number from 10 to 100; got {depth}; for example --depth 50")
    require_name("initialisation", initialisation, INITS)
    folder = out or Path("gradient-flow")
    require_out_folder(out, folder)
    import catseye

    result = catseye.explain_gradient_flow(
        depth=depth, norm=norm, init=initialisation, steps=steps, seed=seed, out=folder
    )
    if not common_options.json:
        for key, value in result.lines.items():
            tell(f"{key}: {value}")
    _tell_written(result)


def _require_both(run: Path, image: Path | None, device: str) -> None:
    require_device(device)
    require_model(run, "give a run folder or a model.safetensors")
    if image is not None:
        require_order(run, [str(image)])
        if not image.exists():
            raise ImageError(f"{image} does not exist; give an image")
        require_image(image)


def _tell_written(result: Any) -> None:
    if common_options.json:
        print_json({**result.facts, "written": [str(path) for path in result.written]})
        return
    tell(f"written: {result.written[-1]} and {len(result.written) - 1} PNG")
