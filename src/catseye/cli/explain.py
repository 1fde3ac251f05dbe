"""`catseye explain`: what a network sees, one verb for each question. `explain RUN IMAGE` is `explain cam`."""

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from catseye.cli.early import INITS, MAPS, require_device, require_image, require_name
from catseye.cli.options import Device
from catseye.cli.places import require_model, require_order, require_out_folder
from catseye.cli.printing import asked, print_json, tell
from catseye.cli.verbs import as_verb
from catseye.errors import ImageError, UsageError


class CamByDefault(TyperGroup):
    """The verbs of explain; what is no verb is a run, and its map is drawn."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `cam` before a run; what nearly is a verb stays, so that its right name is suggested."""
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
def explain_cam(
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
    """Show which part of an image the answer rests on, and measure how far that map can be trusted."""
    require_name("method", method, MAPS)
    _require_both(run, image, device)
    require_out_folder(out if out is None or not out.suffix or out.is_dir() else out.parent)
    from catseye.explanation.explain import explain as run_explanation

    found = run_explanation(run, image, method=method, target=target, out=out, device=device)
    if asked.json:
        facts = {"class": found.label, "probability": found.probability, "method": found.method}
        print_json({**facts, "path": str(found.path), "worth": vars(found.worth)})
        return
    worth = found.worth
    tell(f"{found.label} {found.probability:.1%}, {found.method}")
    tell(
        f"deletion {worth.deletion:.3f} (random places {worth.deletion_random:.3f}; smaller is better), "
        f"insertion {worth.insertion:.3f} (random places {worth.insertion_random:.3f}; larger is better)"
    )
    tell(f"written: {found.path}")


@explain.command("kernels")
@as_verb
def explain_kernels(
    run: Run,
    image: Annotated[Path | None, typer.Argument(help="An image, to see what the filters make of it.")] = None,
    out: OutFolder = None,
    device: Device = "auto",
) -> None:
    """Draw the filters of the first convolution."""
    _require_both(run, image, device)
    require_out_folder(out, Path("kernels"))
    from catseye.explanation import figures

    found = figures.draw_kernels(run, image, device=device)
    _write(out or Path("kernels"), "The first filters", found, {"model": str(run)})


@explain.command("feature-maps")
@as_verb
def explain_feature_maps(
    run: Run,
    image: Image,
    layer: Layer = None,
    out: OutFolder = None,
    device: Device = "auto",
) -> None:
    """Draw what the layers make of an image, the strongest maps first."""
    _require_both(run, image, device)
    require_out_folder(out, Path(f"{image.stem}-feature-maps"))
    from catseye.explanation import figures

    found = figures.draw_feature_maps(run, image, layer=layer, device=device)
    facts = {"model": str(run), "image": str(image)}
    _write(out or Path(f"{image.stem}-feature-maps"), "Feature maps", found, facts)


@explain.command("receptive-field")
@as_verb
def explain_receptive_field(
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
    """Draw the region of an image that one activation can see, and where it does look."""
    _require_both(run, image, device)
    where = None if place is None else _place(place)
    require_out_folder(out, Path(f"{image.stem}-receptive-field"))
    from catseye.explanation import figures

    found = figures.draw_receptive_field(run, image, layer=layer, channel=channel, place=where, device=device)
    facts = {"model": str(run), "image": str(image)}
    _write(out or Path(f"{image.stem}-receptive-field"), "Receptive field", found, facts)


@explain.command("gradient-flow")
@as_verb
def explain_gradient_flow(
    depth: Annotated[int, typer.Option("--depth", help="Layers with weights, an even number from 10 to 100.")] = 50,
    norm: Annotated[bool, typer.Option("--norm", help="Batch normalisation after every convolution.")] = False,
    initialisation: Annotated[str, typer.Option("--init", help="pytorch, glorot or he.")] = "pytorch",
    steps: Annotated[int, typer.Option("--steps", min=0, max=1000, help="Steps of training in between.")] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of weights and images.")] = 0,
    out: OutFolder = None,
) -> None:
    """Measure how much of the gradient reaches each layer of a deep network, with skips and without."""
    if depth % 2 or not 10 <= depth <= 100:
        raise UsageError(f"--depth is an even number from 10 to 100; got {depth}; for example --depth 50")
    require_name("initialisation", initialisation, INITS)
    folder = out or Path("gradient-flow")
    require_out_folder(out, folder)
    from catseye.explanation import figures
    from catseye.explanation.gradient_flow import gradient_flow

    found = gradient_flow(depth, norm=norm, initialisation=initialisation, num_steps=steps, seed=seed)
    plain, residual = found.plain.start, found.residual.start
    lines = {
        "layers": str(depth),
        f"0.8 to the power of {depth - 1}": f"{found.arithmetic:.2g}",
        "left at layer 1 without skips": f"{plain.share:.2g}, × {plain.per_layer:.3f} a layer",
        "left at layer 1 with skips": f"{residual.share:.2g}, × {residual.per_layer:.3f} a layer",
    }
    if found.num_steps:
        lines["loss without skips"] = f"{found.plain.losses[0]:.2f} → {found.plain.losses[-1]:.2f}"
        lines["loss with skips"] = f"{found.residual.losses[0]:.2f} → {found.residual.losses[-1]:.2f}"
    if not asked.json:
        for key, value in lines.items():
            tell(f"{key}: {value}")
    _write(folder, "Gradient flow", figures.draw_gradient_flow(found), lines, found.to_json())


def _require_both(run: Path, image: Path | None, device: str) -> None:
    require_device(device)
    require_model(run, "give a run folder or a model.safetensors")
    if image is not None:
        require_order(run, [str(image)])
        if not image.exists():
            raise ImageError(f"{image} does not exist; give an image")
        require_image(image)


def _place(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise UsageError(f"--at is ROW,COLUMN; got {text!r}; for example --at 3,4")
    return int(parts[0]), int(parts[1])


def _write(
    folder: Path,
    title: str,
    found: dict[str, Any],
    lines: dict[str, str],
    more: dict[str, Any] | None = None,
) -> None:
    from catseye.explanation.figures import write_figures

    written = write_figures(folder, title, found, lines)
    if asked.json:
        print_json({**(more or {}), "written": [str(path) for path in written]})
        return
    tell(f"written: {written[-1]} and {len(written) - 1} PNG")
