"""The walk behind `catseye serve`: settings -> socket -> one process, or a supervisor with several. Called by cli."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from catseye.http.logs import Log
from catseye.http.sockets import address, bind, bind_path
from catseye.http.stopping import remove_path
from catseye.serving.metrics_folder import use_metrics_folder
from catseye.serving.settings import ServerSettings, is_open_to_others


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
    if settings.token_file is not None and is_open_to_others(settings.token_file):
        log("token-file-open", advice="every user of this machine can read or change the token; chmod 600 ends that")
    if token is None and not settings.is_local:
        log("open", host=settings.host, advice="whoever reaches this address may ask; --token-file FILE ends that")
    listener = bind(settings.host, settings.port) if settings.uds is None else bind_path(settings.uds)
    facts: dict[str, Any] = {"address": address(listener, settings.root_path), "model": str(settings.model)}
    use_metrics_folder("")
    try:
        with log.everything():
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
        if settings.uds is not None:
            remove_path(listener)
        listener.close()
        log.close()


def _end_server(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
