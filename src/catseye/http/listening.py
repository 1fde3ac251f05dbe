"""uvicorn, run as every server of catseye runs: limits kept, signals drained, an end with an exit code.

Enters: an ASGI application with `draining`, and a listening socket. Leaves: when a signal came and what was begun is
answered. Called by `server.py`, and by the lab, whose pages are served by the same code.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Protocol

import uvicorn

from catseye.http.bodies import Receive, Scope, Send
from catseye.http.limits import Limits
from catseye.http.logs import Log
from catseye.http.protocol import GuardedProtocol, guarded

SWEEP_S = 0.25
BACKLOG = 2048


class Drained(Protocol):
    """An application that can be told to answer what it has and take no more."""

    draining: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        ...


class Server(uvicorn.Server):
    """uvicorn's server without its signal handling, which ends a process that did all it should by a signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `listen`."""
        yield


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` on uvloop, where there is one."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows has none
        return None
    return uvloop.new_event_loop


async def listen(
    app: Drained,
    listener: socket.socket,
    limits: Limits,
    log: Log,
    on_ready: Callable[[], None],
    *,
    drain_s: float,
    finish_s: int,
    num_in_flight: Callable[[], int] = lambda: 0,
    parent: int | None = None,
    beside: Sequence[Coroutine[Any, Any, None]] = (),
) -> int:
    """Answer until a signal, or until the pipe `parent` ends; the number of requests. `beside` runs as long.

    After a signal it goes on for `drain_s`, then answers what it has begun, for `finish_s` at most.
    """
    config = uvicorn.Config(
        app,
        http=guarded(limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(limits.keep_alive_s),
        limit_concurrency=limits.max_connections,
        timeout_graceful_shutdown=finish_s,
        backlog=BACKLOG,
    )
    server = Server(config)
    loop = asyncio.get_running_loop()

    def stop(signal_number: int) -> None:
        if app.draining:
            log("stop", signal=signal_number, waiting=False)
            server.should_exit = server.force_exit = True
            return
        # First say "not ready" for a moment: whoever connected just now is still answered.
        app.draining = True
        log("drain", signal=signal_number, in_flight=num_in_flight())
        loop.call_later(drain_s, setattr, server, "should_exit", True)

    def orphaned(pipe: int) -> None:
        loop.remove_reader(pipe)
        stop(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    if parent is not None:
        loop.add_reader(parent, orphaned, parent)
    tasks = [loop.create_task(one) for one in (_sweep(server), _announce(server, on_ready), *beside)]
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in tasks:
            task.cancel()
    return server.server_state.total_requests


async def _sweep(server: Server) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SWEEP_S)
        now = loop.time()
        for connection in list(server.server_state.connections):
            if isinstance(connection, GuardedProtocol):
                connection.sweep(now)


async def _announce(server: Server, on_ready: Callable[[], None]) -> None:
    while not server.started:
        await asyncio.sleep(0.002)
    on_ready()
