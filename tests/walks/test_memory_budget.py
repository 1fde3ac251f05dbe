"""Peak memory of every verb on photos of 224 px, and training under a limit that the kernel enforces.

The budget of a run on a CPU is 2 GB beside the decoded images (training.memory_gb). RLIMIT_DATA counts everything a
process may write to, touched or not, so that 4 GB of it are less than 4 GB of memory.
"""

import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catseye.models import registry
from tests.photos import photo
from tests.server.running import Starter

BUDGET_MB = 2_000
LIMIT_BYTES = 4_000_000_000
PHOTOS = [entry.name for entry in registry.entries() if entry.photos]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of 20 photos, one of them reddish."""
    root = tmp_path_factory.mktemp("data") / "photos"
    for number, name in enumerate(("plain", "red")):
        (root / name).mkdir(parents=True)
        for index in range(20):
            pixels = photo(100 * number + index, 240, 240).astype(np.int16)
            pixels[..., 0] += 60 * number
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{index}.jpg")
    return root


def limit():
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))


# The kernel counts what a process held before it became another program, and a process of pytest may hold 2 GB: so the
# command is started, and its peak read, by a small process between.
BETWEEN = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def measured(*words, limited=False):
    """Run the command in a fresh process; its peak resident memory in MB and what it said."""
    command = [sys.executable, "-c", BETWEEN, sys.executable, "-m", "catseye", *map(str, words)]
    # One thread, as elsewhere in the tests; every further one has a stack of its own.
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=limit if limited else None
    )
    assert done.returncode == 0, done.stdout
    said, peak = done.stdout.rstrip().rsplit("\n", 1)
    return int(peak) / 1024, said


def train_words(data, out, *more):
    return ("train", data, "--out", out, "--device", "cpu", "--epochs", 1, *more)


def resnet_words(photos, out):
    return train_words(photos, out, "--model", "resnet18", "--set", "training.batch_size=14")


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    peak, said = measured(*resnet_words(photos, out), limited=True)
    return out, peak, said


def test_training_stays_within_its_budget(run):
    _, peak, said = run
    assert " parts" not in said  # 14 images at 35 MB fit
    assert peak < BUDGET_MB


def test_less_memory_means_more_parts(photos, run, tmp_path):
    words = resnet_words(photos, tmp_path / "run")
    peak, said = measured(*words, "--set", "training.memory_gb=1.5", limited=True)
    assert re.search(r"a batch of 14 is computed in [234] parts: at \d+ MB an image", said)
    assert "training.memory_gb" in said
    assert peak < run[1]


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["evaluate", "check", "explain", "export"])
def test_the_other_verbs_stay_within_it_too(verb, run, photos, tmp_path):
    path = run[0]
    image = next((photos / "red").iterdir())
    words = {
        "evaluate": ("evaluate", path, "--device", "cpu"),
        "check": ("check", photos, "--out", tmp_path / "check"),
        "explain": ("explain", "cam", path, image, "--out", tmp_path / "cam"),
        "export": ("export", path, "--out", tmp_path / "export"),
    }[verb]
    peak, _ = measured(*words, limited=True)
    assert peak < BUDGET_MB


@pytest.mark.slow
def test_the_server_stays_within_it_too(run, photos, tmp_path):
    measured("export", run[0], "--out", tmp_path / "export")
    starter = Starter(tmp_path)
    try:
        server = starter(tmp_path / "export" / "model.onnx")
        for image in (photos / "red").iterdir():
            assert server.predict(image.read_bytes()).status == 200
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        assert int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024 < 500
    finally:
        starter.end()


@pytest.mark.slow
@pytest.mark.parametrize("name", PHOTOS)
def test_every_network_for_photos_trains_within_four_gigabytes(name, photos, tmp_path):
    peak, _ = measured(*train_words(photos, tmp_path / "run", "--model", name), limited=True)
    assert peak < 4_000
