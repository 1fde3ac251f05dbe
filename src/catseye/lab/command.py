"""The walk behind `catseye lab`: arguments -> socket -> pages, until a signal. Called by cli."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anyio import to_thread

from catseye.errors import UsageError
from catseye.files import StrPath
from catseye.http.limits import LOOPBACK, Limits
from catseye.http.listening import Stopping, listen, run_loop
from catseye.http.logs import Log
from catseye.http.rules import Rules
from catseye.http.sockets import address, bind
from catseye.lab.app import LabApplication
from catseye.lab.bench import Workbench
from catseye.lab.networks import check_model, shown

FINISH_S = 5
NUM_THREADS = 4  # which answer; each of them may be training


def open_lab(
    model: StrPath | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8100,
    open: bool = True,
    timeline: StrPath | None = None,
    ready: Callable[[dict[str, Any]], None] | None = None,
) -> int:
    """Interactive pages: from a pixel to ConvNeXt, a training run as it goes, with your own image and model.

    `model` is a run, its path, or a name of `list_models`; `timeline` the folder of `catseye.timeline`. Serves until a
    signal and returns the exit code. `open` opens the pages in the browser; `ready` gets the address instead of the
    terminal.

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
    """Show the pages until a signal and return the exit code. `ready` gets the address once they can be opened.

    Raises:
        CatseyeError: the model, the timeline or the address cannot be used.

    """
    if host not in LOOPBACK:
        raise UsageError(
            f"the lab is for this machine alone, so --host is 127.0.0.1, localhost or ::1; got {host}; "
            "to see it from elsewhere: ssh -L 8100:localhost:8100 THIS-MACHINE"
        )
    bench = Workbench(model, timeline)
    if model is not None:
        check_model(model)
        shown(bench)  # what is wrong with it should be said before anything listens
    if timeline is not None:
        from catseye.lab.chapters.timeline.maths import (
            read_measured,
        )  # it imports torch, which the lab otherwise asks for later

        read_measured(timeline)
    log = Log(quiet=True)
    listener = bind(host, port)
    where = address(listener)
    app = LabApplication(bench, Limits(), log)

    def say() -> None:
        ready({"address": where, "model": model})
        if open_browser:
            import webbrowser

            webbrowser.open(where)

    async def run() -> int:
        to_thread.current_default_thread_limiter().total_tokens = NUM_THREADS
        await listen(app, listener, Rules(app.limits), log, say, Stopping(drain_s=0.0, finish_s=FINISH_S))
        return 0

    try:
        return run_loop(run())
    finally:
        listener.close()
        log.close()
