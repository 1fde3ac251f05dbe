"""Small real files for whole walks: three kinds of shapes in their own tints, 40 PNGs each, learnable in seconds."""

import csv
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import catseye
from catseye import cli
from tests import forked

NETWORKS = ("lenet5", "simple", "residual")  # trained once, exported often
CLASSES = ("circle", "square", "stripes")


def draw(kind: str, rng: np.random.Generator) -> Image.Image:
    ground = tuple(int(value) for value in rng.integers(0, 80, 3))
    ink = tuple(int(value) for value in rng.integers(80, 160, 3) + 90 * np.eye(3, dtype=int)[CLASSES.index(kind)])
    image = Image.new("RGB", (40, 32), ground)
    pen = ImageDraw.Draw(image)
    x, y, side = int(rng.integers(2, 14)), int(rng.integers(2, 8)), int(rng.integers(14, 22))
    if kind == "circle":
        pen.ellipse((x, y, x + side, y + side), fill=ink)
    elif kind == "square":
        pen.rectangle((x, y, x + side, y + side), fill=ink)
    else:
        for left in range(x, x + side, 5):
            pen.rectangle((left, 0, left + 2, 31), fill=ink)
    return image


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """A folder of class folders."""
    root = tmp_path_factory.mktemp("data") / "shapes"
    rng = np.random.default_rng(0)
    for kind in CLASSES:
        (root / kind).mkdir(parents=True)
        for number in range(40):
            draw(kind, rng).save(root / kind / f"{number:03d}.png")
    return root


@pytest.fixture(scope="session")
def shapes_zip(shapes):
    path = shapes.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(shapes.rglob("*.png")):
            archive.write(file, file.relative_to(shapes))
    return path


@pytest.fixture(scope="session")
def shapes_csv(shapes):
    path = shapes.with_name("shapes.csv")
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label"])
        for file in sorted(shapes.rglob("*.png")):
            writer.writerow([file.relative_to(shapes.parent).as_posix(), file.parent.name])
    return path


@pytest.fixture(scope="session")
def runs(shapes, tmp_path_factory):
    """A short run of each network; what it has learned matters little, that its batch norm has statistics does."""
    root = tmp_path_factory.mktemp("runs")
    return {name: catseye.train(shapes, model=name, epochs=1, out=root / name, device="cpu").path for name in NETWORKS}


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """The command in this process, for the exit code and both streams; a fresh one would import torch every time."""

    def run(*words):
        monkeypatch.setattr("sys.argv", ["catseye", *map(str, words)])
        monkeypatch.chdir(tmp_path)
        capfd.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as done:
            code = done.code
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def catseye_command(tmp_path):
    """Run the real command in a fresh process, in an empty folder."""

    def run(*words, timeout_s=240, **options):
        command = [sys.executable, "-m", "catseye", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=timeout_s, **options)

    return run


@pytest.fixture
def forked_command(tmp_path):
    """The same in a process that is forked where torch is loaded already: for all that does not test the start."""

    def run(*words, **options):
        return forked.run(*words, cwd=tmp_path, **options)

    return run


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(root.rglob("*"))}
