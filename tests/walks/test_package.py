"""The package as strangers get it: built twice to the same bytes, used from an environment that has nothing else."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from tests.unit.onnx_files import tiny_model

ROOT = Path(__file__).parents[2]
BUILD = "import hatchling.build as b, sys; print(b.build_wheel(sys.argv[1])); print(b.build_sdist(sys.argv[1]))"


def environment(folder):
    """An empty virtual environment; the source tree is not on its path."""
    venv.create(folder, with_pip=True)
    values = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return folder / "bin" / "python", values


def run(*words, **options):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=1500, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel and sdist, twice, each time from a copy of the tracked files."""
    root = tmp_path_factory.mktemp("built")
    python, values = environment(root / "builder")
    run(python, "-m", "pip", "install", "-q", "hatchling", env=values)
    for name in ("one", "two"):
        copy = root / name / "source"
        copy.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "x", "-C", copy], input=archive, check=True)
        run(python, "-c", BUILD, root / name / "dist", cwd=copy, env=values)
    return root


@pytest.mark.slow
def test_two_builds_have_the_same_bytes(built):
    files = sorted((built / "one" / "dist").iterdir())
    assert [path.suffix for path in files] == [".whl", ".gz"]
    for path in files:
        other = built / "two" / "dist" / path.name
        assert sha256(path.read_bytes()).digest() == sha256(other.read_bytes()).digest(), path.name


@pytest.mark.slow
def test_what_is_in_them(built):
    wheel, sdist = sorted((built / "one" / "dist").iterdir())
    names = zipfile.ZipFile(wheel).namelist()
    assert "catseye/py.typed" in names
    assert "catseye/serving/static/index.html" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    (metadata,) = [name for name in names if name.endswith("METADATA")]
    said = zipfile.ZipFile(wheel).read(metadata).decode()
    assert "License-Expression: Apache-2.0" in said
    for extra in ("train", "notebook", "parquet", "remote", "heif"):
        assert f"Provides-Extra: {extra}" in said
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("src/catseye/py.typed") for name in archive.getnames())


@pytest.mark.slow
@pytest.mark.network
def test_the_base_install_answers_without_torch(built, tmp_path):
    """From the wheel alone: an exported file answers, and what needs more says which extra."""
    python, values = environment(tmp_path / "empty")
    (wheel,) = (built / "one" / "dist").glob("*.whl")
    run(python, "-m", "pip", "install", "-q", wheel, env=values)
    (tmp_path / "m.onnx").write_bytes(tiny_model().SerializeToString())
    program = (
        "import sys, catseye, numpy as np\n"
        "print(catseye.load('m.onnx').predict(np.zeros((4, 4, 3), np.uint8)).label)\n"
        "print(catseye.predict('m.onnx', np.zeros((2, 4, 4, 3), np.uint8))[1].error)\n"
        "assert 'torch' not in sys.modules\n"
        "try:\n    catseye.train('digits')\nexcept catseye.CatseyeError as error:\n    print(error)\n"
    )
    said = run(python, "-c", program, cwd=tmp_path, env=values).splitlines()
    assert said[1] == "None"
    assert "pip install 'catseye[train]'" in said[2]
    assert run(python, "-m", "catseye", "--version", cwd=tmp_path, env=values).startswith("catseye ")
    assert sys.executable != str(python)
