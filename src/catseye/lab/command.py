"""`catseye lab`: arguments -> socket -> pages, until a signal. Called by cli."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from catseye.files import StrPath
from catseye.http.limits import Limits
from catseye.http.logs import Log
from catseye.http.shown import require_loopback, show_until_signal
from catseye.lab.app import LabApplication
from catseye.lab.bench import Workbench
from catseye.lab.networks import check_model, shown

NUM_THREADS = 4  # for answers; each of them may be training


def open_lab(
    model: StrPath | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8100,
    open: bool = True,
    timeline: StrPath | None = None,
    ready: Callable[[dict[str, Any]], None] | None = None,
) -> int:
    """Interactive pages: from a pixel to ConvNeXt, with your own image and model.

    One page shows a live training run. `model` is a run, its path, or a name of `list_models`; `timeline` is the folder
    of `catseye.timeline`. Serves until a signal and returns the exit code. `open` opens the pages in the browser;
    `ready` gets the address, which is otherwise printed.

    Raises:
        CatseyeError: the model, the timeline or the address cannot be used.

    """
    return serve_lab(
        os.fspath(model) if model is not None else None,
        ready or (lambda facts: print(f"{facts['address']}  the lab", flush=True)),
        host=host,
        port=port,
        open_browser=open,
        timeline=Path(timeline) if timeline is not None else None,
    )


def serve_lab(
    model: str | None,
    ready: Callable[[dict[str, Any]], None],
    *,
    host: str = "127.0.0.1",
    port: int = 8100,
    open_browser: bool = False,
    timeline: Path | None = None,
) -> int:
    """Serve the pages until a signal and return the exit code.

    `ready` gets the address once the pages can be opened.

    Raises:
        CatseyeError: the model, the timeline or the address cannot be used.

    """
    require_loopback(host, "the lab is", 8100)
    bench = Workbench(model, timeline)
    if model is not None:
        check_model(model)
        shown(bench)  # an unusable model is an error before the server listens
    if timeline is not None:
        from catseye.lab.chapters.timeline.maths import (
            read_measured,
        )  # it imports torch, which the lab otherwise imports later

        read_measured(timeline)
    log = Log(quiet=True)
    app = LabApplication(bench, Limits(), log)

    def announce(address: str) -> None:
        ready({"address": address, "model": model})

    return show_until_signal(app, host, port, log, announce, open_browser=open_browser, num_threads=NUM_THREADS)
