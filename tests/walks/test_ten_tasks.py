"""Ten tasks of a newcomer, with an installed wheel in an empty folder: each from what a document says, nothing else.

Every task names the document and the words in it that lead to its commands; the words have to stand there.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from catseye.deploying.wheel import build_wheel
from tests.stranger_sets import photo_like

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
SIZE_PX = (64, 48)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The command of an environment that has catseye from its wheel, and from nowhere else."""
    root = tmp_path_factory.mktemp("installed")
    name, content = build_wheel()
    (wheel := root / name).write_bytes(content)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "venv"], check=True)
    python = root / "venv" / "bin" / "python"
    words = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", wheel]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *words], check=True)
    (site,) = (root / "venv" / "lib").glob("python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return root / "venv" / "bin" / "catseye"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An empty folder but for the photos that the newcomer brings: one of them has the other class's label."""
    root, rng = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    (root / "new").mkdir()
    for kind, label in enumerate(("ants", "bees")):
        (root / "photos" / label).mkdir(parents=True)
        for number in range(24):
            photo_like(kind, rng).resize(SIZE_PX).save(root / "photos" / label / f"{number:03d}.jpg")
        photo_like(kind, rng).resize(SIZE_PX).save(root / "new" / f"{kind + 1}.jpg")
    (root / "photos" / "bees" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of a photo")
    return root


@pytest.fixture
def run(installed, place):
    """`run("catseye …")` types a line and returns what it says."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def type_(line, code=0):
        words = [str(installed), *shlex.split(line)[1:]]
        done = subprocess.run(words, cwd=place, capture_output=True, text=True, env=environment, timeout=900)
        assert done.returncode == code, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    return type_


@contextmanager
def ending(process):
    """SIGTERM, however the block ends."""
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)


def told(document, words):
    assert words in (ROOT / document).read_text(), f"{document} does not say: {words}"


def test_01_train_on_my_photos(run, place):
    told("README.md", "catseye train photos --out insects")
    said = run("catseye train photos --out insects")
    assert "2 classes: ants, bees" in said
    assert (place / "insects" / "model.safetensors").exists()


def test_02_which_images_are_wrong(run, place):
    told("docs/cheat-sheet.md", "catseye check photos --out findings")
    assert "broken.jpg" in run("catseye check photos --out findings")
    assert "broken.jpg" in (place / "findings" / "check.html").read_text()


def test_03_is_it_good_enough(run, place):
    told("README.md", "catseye evaluate insects")
    said = run("catseye evaluate insects")
    assert "always guessing the commonest class" in said
    assert "95% interval" in said
    assert (place / "insects" / "report.html").exists()


def test_04_make_it_smaller(run, place):
    told("docs/cheat-sheet.md", "catseye export insects --int8")
    run("catseye export insects --int8 --max-drop 50")
    export = place / "insects" / "export"
    assert (export / "model.int8.onnx").stat().st_size < (export / "model.onnx").stat().st_size


def test_05_behind_http(installed, place):
    told("README.md", "catseye serve insects/export/model.onnx")
    words = [str(installed), "serve", "insects/export/model.onnx", "--port", "0", "--json"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with (
        subprocess.Popen(words, cwd=place, stdout=subprocess.PIPE, text=True, env=environment) as process,
        ending(process),
    ):
        text = ""
        while not text.endswith("}\n"):
            text += (line := process.stdout.readline())
            assert line
        content = (place / "new" / "1.jpg").read_bytes()
        request = urllib.request.Request(
            json.loads(text)["address"] + "/predict", content, {"Content-Type": "image/jpeg"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["class"] in ("ants", "bees")
    assert process.returncode == 0


def test_06_heat_map(run, place):
    told("docs/cheat-sheet.md", "catseye explain insects new/1.jpg")
    run("catseye explain insects new/1.jpg --out seen.png")
    assert (place / "seen.png").read_bytes().startswith(b"\x89PNG")


def test_07_why_is_a_class_bad(run, place):
    told("README.md", "with the mistakes themselves")
    page = (place / "insects" / "report.html").read_text()
    assert "Confusion" in page
    assert "Mistakes" in page


def test_08_continue_a_stopped_run(run, installed, place):
    told("docs/cheat-sheet.md", "catseye train --resume insects")
    line = "train photos --epochs 400 --set training.checkpoint_s=0 --out stopped"
    words = [str(installed), *shlex.split(line)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with subprocess.Popen(words, cwd=place, stderr=subprocess.PIPE, text=True, env=environment) as process:
        next(line for line in process.stderr if line.startswith("epoch"))
        process.send_signal(signal.SIGINT)
        process.stderr.read()
    assert process.returncode == 130
    settings = place / "stopped" / "settings.toml"
    settings.write_text(settings.read_text().replace("epochs = 400", "epochs = 4"))
    begun = time.monotonic()
    run("catseye train --resume stopped")
    assert time.monotonic() - begun < 600
    assert (place / "stopped" / "metrics.json").exists()


def test_09_use_it_in_python(installed, place):
    told("docs/cheat-sheet.md", 'catseye.load(done.path).predict("new/1.jpg")')
    code = "import catseye; print(catseye.load('insects/export/model.onnx').predict('new/1.jpg').label)"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    python = installed.with_name("python")
    done = subprocess.run([python, "-c", code], cwd=place, capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.strip() in ("ants", "bees"), done.stderr


def test_10_understand_stride(run):
    told("docs/index.md", "concepts/2-convolution.md")
    told("docs/concepts/2-convolution.md", "stride")
    told("docs/cheat-sheet.md", "catseye lab insects")
    assert "interactive pages" in run("catseye lab --help")
    assert "14 x 14" in run("catseye summary lenet5 --input 1x32x32")
