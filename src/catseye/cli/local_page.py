"""What the verbs of a local page share: progress, address or JSON, exit code."""

from collections.abc import Callable
from typing import Any

import typer

from catseye.cli.printing import cell, common_options, print_json, stderr


def show_local_page(first: str, opened: Callable[[dict[str, Any]], None], show: Callable[..., int]) -> None:
    """Call `show` with `ready` and `tell`; `opened` prints where the page is."""
    with stderr.status(first, spinner="line") as status:

        def ready(facts: dict[str, Any]) -> None:
            status.stop()
            if common_options.json:
                print_json(facts)
            else:
                opened(facts)

        code = show(ready=ready, tell=lambda message: status.update(cell(message)))
    if code:
        raise typer.Exit(code)
