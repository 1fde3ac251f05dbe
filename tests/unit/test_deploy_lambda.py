"""The folder that `catseye deploy lambda` writes: sound stacks, no more than is needed, and a build that says no."""

import importlib.util
import py_compile
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from catseye.deploying.aws_lambda import PYTHONS, SOURCE, lambda_files, needed_modules
from catseye.deploying.rendering import read_model, write_folder
from catseye.errors import ModelFileError, UsageError
from tests.unit.onnx_files import manifest, tiny_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tints.onnx"
    path.write_bytes(tiny_model().SerializeToString())
    return path


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("lambda")
    write_folder(out, lambda_files(read_model(model, "cats")))
    return out


def lint(path):
    """All that cfn-lint has to say, its hints included."""
    from cfnlint.api import ManualArgs, lint

    said = lint(path.read_text(), config=ManualArgs(regions=["eu-central-1"], include_checks=["I"]))
    return [f"{one.linenumber}: {one.message}" for one in said]


@pytest.mark.parametrize("name", ["template.yaml", "template-image.yaml"])
def test_the_stacks_are_sound(folder, name, tmp_path):
    assert lint(folder / name) == []
    broken = tmp_path / name
    broken.write_text((folder / name).read_text().replace("!GetAtt Role.Arn", "!GetAtt Rolle.Arn"))
    assert lint(broken), "the check sees nothing"


def test_a_strange_name_of_a_network_stays_a_text(tmp_path):
    strange = manifest().model_copy(
        update={"architecture": manifest().architecture.model_copy(update={"name": 'a": {b: #'})}
    )
    (tmp_path / "m.onnx").write_bytes(tiny_model(strange).SerializeToString())
    write_folder(tmp_path / "out", lambda_files(read_model(tmp_path / "m.onnx")))
    assert lint(tmp_path / "out" / "template.yaml") == []


def test_nothing_is_left_to_fill_in(folder):
    texts = {
        path: path.read_text() for path in folder.rglob("*") if path.suffix not in {".onnx", ".pyc"} and path.is_file()
    }
    for path, text in texts.items():
        assert "@{" not in text, path
        assert not re.search(r"TODO|FIXME|changeme", text), path
    assert "cats" in texts[folder / "template.yaml"]
    assert (folder / "model.onnx").read_bytes() == next(iter([read_model(folder / "model.onnx").path])).read_bytes()


@pytest.mark.parametrize("python", PYTHONS)
def test_one_version_of_python_everywhere(model, python):
    files = lambda_files(read_model(model), python=python)
    assert f"Runtime: python{python}" in files["template.yaml"]
    assert files["Dockerfile"].count(f"FROM python:{python}-slim") == 2
    assert f'PYTHON = "{python}"' in files["build.py"]


