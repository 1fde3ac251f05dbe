"""A call that native code may not survive, made in a child process first.

Enters: the name of a function and its arguments as JSON. Leaves: what it returns, as JSON; a child that dies becomes a
`ModelFileError`. Readers in C++ follow offsets and types that a file names, and a file that was changed by one word can
end the process that reads it; a server or a notebook must not be that process. Called by `openvino.py` and `onnx.py`
before they read a file that nobody vouched for, and by serving's `reload.py` for new files of every format.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from catseye.errors import CatseyeError, ModelFileError

PATIENCE_S = 300.0
INSIDE = "CATSEYE_IN_TRIAL"  # set in the child: what it opens is opened at once
MAX_RESULT_BYTES = 1_000_000
_survived: set[str] = set()


def require_survival(content_sha256: str, path: str, runtime: str) -> None:
    """Let a child open the file first, with one thread, as often as its content is new to this process.

    Raises:
        ModelFileError: the child refused it, died of it, did not end, or found another content than this process read.

    """
    if os.environ.get(INSIDE) or content_sha256 in _survived:
        return
    arguments = {"path": os.path.abspath(path), "runtime": runtime}  # noqa: PTH100 - the file may be a link: keep it
    found = call_in_child("catseye.runtimes.trial:open_trial", arguments, path)
    if found["sha256"] != content_sha256:
        raise ModelFileError(f"{path} changed while it was opened; open it again")
    note_survival(content_sha256)


def note_survival(content_sha256: str) -> None:
    """A child has opened this content, so that this process may."""
    _survived.add(content_sha256)


def open_trial(path: str, runtime: str) -> dict[str, Any]:
    """What a child does for `require_survival`."""
    from catseye.runtimes.loading import open_model

    return {"sha256": open_model(path, threads=1, runtime=runtime).sha256}


def call_in_child(
    function: str,
    arguments: dict[str, Any],
    path: str,
    *,
    patience_s: float = PATIENCE_S,
    started: Callable[[subprocess.Popen[bytes]], None] = lambda _: None,
) -> dict[str, Any]:
    """Call module:function with keyword arguments in a process of its own; `started` gets it, to end it early.

    Raises:
        ModelFileError: what the call raised, in its own words; or how its process ended.

    """
    command = [sys.executable, "-P", "-m", "catseye.runtimes.trial", function]  # -P: no module of the working directory
    with subprocess.Popen(  # noqa: S603 - our own module
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, INSIDE: "1"},
    ) as process:
        started(process)
        try:
            said, _ = process.communicate(json.dumps(arguments).encode(), timeout=patience_s)
        except subprocess.TimeoutExpired:
            raise ModelFileError(f"{path} was not open after {patience_s:.0f} s in a trial; use another file") from None
        finally:
            process.kill()
    return _result(said, process.returncode, path)


def _result(said: bytes, code: int, path: str) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(said[:MAX_RESULT_BYTES])
    except ValueError:
        if code == -signal.SIGKILL:
            why = "somebody killed it, or memory ran out; try again where there is more"
        else:
            why = "it is damaged, or made to do so; use another copy, or export it again"
        raise ModelFileError(
            f"{path} ends the process that opens it ({_ending(code)}), seen in a trial; {why}"
        ) from None
    if "error" in result:
        raise ModelFileError(str(result["error"]))
    return result


def _ending(code: int) -> str:
    with suppress(ValueError):
        if code < 0:
            return signal.Signals(-code).name
    return f"exit code {code}"


def answer_parent() -> None:
    """The child: arguments on stdin, result on stdout, and whatever native code prints on neither."""
    result = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _die_first()
    module, name = sys.argv[1].split(":")
    arguments = json.loads(sys.stdin.buffer.read())
    try:
        found = getattr(import_module(module), name)(**arguments)
    except CatseyeError as error:
        found = {"error": str(error)}
    result.write(json.dumps(found).encode())
    result.flush()
    # Without the interpreter's farewell: a runtime's threads may still compute, and what was asked is answered.
    os._exit(0)


def _die_first() -> None:
    """Where memory runs out the kernel should end this process and not the server; nor may it outlive the server."""
    if sys.platform != "linux":
        return
    import ctypes
    from pathlib import Path

    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    answer_parent()
