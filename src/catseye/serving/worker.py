"""One of several serving processes: `python -P -m catseye.serving.worker SETTINGS`, started by `supervisor.py` only.

Enters: settings as JSON with the inherited descriptors of socket and status pipe; standard input, which ends when the
supervisor does. Leaves: on the status pipe, signs of life: a byte every half second from the moment on that requests
are answered, as long as they are.
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

REFUSED = 3  # exit code: the model or a setting is wrong, another try will not help


def worker_settings(settings: ServerSettings, **more: Any) -> str:
    """The settings as the one argument of a worker."""
    return json.dumps({**asdict(settings), **more}, default=str)


def from_json(text: str) -> tuple[ServerSettings, dict[str, Any]]:
    """The settings again, and what `worker_settings` was given beside them."""
    said = json.loads(text)
    more = {name: said.pop(name) for name in ("worker", "listener", "status", "metrics")}
    said["limits"] = Limits(**said["limits"])
    said["model"] = Path(said["model"])
    for name in ("token_file", "uds"):
        said[name] = Path(said[name]) if said[name] else None
    for name in ("allow_hosts", "cors_origins"):
        said[name] = tuple(said[name])
    return ServerSettings(**said), more


def run_worker() -> int:
    """Serve until told to stop."""
    settings, more = from_json(sys.argv[1])
    log = Log(quiet=settings.quiet, worker=more["worker"])
    # prometheus_client looks at this when it is imported, and never again.
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
    with contextlib.suppress(OSError):  # the supervisor is busy, or has gone: standard input tells of that
        os.write(status, b".")


if __name__ == "__main__":
    sys.exit(run_worker())
