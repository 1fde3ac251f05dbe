"""One serving process, from settings to exit: load, measure, listen, answer, drain.

Enters: `ServerSettings`. Leaves: an exit code. Called by cli, and by `supervisor.py` in each worker.
"""

import asyncio
import gc
import socket
import sys
from collections.abc import Callable

from catseye.http.listening import listen, run_loop
from catseye.http.logs import Log
from catseye.machine.cores import num_cores
from catseye.serving import tuning
from catseye.serving.app import Application
from catseye.serving.engine import Engine
from catseye.serving.metrics import ServerMetrics
from catseye.serving.reload import Watcher
from catseye.serving.runtimes import load_served
from catseye.serving.served_model import ServedModel
from catseye.serving.settings import ServerSettings


def run_server(
    settings: ServerSettings,
    listener: socket.socket,
    log: Log,
    on_ready: Callable[[ServedModel, tuning.ServingPlan], None],
    parent: int | None = None,
) -> int:
    """Serve until a signal, or until the pipe `parent` ends. `on_ready` is called once requests are answered.

    Raises:
        CatseyeError: the model or a setting is wrong.

    """
    token = settings.token()
    model = load_served(settings.model, settings.runtime, trust=settings.trust)
    # Workers measure at the same time, each in the others' way: they share the cores instead.
    share = 0 if settings.workers == 1 else max(1, num_cores() // settings.workers)
    plan = tuning.choose(model, concurrency=settings.concurrency or share, batch_size=settings.batch_size)
    log("plan", model=model.name, version=model.version, runtime=model.runtime, choice=str(plan),
        measured={f"{calls}x{size}": round(speed, 1) for (calls, size), speed in plan.measured.items()})  # fmt: skip
    # Decoding and model threads hold the interpreter for a moment only; waiting 5 ms for it would be the queue.
    sys.setswitchinterval(0.001)
    return run_loop(_serve(settings, listener, log, token, model, plan, on_ready, parent))


async def _serve(
    settings: ServerSettings,
    listener: socket.socket,
    log: Log,
    token: bytes | None,
    model: ServedModel,
    plan: tuning.ServingPlan,
    on_ready: Callable[[ServedModel, tuning.ServingPlan], None],
    parent: int | None,
) -> int:
    counted = ServerMetrics()
    engine = Engine(model, plan, settings.limits, counted.batch)
    app = Application(engine, counted, log, token)
    gc.collect()
    gc.freeze()  # what lives as long as the process need not be looked at again
    try:
        num_requests = await listen(
            app,
            listener,
            settings.limits,
            log,
            lambda: on_ready(model, plan),
            drain_s=settings.drain_s,
            finish_s=settings.finish_s,
            num_in_flight=lambda: engine.num_in_flight,
            parent=parent,
            beside=[Watcher(settings, app, log).run()] if settings.watch else [],
        )
    finally:
        await asyncio.get_running_loop().run_in_executor(None, engine.close)
    log("end", requests=num_requests)
    return 0
