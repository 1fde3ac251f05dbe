"""The Lambda package, really built from PyPI's wheels and run by Amazon's emulator and runtime client."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from catseye.deploying.aws_lambda import PYTHONS, lambda_files
from catseye.deploying.rendering import read_model, write_folder
from catseye.serving.aws_lambda import open_function
from tests.server import models
from tests.server.running import form, noise, png
from tests.server.test_aws_lambda import FRONTS, make_event

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
ROOT = Path(__file__).parents[2]


def emulation():
    """benchmarks/lambda_cold_start.py, which starts emulator and client."""
    spec = importlib.util.spec_from_file_location("cold_start", ROOT / "benchmarks" / "lambda_cold_start.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def find_python() -> tuple[str, str]:
    """A Python that Lambda has: on the path, or among pyenv's."""
    for version in ("3.13", *PYTHONS):
        places = [
            shutil.which(f"python{version}"),
            *Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"),
        ]
        for place in filter(None, places):
            said = subprocess.run(
                [place, "-c", "import ssl, sys; print(*sys.version_info[:2], sep='.')"], capture_output=True, text=True
            )
            if said.stdout.strip() == version:
                return version, str(place)
    pytest.skip(f"no Python of Lambda's here: {', '.join(PYTHONS)}")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    version, python = find_python()
    folder = tmp_path_factory.mktemp("lambda")
    model = models.write(folder / "m.onnx", models.with_cam())
    write_folder(folder / "out", lambda_files(read_model(model), python=version))
    done = subprocess.run([python, folder / "out" / "build.py"], capture_output=True, text=True)
    if done.returncode and re.search(r"[Nn]ame or service not known|Connection refused|ProxyError", done.stderr):
        pytest.skip("PyPI cannot be reached")
    assert done.returncode == 0, done.stderr
    return folder / "out", python, done.stdout


@pytest.fixture(scope="module")
def emulated(built, tmp_path_factory):
    folder, python, _ = built
    cache = Path(os.environ.get("CATSEYE_TEST_CACHE", tmp_path_factory.mktemp("tools")))
    tools = emulation().Tools(cache, python, folder)
    # The zip is what Lambda unpacks, so it is what runs here; nothing may be written beside it.
    package = tmp_path_factory.mktemp("var") / "task"
    with zipfile.ZipFile(folder / "package.zip") as bundle:
        bundle.extractall(package)
    with tools.start(package, CATSEYE_MAX_PIXELS="2000000") as running:
        yield running


def test_the_package_fits(built):
    folder, _, told = built
    package = folder / "package"
    num_bytes = sum(path.stat().st_size for path in package.rglob("*") if path.is_file())
    assert num_bytes < 250 * 2**20
    assert f"package: {num_bytes:,} bytes" in told
    assert not any((package / name).exists() for name in ("torch", "uvicorn", "onnxruntime/transformers", "numpy/f2py"))
    sources = list(package.rglob("*.py"))
    compiled = list(package.rglob("*.pyc"))
    assert len(compiled) == len(sources) > 300
    assert {path.read_bytes()[4] for path in compiled} == {1}  # PEP 552: by hash, unchecked
    assert list(package.glob("numpy-*.dist-info/licenses/**/LICENSE*"))


CASES = {
    "a photo": {"body": noise(3, 60)},
    "a form": dict(zip(("body", "content_type"), form(png("green")), strict=True)),
    "the best": {"body": noise(5), "query": "top=1"},
    "with a map": {"body": noise(6, 40), "query": "explain=cam&top=1"},
    "a broken image": {"body": png()[:40]},
    "too many pixels": {"body": png(size=(2000, 1001))},
    "health": {"path": "/healthz", "method": "GET"},
    "too large": {"body": b"x" * 4_500_001},
    "as large as it gets": {"body": b"x" * 4_500_000},
}


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("name", CASES)
def test_the_emulator_passes_on_what_the_function_says(built, emulated, monkeypatch, front, name):
    monkeypatch.setenv("CATSEYE_MAX_PIXELS", "2000000")
    wanted = open_function(built[0] / "model.onnx")(make_event(front, **CASES[name]))
    found = emulated.invoke(make_event(front, **CASES[name]))
    assert found["statusCode"] == wanted["statusCode"], found
    told, expected = json.loads(found["body"]), json.loads(wanted["body"])
    for answer in (told, expected):
        answer.pop("request_id", None)
        if "error" in answer:  # which formats there are depends on the Pillow of each
            answer["error"] = re.sub(r"\(JPEG, [A-Z0-9, ]+\)", "(…)", answer["error"])
    assert told == expected
    assert found["headers"]["x-request-id"]  # the emulator's own
    assert found["headers"].keys() == wanted["headers"].keys()


def test_the_function_started_once_and_from_the_package_alone(emulated):
    log = emulated.log()
    assert "Traceback" not in log
    assert log.count("INIT START") <= 1
    assert log.count("REPORT RequestId") >= 27
    assert sys.prefix not in log
