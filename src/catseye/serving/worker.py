"""One of several serving processes, started by `supervisor.py` only.

Enters: settings as JSON with the inherited descriptors of socket and status pipe; standard input, which ends when the
supervisor does. Leaves: heartbeats on the status pipe: a byte every half second for as long as requests are answered.
"""

import contextlib
import json
import os
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from catseye.errors import CatseyeError
from catseye.http.limits import Limits
from catseye.http.logs import Log
from catseye.serving.metrics_folder import hold_metrics_folder, use_metrics_folder
from catseye.serving.settings import ServerSettings

REFUSED = 3  # exit code: the model or a setting is wrong; another try would not help


def worker_settings(settings: ServerSettings, **more: Any) -> str:
    """The settings as the one argument of a worker."""
    return json.dumps({**asdict(settings), **more}, default=str)


def from_json(text: str) -> tuple[ServerSettings, dict[str, Any]]:
    """The settings, and the other values that were given to `worker_settings`."""
    values = json.loads(text)
    more = {name: values.pop(name) for name in ("worker", "listener", "status", "metrics")}
    values["limits"] = Limits(**values["limits"])
    values["model"] = Path(values["model"])
    for name in ("token_file", "uds"):
        values[name] = Path(values[name]) if values[name] else None
    for name in ("allow_hosts", "cors_origins"):
        values[name] = tuple(values[name])
    return ServerSettings(**values), more


def run_worker() -> int:
    """Serve until told to stop."""
    settings, more = from_json(sys.argv[1])
    log = Log(quiet=settings.quiet, worker=more["worker"])
    # prometheus_client reads this only once, when it is imported.
    use_metrics_folder(more["metrics"])
    folder = hold_metrics_folder(Path(more["metrics"]))
    os.set_blocking(more["status"], False)
    try:
        from catseye.serving.server import Supervised, run_server

        listener = socket.socket(fileno=more["listener"])
        supervised = Supervised(parent=0, beat=lambda: _beat(more["status"]))
        with log.everything():
            return run_server(settings, listener, log, lambda model, plan: _beat(more["status"]), supervised)
    except CatseyeError as error:
        log("refused", reason=str(error))
        return REFUSED
    finally:
        os.close(folder)
        log.close()


def _beat(status: int) -> None:
    with contextlib.suppress(OSError):  # the supervisor is busy, or has ended: then standard input ends too
        os.write(status, b".")


if __name__ == "__main__":
    sys.exit(run_worker())
