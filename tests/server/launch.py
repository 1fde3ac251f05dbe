"""A server from settings as JSON: `python -m tests.server.launch '{"model": …, "limits": {…}}'`."""

import json
import sys
from pathlib import Path

from catseye.http.limits import Limits
from catseye.serving.command import run_serve
from catseye.serving.settings import ServerSettings


def main() -> int:
    said = json.loads(sys.argv[1])
    said["limits"] = Limits(**said["limits"])
    said["model"] = Path(said["model"])
    for name in ("token_file", "uds"):
        if name in said:
            said[name] = Path(said[name])
    for name in ("allow_hosts", "cors_origins"):
        if name in said:
            said[name] = tuple(said[name])
    return run_serve(ServerSettings(**said), lambda facts: print(json.dumps(facts, default=str), flush=True))


if __name__ == "__main__":
    sys.exit(main())