def test_the_function_starts_from_its_folder_alone(folder):
    """No other file of this package, no torch, no server: a process that knows nothing else answers."""
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"torch", "uvicorn", "httptools", "asyncio", "typer", "prometheus_client", "onnx"}}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, {str(folder)!r})
import catseye
assert catseye.__file__.startswith({str(folder)!r}), catseye.__file__
from handler import handler
print(handler({{"httpMethod": "GET", "path": "/healthz"}})["body"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PATH": "/usr/bin"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == '{"status":"alive"}'


def test_only_what_is_needed_is_copied():
    names = {path.relative_to(SOURCE).as_posix() for path in needed_modules()}
    assert {"__init__.py", "preprocess.py", "serving/aws_lambda.py", "serving/served_model.py"} <= names
    assert not {name for name in names if name.startswith(("training/", "data/", "models/", "cli"))}
    assert "serving/app.py" not in names
    assert "serving/server.py" not in names


def test_the_pins_are_those_of_the_constraints():
    """One version everywhere: what is tested is what is deployed."""
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    known = dict(line.strip().lower().replace("_", "-").split("==") for line in pins)
    pinned = {}
    for name in ("requirements.lock", "requirements-image.lock"):
        text = (SOURCE / "deploying" / "templates" / "aws_lambda" / name).read_text()
        pinned |= dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
        blocks = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
        assert all(block.count("--hash=sha256:") >= 1 for block in blocks)
    assert {"numpy", "onnxruntime", "pillow", "pydantic", "awslambdaric"} <= pinned.keys()
    for name, version in pinned.items():
        assert known.get(name, version) == version, name
    assert len(pinned.keys() & known.keys()) >= 11


@pytest.mark.parametrize(
    ("words", "message"), [({"python": "3.11"}, "3.12, 3.13, 3.14"), ({"python": "3"}, "--python")]
)
def test_a_python_that_lambda_has_not(model, words, message):
    with pytest.raises(UsageError, match=message):
        lambda_files(read_model(model), **words)


def test_a_model_without_a_manifest(tmp_path):
    (tmp_path / "m.onnx").write_bytes(tiny_model("").SerializeToString())
    with pytest.raises(ModelFileError, match="no catseye manifest"):
        read_model(tmp_path / "m.onnx")


def test_a_folder_that_is_not_empty(model, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        write_folder(tmp_path, lambda_files(read_model(model)))
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.txt"]
    write_folder(tmp_path, lambda_files(read_model(model)), force=True)
    assert (tmp_path / "build.py").exists()


@pytest.fixture
def builder(folder):
    spec = importlib.util.spec_from_file_location("lambda_build", folder / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_build_refuses_another_python(folder):
    if sys.version_info[:2] == (3, 13):
        pytest.skip("this is the Python it wants")
    done = subprocess.run([sys.executable, folder / "build.py"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "run this with python3.13" in done.stderr
    assert not (folder / "package").exists()


def make_package(root):
    for name in ("numpy/core.py", "numpy/linalg/tests/test_a.py", "numpy/x.pyi", "onnxruntime/tools/a.py", "bin/f2py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("answer = 42\n")
    (root / "numpy-2.dist-info").mkdir()
    (root / "numpy-2.dist-info" / "LICENSE").write_text("free")
    (root / "lib.so.1").write_bytes(b"\x7fELF")
    return root


def test_the_build_trims_compiles_and_zips(builder, tmp_path):
    package = make_package(tmp_path / "package")
    builder.trim(package)
    kept = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    assert kept == {"numpy/core.py", "numpy-2.dist-info/LICENSE", "lib.so.1"}
    builder.compile_all(package)
    (compiled,) = package.rglob("*.pyc")
    assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 0b01  # PEP 552: by hash, unchecked
    builder.write_zip(package, tmp_path / "one.zip")
    for path in package.rglob("*"):
        path.touch()
    assert builder.write_zip(package, tmp_path / "two.zip") == (tmp_path / "two.zip").stat().st_size
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as bundle:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in bundle.infolist()}
    assert modes["lib.so.1"] == 0o755
    assert modes["numpy/core.py"] == 0o644


def test_compiled_modules_are_used_although_their_source_is_newer(builder, tmp_path):
    package = make_package(tmp_path / "package")
    builder.compile_all(package)
    (package / "numpy" / "core.py").write_text("answer = 43\n")
    code = "import sys; sys.path.insert(0, sys.argv[1]); from numpy.core import answer; print(answer)"
    done = subprocess.run([sys.executable, "-S", "-c", code, package], capture_output=True, text=True)
    assert done.stdout == "42\n", done.stderr
    py_compile.compile(str(package / "numpy" / "core.py"))
    done = subprocess.run([sys.executable, "-S", "-c", code, package], capture_output=True, text=True)
    assert done.stdout == "43\n"


def test_a_module_that_does_not_compile_stops_the_build(builder, tmp_path, capsys):
    package = make_package(tmp_path / "package")
    (package / "numpy" / "bad.py").write_text("def\n")
    with pytest.raises(SystemExit, match="cannot be compiled"):
        builder.compile_all(package)
