"""One serving process, from settings to exit: load, measure, listen, answer, drain.

Enters: `Settings`. Leaves: an exit code. Called by cli, and by `supervisor.py` in each worker.
"""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn

from catseye.serving import tuning
from catseye.serving.app import Application
from catseye.serving.engine import Engine
from catseye.serving.logs import Log
from catseye.serving.metrics import Metrics
from catseye.serving.protocol import GuardedProtocol, guarded
from catseye.serving.reload import Watcher
from catseye.serving.session import ServedModel, load
from catseye.serving.settings import Settings

SWEEP_S = 0.25
BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn's server without its signal handling, which ends a process that did all it should by a signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `serve_process`."""
        yield


def run(
    settings: Settings,
    listener: socket.socket,
    log: Log,
    on_ready: Callable[[ServedModel, tuning.Plan], None],
    parent: int | None = None,
) -> int:
    """Serve until a signal, or until the pipe `parent` ends. `on_ready` is called once requests are answered.

    Raises:
        CatseyeError: the model or a setting is wrong.

    """
    token = settings.token()
    model = load(settings.model, settings.runtime)
    # Workers measure at the same time, each in the others' way: they share the cores instead.
    share = 0 if settings.workers == 1 else max(1, tuning.num_cores() // settings.workers)
    plan = tuning.choose(model, concurrency=settings.concurrency or share, batch_size=settings.batch_size)
    log("plan", model=model.name, version=model.version, runtime=model.runtime, choice=str(plan),
        measured={f"{calls}x{size}": round(speed, 1) for (calls, size), speed in plan.measured.items()})  # fmt: skip
    # Decoding and model threads hold the interpreter for a moment only; waiting 5 ms for it would be the queue.
    sys.setswitchinterval(0.001)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings, listener, log, token, model, plan, on_ready, parent))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows has none
        return None
    return uvloop.new_event_loop


async def _serve(
    settings: Settings,
    listener: socket.socket,
    log: Log,
    token: bytes | None,
    model: ServedModel,
    plan: tuning.Plan,
    on_ready: Callable[[ServedModel, tuning.Plan], None],
    parent: int | None,
) -> int:
    limits = settings.limits
    counted = Metrics()
    engine = Engine(model, plan, limits, counted.batch)
    app = Application(engine, counted, log, token)
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
        timeout_graceful_shutdown=settings.finish_s,
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
        log("drain", signal=signal_number, in_flight=engine.num_in_flight)
        loop.call_later(settings.drain_s, setattr, server, "should_exit", True)

    def orphaned(pipe: int) -> None:
        loop.remove_reader(pipe)
        stop(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    if parent is not None:
        loop.add_reader(parent, orphaned, parent)
    tasks = [loop.create_task(_sweep(server)), loop.create_task(_announce(server, lambda: on_ready(model, plan)))]
    if settings.watch:
        tasks.append(loop.create_task(Watcher(settings, app, log).run()))
    gc.collect()
    gc.freeze()  # what lives as long as the process need not be looked at again
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.get_running_loop().run_in_executor(None, engine.close)
    log("end", requests=server.server_state.total_requests)
    return 0


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
