"""Runs uvicorn for every server: with limits, until a signal, then drained.

Enters: an ASGI application with `draining`, and a listening socket. Returns after a signal, once every request that
has begun is answered. Called by `server.py` and `shown.py`.
"""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import uvicorn

from catseye.http.bodies import Receive, Scope, Send
from catseye.http.logs import Log
from catseye.http.protocol import GuardedProtocol, guarded
from catseye.http.rules import Rules
from catseye.http.sockets import BACKLOG
from catseye.http.stopping import take_the_last

SWEEP_S = 0.25


class Drained(Protocol):
    """An application that can be drained: it answers what it has and accepts no more."""

    draining: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        ...


@dataclass(frozen=True)
class Stopping:
    """How a server ends.

    For `drain_s` it goes on but reports "not ready", then it has `finish_s` to answer the rest. `parent` is a pipe that
    is closed to stop the server; a server that has one shares its listening socket with others.
    """

    drain_s: float
    finish_s: int
    parent: int | None = None
    num_in_flight: Callable[[], int] = lambda: 0


class Server(uvicorn.Server):
    """uvicorn's server without its handling of signals.

    uvicorn would send the signal again after the shutdown, which would end the process.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], *, shared: bool) -> None:
        super().__init__(config)
        self._on_ready, self._shared = on_ready, shared

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `listen`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and call `on_ready`."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept the waiting connections, then stop accepting and answer everybody."""
        if not self.force_exit:
            await take_the_last(sockets or [], shared=self._shared)
        await super().shutdown(sockets)


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` on uvloop, if it is installed."""
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
    rules: Rules,
    log: Log,
    on_ready: Callable[[], None],
    stopping: Stopping,
    beside: Sequence[Coroutine[Any, Any, None]] = (),
) -> int:
    """Serve until a signal, or until the parent's pipe is closed.

    Returns the number of requests. The coroutines in `beside` run as long.
    """
    config = uvicorn.Config(
        app,
        http=guarded(rules),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=stopping.finish_s,
        backlog=BACKLOG,
    )
    server = Server(config, on_ready, shared=stopping.parent is not None)
    loop = asyncio.get_running_loop()

    def stop(signal_number: int) -> None:
        if app.draining:
            log("stop", signal=signal_number, waiting=False)
            server.should_exit = server.force_exit = True
            return
        # Report "not ready" for a moment first: new connections are still answered.
        app.draining = True
        log("drain", signal=signal_number, in_flight=stopping.num_in_flight())
        loop.call_later(stopping.drain_s, setattr, server, "should_exit", True)

    def orphaned(pipe: int) -> None:
        loop.remove_reader(pipe)
        stop(signal.SIGTERM)

    if threading.current_thread() is threading.main_thread():  # only this thread receives signals
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop, number)
    if stopping.parent is not None:
        loop.add_reader(stopping.parent, orphaned, stopping.parent)
    tasks = [loop.create_task(coroutine) for coroutine in (_sweep(server), *beside)]
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
