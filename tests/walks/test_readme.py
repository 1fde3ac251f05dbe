"""The README's blocks are run in the order in which they stand there, in one folder with a few generated photos."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from catseye.cli import app
from tests.stranger_sets import photo_like
from tests.walks.run_document import blocks

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
NUM_PHOTOS = 12  # of each class: enough for a split
SIZE_PX = (64, 48)  # small, so that a small network trains on them from fresh weights, in seconds


@pytest.fixture
def photos(tmp_path):
    """The folders `photos` and `new` of the README, with classes of its names."""
    rng = np.random.default_rng(0)
    (tmp_path / "new").mkdir()
    for kind, label in enumerate(("ants", "bees")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(NUM_PHOTOS):
            photo_like(kind, rng).resize(SIZE_PX).save(tmp_path / "photos" / label / f"{number:03d}.jpg")
        photo_like(kind, rng).resize(SIZE_PX).save(tmp_path / "new" / f"{kind + 1}.jpg")
    return tmp_path


def lines(block):
    """The lines of a console block that are typed, without their `$`."""
    return [line[2:] for line in re.sub(r"\\\n\s*", " ", block).splitlines() if line.startswith("$ ")]


@contextmanager
def serving(words, folder):
    """The server of the README on a port that is free; its address."""
    command = [sys.executable, "-m", "catseye", *words, "--port", "0", "--json", "--quiet"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        text = ""
        while not text.endswith("}\n"):
            text += (line := process.stdout.readline())
            assert line, "the server did not start"
        yield json.loads(text)["address"]
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
        process.stdout.close()
        assert code == 0


@pytest.mark.timeout(900)  # half a minute, on a machine that has nothing else to do
def test_every_block_in_order(photos, command, monkeypatch):
    monkeypatch.chdir(photos)
    ran = []
    for language, block in blocks(README):
        if language == "python":
            exec(compile(block, "README.md", "exec"), {})
            ran.append("python")
            continue
        typed = lines(block)
        for number, line in enumerate(typed):
            words = shlex.split(line)
            if words[:2] == ["catseye", "serve"]:
                (asked,) = typed[number + 1 :]
                with serving(words[1:], photos) as address:
                    ask(shlex.split(asked.replace("http://127.0.0.1:8000", address)))
                ran.append("serve")
                break
            if words[0] == "catseye":
                code, _, said = command(*words[1:])
                assert code == 0, f"{line}\n{said}"
                ran.append(words[1])
            else:
                assert words[:2] == ["pip", "install"], line
    assert ran == ["train", "evaluate", "predict", "export", "serve", "python"]


def ask(words):
    assert words[0] == "curl"
    if shutil.which("curl"):
        done = subprocess.run(["curl", "-sS", *words[1:]], capture_output=True, text=True, check=True, timeout=60)
        assert json.loads(done.stdout)["class"] in ("ants", "bees")


def result(name):
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def test_the_headline_numbers_are_those_of_the_results():
    (table,) = re.findall(r"^\| measured \| \|\n(.*?)\n\n", README, re.MULTILINE | re.DOTALL)
    photos, speed = result("auto-ants-bees")["sets"][0]["median"], result("speed-target")["speed"][0]
    served, bench = result("serve-load"), result("bench-residual")
    at_32 = {name: one["32"]["per_s"] for name, one in served["cases"]["small"]["servers"].items()}
    drop = bench["parity"]["model.int8.onnx"]
    low, high = drop["accuracy_drop_95_interval"]
    for said in (
        f"{photos['accuracy']:.2%} right (median".replace("%", " %"),
        f"{photos['wall_s']:.0f} s",
        f"{speed['accuracy']['mean']:.2%}".replace("%", " %"),
        f"{speed['training_s']['mean']:.0f} s",
        f"{bench['against_torchscript']['model.int8.onnx']['best']['batch 1']:.2f} times",
        f"{100 * drop['accuracy_drop']:.2f} points ({100 * low:.2f} – {100 * high:.2f})".replace("-", "−"),
        f"{at_32['catseye model.onnx']:.0f} requests/s",
        f"{at_32['catseye model.onnx'] / at_32['article']:.1f} times",
    ):
        assert said in table, said
    assert len(table.splitlines()) <= 5


def test_every_command_of_the_table_exists():
    from typer.main import get_command

    verbs = set(re.findall(r"^\| `catseye ([a-z-]+)", README, re.MULTILINE))
    assert verbs == set(get_command(app).commands)
