"""`catseye models` and `summary`: the networks, and the dimension flow of one."""

from typing import Annotated, Any

import typer

from catseye.cli.early import require_name, require_network
from catseye.cli.printing import asked, print_json, show, stdout, tell
from catseye.settings.typed import parse_shape


def models() -> None:
    """List the networks: the timeline with its published facts, then all others by name."""
    from catseye.models import milestones as timeline

    if asked.json:
        print_json(timeline.milestones_json())
        return
    for part in timeline.tables():
        show(part, wrap=True)


def summary(
    model: Annotated[str, typer.Argument(help="A name from `catseye models`.")],
    shape: Annotated[str, typer.Option("--input", help="CxHxW.")] = "3x32x32",
    classes: Annotated[int, typer.Option("--classes", min=2, help="Number of classes.")] = 10,
    no_skip: Annotated[bool, typer.Option("--no-skip", help="residual or tower without skips.")] = False,
    stem: Annotated[
        str | None, typer.Option("--stem", help="auto, small (for 64 px and less) or standard.", show_default=False)
    ] = None,
) -> None:
    """Show the dimension flow of a network: layer, shape, parameters, multiply-adds, receptive field."""
    require_network(model)
    require_name("stem", stem, ("auto", "small", "standard"))
    channels, height, width = parse_shape(shape)
    from catseye.models import registry
    from catseye.models.summary import summarise, summary_table

    options: dict[str, Any] = {"skip": False} if no_skip else {}
    if stem is not None:
        options["stem"] = stem
    network = registry.create(model, num_classes=classes, in_channels=channels, input_px=height, **options)
    result = summarise(network, (channels, height, width))
    if asked.json:
        print_json(result.to_json())
        return
    show(summary_table(result, stdout.width))
    tell(f"{result.num_parameters:,} parameters, {result.num_macs / 1e6:,.1f} M multiply-adds")
    for line in result.notes:
        tell(f"- {line}")
