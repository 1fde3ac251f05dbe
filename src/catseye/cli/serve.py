"""`catseye serve`: answers over HTTP.

Its options are the fields of `ServerSettings` and `Limits`.
"""

from typing import Any

import typer

from catseye.cli.printing import common_options, print_json, tell
from catseye.serving.settings import ServerSettings


def serve_verb(settings: ServerSettings) -> None:
    """Serve a model over HTTP: page, /predict, Open Inference Protocol, metrics.

    The page is at /; POST an image to /predict for its classes.
    """
    import catseye

    def ready(facts: dict[str, Any]) -> None:
        if common_options.json:
            print_json(facts)
            return
        tell(f"{facts['address']}  the page; /docs describes the API", bold=True)
        tell(f"curl -X POST -F file=@cat.jpg {facts['address']}/predict")

    code = catseye.serve(settings, ready=ready)
    if code:
        raise typer.Exit(code)
