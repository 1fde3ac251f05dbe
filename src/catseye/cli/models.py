"""`catseye models` and `summary`: the networks, and the dimension flow of one."""

from typing import Annotated

import typer

from catseye.cli.early import require_name, require_network
from catseye.cli.printing import common_options, print_json, show, stdout, tell
from catseye.settings.typed import parse_shape


def models_verb() -> None:
    """List the networks: the timeline with published facts, then all others by name."""
    import catseye

    networks = catseye.list_models()
    if common_options.json:
        print_json(networks.to_json())
        return
    for part in networks.tables():
        show(part, wrap=True)


def summary_verb(
    model: Annotated[str, typer.Argument(help="A name from `catseye models`, or a run.")],
    shape: Annotated[
        str | None, typer.Option("--input", help="CxHxW; a run's own, else 3x32x32.", show_default=False)
    ] = None,
    classes: Annotated[int, typer.Option("--classes", min=2, help="Number of classes.")] = 10,
    no_skip: Annotated[bool, typer.Option("--no-skip", help="residual or tower without skips.")] = False,
    stem: Annotated[
        str | None, typer.Option("--stem", help="auto, small (for 64 px and less) or standard.", show_default=False)
    ] = None,
) -> None:
    """Show a network's layers: shape, parameters, multiply-adds, receptive field."""
    require_network(model)
    require_name("stem", stem, ("auto", "small", "standard"))
    if shape is not None:
        parse_shape(shape)
    import catseye
    from catseye.models.summary import summary_table

    result = catseye.summary(model, input=shape, classes=classes, no_skip=no_skip, stem=stem)
    if common_options.json:
        print_json(result.to_json())
        return
    show(summary_table(result, stdout.width))
    tell(f"{result.num_parameters:,} parameters, {result.num_macs / 1e6:,.1f} M multiply-adds")
    for line in result.notes:
        tell(f"- {line}")
