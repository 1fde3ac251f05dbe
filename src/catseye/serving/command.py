"""The walk behind `catseye serve`: settings -> socket -> one process, or a supervisor with several. Called by cli."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from catseye.http.limits import LOOPBACK
from catseye.http.logs import Log
from catseye.http.sockets import address, bind
from catseye.serving.settings import ServerSettings


def run_serve(settings: ServerSettings, ready: Callable[[dict[str, Any]], None]) -> int:
    """Serve until a signal and return the exit code. `ready` gets the address once requests are answered.

    Raises:
        CatseyeError: the model, a setting or the address cannot be used.

    """
    # The first process of a container is spared every signal that it does not handle: without this, one that comes
    # while the model is loaded would be lost, and the container killed half a minute later.
    signal.signal(signal.SIGTERM, _end_server)
    token = settings.token()  # whatever is wrong with it should be said before anything listens
    log = Log(quiet=settings.quiet)
    if token is None and settings.host not in LOOPBACK:
        log("open", host=settings.host, advice="whoever reaches this address may ask; --token-file FILE ends that")
    listener = bind(settings.host, settings.port)
    facts: dict[str, Any] = {"address": address(listener), "model": str(settings.model)}
    try:
        if settings.workers > 1:
            from catseye.serving.supervisor import Supervisor

            return Supervisor(settings, listener, log, lambda: ready({**facts, "workers": settings.workers})).run()
        from catseye.serving.server import run_server

        return run_server(
            settings,
            listener,
            log,
            lambda model, plan: ready(
                {
                    **facts,
                    "version": model.version,
                    "runtime": model.runtime,
                    "concurrency": plan.concurrency,
                    "batch_size": plan.batch_size,
                }
            ),
        )
    finally:
        listener.close()
        log.close()


def _end_server(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
