"""The README's commands are run in the order in which they stand there, in an empty folder; so is its Python."""

import re
import shlex
from pathlib import Path

from catseye.cli import app

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_commands(command):
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ catseye ")]
    assert len(lines) >= 4
    for line in lines:
        code, _, said = command(*shlex.split(line)[1:])
        assert code == 0, f"{line}\n{said}"


def test_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})


def test_every_command_of_the_table_exists():
    from typer.main import get_command

    verbs = set(re.findall(r"^\| `catseye ([a-z-]+)", README, re.MULTILINE))
    assert verbs == set(get_command(app).commands)
