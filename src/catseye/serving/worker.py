"""One of several serving processes: `python -m catseye.serving.worker SETTINGS`, started by `supervisor.py` only.

Enters: settings as JSON with the inherited descriptors of socket and status pipe; standard input, which ends when the
supervisor does. Leaves: a line on the status pipe once requests are answered.
"""

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
from catseye.serving.settings import ServerSettings

REFUSED = 3  # exit code: the model or a setting is wrong, another try will not help


def worker_settings(settings: ServerSettings, **more: Any) -> str:
    """The settings as the one argument of a worker."""
    return json.dumps({**asdict(settings), **more}, default=str)


def from_json(text: str) -> tuple[ServerSettings, dict[str, Any]]:
    """The settings again, and what `worker_settings` was given beside them."""
    said = json.loads(text)
    more = {name: said.pop(name) for name in ("worker", "listener", "status")}
    said["limits"] = Limits(**said["limits"])
    said["model"] = Path(said["model"])
    said["token_file"] = Path(said["token_file"]) if said["token_file"] else None
    return ServerSettings(**said), more


def run_worker() -> int:
    """Serve until told to stop."""
    settings, more = from_json(sys.argv[1])
    log = Log(quiet=settings.quiet, worker=more["worker"])
    try:
        from catseye.serving.server import run_server

        listener = socket.socket(fileno=more["listener"])
        return run_server(settings, listener, log, lambda model, plan: _say_ready(more["status"]), parent=0)
    except CatseyeError as error:
        log("refused", reason=str(error))
        return REFUSED
    finally:
        log.close()


def _say_ready(status: int) -> None:
    os.write(status, b"ready\n")
    os.close(status)


if __name__ == "__main__":
    sys.exit(run_worker())
