"""The README's commands are run in the order in which they stand there, in an empty folder; so is its Python."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.fixture(scope="module")
def empty_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("readme")


def test_commands(empty_folder):
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    commands = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ catseye ")]
    assert len(commands) >= 4
    for command in commands:
        words = [sys.executable, "-m", "catseye", *shlex.split(command)[1:]]
        done = subprocess.run(words, cwd=empty_folder, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_python(empty_folder):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    code = code.replace('"first-run', '"python-run')  # the commands above already made first-run
    done = subprocess.run([sys.executable, "-c", code], cwd=empty_folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


def test_every_command_of_the_table_exists():
    from typer.main import get_command

    from catseye.cli import app

    verbs = set(re.findall(r"^\| `catseye ([a-z-]+)", README, re.MULTILINE))
    assert verbs == set(get_command(app).commands)
