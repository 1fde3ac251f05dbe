"""What the verbs that open a local page have in common: how far it is, the address or its JSON, the exit code."""

from collections.abc import Callable
from typing import Any

import typer

from catseye.cli.printing import asked, cell, print_json, stderr


def show_local_page(first: str, opened: Callable[[dict[str, Any]], None], show: Callable[..., int]) -> None:
    """Call `show` with `ready` and `tell`; `opened` says where the page is, in words."""
    with stderr.status(first, spinner="line") as status:

        def ready(facts: dict[str, Any]) -> None:
            status.stop()
            if asked.json:
                print_json(facts)
            else:
                opened(facts)

        code = show(ready=ready, tell=lambda said: status.update(cell(said)))
    if code:
        raise typer.Exit(code)
