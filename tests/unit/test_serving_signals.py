"""A signal while a server loads ends the process, whatever runs at that moment."""

import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from catseye.serving import tuning

# onnxruntime catches what is raised while it is imported: the server went on, or ended as if it were broken.
SWALLOWED = """
import os, signal, socket, sys
from catseye.serving.command import _end_at_once_on_signals
signal.signal(signal.SIGINT, signal.default_int_handler)
kind, number = sys.argv[1:]
if kind == "unix":
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("server.sock")
else:
    listener = socket.socket()
_end_at_once_on_signals(listener)
try:
    os.kill(os.getpid(), int(number))
    sum(range(1_000_000))
except BaseException:
    pass
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to another process")
@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize(("number", "said"), [(signal.SIGTERM, b""), (signal.SIGINT, b"stopped before any work")])
def test_a_module_that_catches_everything_does_not_keep_a_server_alive(kind, number, said, tmp_path):
    words = [sys.executable, "-c", SWALLOWED, kind, str(int(number))]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, timeout=60)
    assert ended.returncode == 128 + number, ended.stderr
    assert ended.stderr.startswith(said)
    assert not list(tmp_path.iterdir()), "the socket's file is left"


def test_an_interrupted_measurement_leaves_no_thread_waiting(monkeypatch):
    """Ctrl-C while the first thread waits for the second: the second once waited for ever, and the process with it."""

    class Interrupted(threading.Barrier):
        def wait(self, timeout=None):
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(threading, "Barrier", Interrupted)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    before = set(threading.enumerate())
    model = SimpleNamespace(row_shape=(2, 2, 3), row_type=np.uint8, compute=lambda rows, probabilities: None)
    with pytest.raises(KeyboardInterrupt):
        tuning.mixed_speed(model, 2, 4)
    end = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < end:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before
