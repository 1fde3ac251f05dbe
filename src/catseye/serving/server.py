"""One serving process, settings to exit: load, measure, listen, answer, drain.

Enters: `ServerSettings`. Leaves: an exit code. Called by cli, and by `supervisor.py` in each worker.
"""

import asyncio
import gc
import socket
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from catseye.http.listening import Stopping, listen, run_loop
from catseye.http.logs import Log
from catseye.http.rules import Rules
from catseye.machine.cores import num_cores
from catseye.serving import tuning
from catseye.serving.app import Application
from catseye.serving.batcher import Job
from catseye.serving.engine import Engine
from catseye.serving.front import Front
from catseye.serving.metrics import ServerMetrics
from catseye.serving.progress import Progress
from catseye.serving.reload import Watcher
from catseye.serving.runtimes import load_served
from catseye.serving.served_model import ServedModel
from catseye.serving.settings import ServerSettings

BEAT_S = 0.5


@dataclass(frozen=True)
class Supervised:
    """A worker's ties to its supervisor.

    `parent` is a pipe that ends with the supervisor, `beat` sends a heartbeat.
    """

    parent: int
    beat: Callable[[], None]


def run_server(
    settings: ServerSettings,
    listener: socket.socket,
    log: Log,
    on_ready: Callable[[ServedModel, tuning.ServingPlan], None],
    supervised: Supervised | None = None,
) -> int:
    """Serve until a signal, or until the supervisor ends.

    `on_ready` is called once requests are answered.

    Raises:
        CatseyeError: the model or a setting is wrong.

    """
    token = settings.token()
    model = load_served(settings.model, settings.runtime, trust=settings.trust, batch_size=settings.batch_size)
    # Several workers would disturb each other's measurements, so they share the cores equally instead.
    share = 0 if settings.workers == 1 or model.padded else max(1, num_cores() // settings.workers)
    plan = tuning.choose(model, concurrency=settings.concurrency or share, batch_size=settings.batch_size)
    model.warm(plan.batch_size)  # /readyz says yes after this
    log("plan", model=model.name, version=model.version, runtime=model.runtime, choice=str(plan),
        measured={f"{calls}x{size}": round(speed, 1) for (calls, size), speed in plan.measured.items()})  # fmt: skip
    # Decoding and model threads hold the interpreter lock only briefly; Python's 5 ms would be most of the wait.
    sys.setswitchinterval(0.001)
    app_of = partial(_app_of, settings, log, token, model, plan)
    return run_loop(_serve(settings, listener, log, app_of, lambda: on_ready(model, plan), supervised))


async def _serve(
    settings: ServerSettings,
    listener: socket.socket,
    log: Log,
    app_of: Callable[[], Application],
    on_ready: Callable[[], None],
    supervised: Supervised | None,
) -> int:
    app = app_of()
    engine = app.engine
    gc.collect()
    gc.freeze()  # objects that live as long as the process need no further collection
    beside: list[Coroutine[Any, Any, None]] = []
    if settings.watch:
        beside.append(Watcher(settings, app, log).run())
    if supervised is not None:
        beside.append(_beats(app, supervised.beat))
    stopping = Stopping(
        drain_s=settings.drain_s,
        finish_s=settings.finish_s,
        parent=supervised.parent if supervised is not None else None,
        num_in_flight=lambda: engine.num_in_flight,
    )
    health, reserved = app.reserved_paths()
    rules = Rules(settings.limits, settings.hosts, health, reserved, app.refused_connection)
    try:
        num_requests = await listen(app, listener, rules, log, on_ready, stopping, beside)
    finally:
        await asyncio.get_running_loop().run_in_executor(None, engine.close)
    log("end", requests=num_requests)
    return 0


def _app_of(
    settings: ServerSettings, log: Log, token: bytes | None, model: ServedModel, plan: tuning.ServingPlan
) -> Application:
    """Called inside the event loop, because the engine belongs to it."""
    counted = ServerMetrics()
    progress = Progress(settings.limits.deadline_s + settings.hang_s)
    engine = Engine(model, plan, settings.limits, partial(_computed, counted, progress))
    return Application(engine, counted, log, token, progress, Front(settings.root_path, settings.cors_origins))


def _computed(counted: ServerMetrics, progress: Progress, jobs: list[Job]) -> None:
    progress.computed()
    counted.batch(jobs)


async def _beats(app: Application, beat: Callable[[], None]) -> None:
    """Send heartbeats; none while the model is stuck."""
    while True:
        if not app.progress.is_stuck:
            beat()
        await asyncio.sleep(BEAT_S)
