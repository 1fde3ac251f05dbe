"""What a server in a container needs: a token from the environment, a word on who may ask, a signal heard early."""

import subprocess
import sys

from tests.server import models
from tests.server.running import noise

EARLY = """
import os, signal, sys, time
from pathlib import Path
from catseye.serving import command, server
from catseye.serving.settings import ServerSettings

def load_for_long(*_):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)

server.run_server = load_for_long
command.run_serve(ServerSettings(Path("m.onnx"), port=0), print)
"""


def test_a_token_file_named_by_the_environment_is_heeded_in_spite_of_insecure(start, tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef\n")
    words = ("--host", "0.0.0.0", "--insecure")
    running = start(models.write(tmp_path / "m.onnx"), *words, env={"CATSEYE_TOKEN_FILE": str(tmp_path / "token")})
    assert running.predict(noise(1, kind="PNG")).status == 401
    assert running.predict(noise(1, kind="PNG"), authorization="Bearer 0123456789abcdef").status == 200
    assert not running.events("open")


def test_an_open_server_says_so_once(start, server, tmp_path):
    running = start(models.write(tmp_path / "m.onnx"), "--host", "0.0.0.0", "--insecure")
    (said,) = running.events("open")
    assert said["host"] == "0.0.0.0"
    assert "--token-file" in said["advice"]
    assert not server.events("open")  # it listens at this machine only


def test_a_signal_while_the_model_is_loaded_is_heard():
    """The first process of a container is spared the signals it does not handle, so this one has to be handled."""
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, timeout=60)
    assert done.returncode == 143, done.stderr
