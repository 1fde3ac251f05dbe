"""`catseye explain`: where in a picture the network sees its answer."""

from pathlib import Path
from typing import Annotated

import typer

from catseye.cli.options import Debug, Device, Json
from catseye.cli.printing import print_json, stdout


def explain(
    run: Annotated[Path, typer.Argument(help="A run folder or a model.safetensors.")],
    picture: Annotated[Path, typer.Argument(help="A picture.")],
    method: Annotated[str, typer.Option("--method", help="gradcam, gradcam++, eigencam or cam.")] = "gradcam",
    target: Annotated[
        str | None, typer.Option("--class", help="Explain this class instead of the answer.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The PNG; PICTURE-METHOD.png if left out.")] = None,
    device: Device = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show where in a picture the network sees its answer, and measure what that map is worth."""
    from catseye.explanation.explain import explain as run_explanation

    found = run_explanation(run, picture, method=method, target=target, out=out, device=device)
    if as_json:
        facts = {"class": found.label, "probability": found.probability, "method": found.method}
        print_json({**facts, "path": str(found.path), "worth": vars(found.worth)})
        return
    worth = found.worth
    stdout.print(f"{found.label} {found.probability:.1%}, {found.method}", highlight=False, markup=False)
    stdout.print(
        f"deletion {worth.deletion:.3f} (random places {worth.deletion_random:.3f}; smaller is better), "
        f"insertion {worth.insertion:.3f} (random places {worth.insertion_random:.3f}; larger is better)",
        highlight=False,
    )
    stdout.print(f"written: {found.path}", highlight=False, markup=False)
