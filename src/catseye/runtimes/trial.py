"""A call that may crash native code, made in a child process first.

Enters: the name of a function and its arguments as JSON. Leaves: its result, as JSON; the death of the child becomes a
`ModelFileError`. Readers in C++ follow offsets and types that a file names, and a file with one changed word can crash
the process that reads it; that must not be a server or a notebook. Called by `openvino.py` and `onnx.py` before they
read an untrusted file, and by serving's `reload.py` for new files of every format.
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
INSIDE = "CATSEYE_IN_TRIAL"  # set in the child, which opens files directly
MAX_RESULT_BYTES = 1_000_000
_survived: set[str] = set()


def require_survival(content_sha256: str, path: str, runtime: str) -> None:
    """Let a child process open the file first, if its content is new here.

    Raises:
        ModelFileError: the child refused the file, crashed, did not end, or read another content than this process.

    """
    if os.environ.get(INSIDE) or content_sha256 in _survived:
        return
    arguments = {"path": os.path.abspath(path), "runtime": runtime}  # noqa: PTH100 - the file may be a link: keep it
    opened = call_in_child("catseye.runtimes.trial:open_trial", arguments, path)
    if opened["sha256"] != content_sha256:
        raise ModelFileError(f"{path} changed while it was opened; open it again")
    note_survival(content_sha256)


def note_survival(content_sha256: str) -> None:
    """Note that a child has opened this content, so that this process may."""
    _survived.add(content_sha256)


def open_trial(path: str, runtime: str) -> dict[str, Any]:
    """Open a file in the child process of `require_survival`."""
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
    """Call module:function with keyword arguments in a child process.

    `started` gets the process, to end it early.

    Raises:
        ModelFileError: with the message of what the call raised, or how its process ended.

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
            answer, _ = process.communicate(json.dumps(arguments).encode(), timeout=patience_s)
        except subprocess.TimeoutExpired:
            raise ModelFileError(
                f"a trial process had not opened {path} after {patience_s:.0f} s; use another file"
            ) from None
        finally:
            process.kill()
    return _result(answer, process.returncode, path)


def _result(answer: bytes, code: int, path: str) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(answer[:MAX_RESULT_BYTES])
    except ValueError:
        if code == -signal.SIGKILL:
            why = "it was killed, or memory ran out; try again with more memory"
        else:
            why = "the file is damaged or malicious; use another copy, or export it again"
        raise ModelFileError(f"opening {path} ended the trial process ({_ending(code)}); {why}") from None
    if "error" in result:
        raise ModelFileError(str(result["error"]))
    return result


def _ending(code: int) -> str:
    with suppress(ValueError):
        if code < 0:
            return signal.Signals(-code).name
    return f"exit code {code}"


def answer_parent() -> None:
    """The child: arguments on stdin, result on stdout.

    What native code prints goes to stderr.
    """
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _die_first()
    module, name = sys.argv[1].split(":")
    arguments = json.loads(sys.stdin.buffer.read())
    try:
        result = getattr(import_module(module), name)(**arguments)
    except CatseyeError as error:
        result = {"error": str(error)}
    stdout.write(json.dumps(result).encode())
    stdout.flush()
    # Without the interpreter's clean-up: a runtime's threads may still compute, and the result is written.
    os._exit(0)


def _die_first() -> None:
    """Let this process end before the server if memory runs out, and with it."""
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
