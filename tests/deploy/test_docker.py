"""The folder of `catseye deploy docker`, built by a real Docker engine and run as an operator would run it.

`make test-deploy` runs this; minutes, most of them pip's. The Dockerfile is the rendered one, unchanged.
"""

import contextlib
import http.client
import json
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

import catseye
from tests.deploy.conftest import BASE, Docker, say

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MAX_BYTES = 300_000_000
LOCKED_DOWN = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--pids-limit=256",
               "--memory=512m", "--cpus=1")  # fmt: skip


@dataclass
class Container:
    docker: Docker
    id: str
    port: int

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def inspect(self, what: str) -> str:
        return self.docker("inspect", "--format", f"{{{{{what}}}}}", self.id)

    def log(self) -> list[dict]:
        command = [self.docker.program, "logs", self.id]
        done = subprocess.run(command, env=self.docker.env, capture_output=True, text=True)
        return [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]

    def wait_until_ready(self, timeout_s: float = 60) -> float:
        begun = time.monotonic()
        while time.monotonic() < begun + timeout_s:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask("GET", "/readyz")[0] == 200:
                    return time.monotonic() - begun
            time.sleep(0.05)
        raise AssertionError(f"not ready: {self.docker('logs', self.id, check=False)} {self.log()}")


@pytest.fixture
def run(docker: Docker, image: str):
    """`run("--memory=1g")` starts a container with its port published; they are removed in the end."""
    started = []

    def start(*words: object, command: tuple = ()) -> Container:
        identity = docker("run", "--detach", "--publish=127.0.0.1::8000", *words, image, *command)
        started.append(identity)
        said = docker("port", identity, "8000/tcp", check=False)
        return Container(docker, identity, int(said.splitlines()[0].rpartition(":")[2]) if said else 0)

    yield start
    for identity in started:
        docker("rm", "--force", identity, check=False)


def test_the_image_is_small_and_says_what_it_is(docker, image, trained):
    total, base = (int(docker("image", "inspect", "--format", "{{.Size}}", name)) for name in (image, BASE))
    say(f"image: {total / 1e6:.0f} MB unpacked (docker image inspect), of which the base has {base / 1e6:.0f} MB")
    assert total <= MAX_BYTES
    said = json.loads(docker("image", "inspect", image))[0]["Config"]
    assert said["User"] == "10001:10001"
    assert said["ExposedPorts"] == {"8000/tcp": {}}
    labels = said["Labels"]
    assert json.loads(labels["catseye.model.classes"]) == [str(number) for number in range(10)]
    inside = docker("run", "--rm", "--entrypoint=sha256sum", image, "/app/model.onnx").split()[0]
    assert inside == labels["catseye.model.sha256"]
    assert labels["org.opencontainers.image.version"] == inside[:12]
    bill = json.loads(docker("run", "--rm", "--entrypoint=cat", image, labels["catseye.sbom"]))
    code = "import json; from importlib.metadata import distributions as d; print(json.dumps({x.name.lower().replace('_', '-'): x.version for x in d()}))"  # noqa: E501
    installed = json.loads(docker("run", "--rm", image, "python", "-c", code))
    listed = {one["name"]: one["version"] for one in bill["components"] if one.get("purl")}
    assert installed == listed
    assert "torch" not in installed


def test_it_answers_like_the_file_and_turns_healthy(run, trained):
    """Read-only, no capabilities, a user without a name: the limits an operator sets."""
    _, model, image = trained
    container = run(*LOCKED_DOWN)
    seconds = container.wait_until_ready()
    status, body = container.ask("POST", "/predict", image, content_type="image/png")
    answer = json.loads(body)
    expected = catseye.load(model).predict(image)
    say(f"ready {seconds:.2f} s after docker run returned; /predict: {body.decode()[:120]}…")
    assert status == 200
    assert answer["class"] == expected.top(1)[0][0]
    assert answer["confidence"] == pytest.approx(100 * expected.top(1)[0][1], abs=0.02)
    assert container.ask("GET", "/")[0] == 200
    assert b"catseye_requests_total" in container.ask("GET", "/metrics")[1]
    end = time.monotonic() + 90
    while container.inspect(".State.Health.Status") != "healthy" and time.monotonic() < end:
        time.sleep(0.5)
    health = json.loads(container.inspect("json .State.Health"))
    assert health["Status"] == "healthy", health
    say(f"health: {health['Status']} after {len(health['Log'])} check(s)")
    assert container.docker("exec", container.id, "id", "-u") == "10001"
    with pytest.raises(AssertionError, match="Read-only file system"):
        container.docker("exec", container.id, "sh", "-c", "echo x > /app/x")
    caps = container.docker("exec", container.id, "grep", "CapEff", "/proc/1/status")
    assert int(caps.split()[1], 16) == 0


def test_a_stop_under_load_loses_nothing(run, trained):
    """Eight clients ask without a pause, as long as a load balancer would let them: until /readyz says 503."""
    image = trained[2]
    container = run(*LOCKED_DOWN)
    container.wait_until_ready()
    seen: Counter = Counter()
    ready = threading.Event()
    ready.set()

    def balancer() -> None:
        while ready.is_set():
            if container.ask("GET", "/readyz")[0] != 200:
                ready.clear()
            time.sleep(0.05)

    def client() -> None:
        while ready.is_set():
            try:
                seen[container.ask("POST", "/predict", image, content_type="image/png")[0]] += 1
            except (OSError, http.client.HTTPException) as error:
                seen[repr(error)] += 1

    threads = [threading.Thread(target=one) for one in (balancer, *[client] * 8)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    begun = time.monotonic()
    container.docker("kill", "--signal=TERM", container.id)
    code = container.docker("wait", container.id)
    seconds = time.monotonic() - begun
    for thread in threads:
        thread.join(30)
    say(f"SIGTERM under load: {dict(seen)}, exit code {code} after {seconds:.2f} s")
    assert code == "0"
    assert seen.keys() == {200}
    assert seen[200] > 50
    log = container.log()
    assert log[-1]["event"] == "end"
    assert len([line for line in log if line["event"] == "request" and line["route"] == "/predict"]) == seen[200]


def test_a_stop_while_it_starts_is_heard(run):
    """The first process of a container is spared signals that it does not handle; ours handles this one early."""
    container = run("--cpus=0.3")  # slow enough to be met on its way
    status = Path("/proc", container.inspect(".State.Pid"), "status")
    begun = time.monotonic()
    while not int(re.search(r"SigCgt:\s*(\w+)", status.read_text())[1], 16) >> (signal.SIGTERM - 1) & 1:
        assert time.monotonic() < begun + 60
        time.sleep(0.01)
    assert not container.log()  # it does not listen yet
    begun = time.monotonic()
    container.docker("stop", "--time=30", container.id)
    seconds, code = time.monotonic() - begun, container.inspect(".State.ExitCode")
    say(f"SIGTERM while modules load: exit code {code} after {seconds:.2f} s")
    assert code == "143"
    assert seconds < 15


def test_a_token_file_is_heeded(run, trained, tmp_path):
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123\n")
    container = run(
        *LOCKED_DOWN, f"--volume={token}:/run/secrets/token:ro", "--env=CATSEYE_TOKEN_FILE=/run/secrets/token"
    )
    container.wait_until_ready()
    assert container.ask("POST", "/predict", trained[2], content_type="image/png")[0] == 401
    said = {"content_type": "image/png", "authorization": "Bearer 0123456789abcdef0123"}
    assert container.ask("POST", "/predict", trained[2], **said)[0] == 200
    assert not [line for line in container.log() if line["event"] == "open"]


def test_several_workers_fit_into_the_read_only_root(run, trained):
    command = ("catseye", "serve", "/app/model.onnx", "--host", "0.0.0.0", "--insecure", "--workers", "2")
    container = run(*LOCKED_DOWN, command=command)
    container.wait_until_ready()
    assert container.ask("POST", "/predict", trained[2], content_type="image/png")[0] == 200
    assert [line for line in container.log() if line["event"] == "open"]
    container.docker("stop", "--time=30", container.id)
    assert container.inspect(".State.ExitCode") == "0"


def test_odd_class_names_reach_the_labels(docker, image, tmp_path):
    """Quotes, dollars and line ends pass through the Dockerfile's own rules unchanged."""
    from catseye.deploying.docker import quoted

    names = ["a cat", 'say "cat"', "5 $HOME ${x}", "back\\slash", "Käse # 1", "two\nlines", "it's"]
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nLABEL odd={quoted(json.dumps(names))}\n")
    docker("build", "-t", "odd", ".", cwd=tmp_path)
    assert json.loads(docker("image", "inspect", "--format", '{{index .Config.Labels "odd"}}', "odd")) == names


def test_a_changed_model_is_not_built(docker, image, trained):
    folder = trained[0] / "docker"
    path = folder / "model.onnx"
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(AssertionError, match=r"did NOT match|FAILED"):
            docker("build", "--network=host", "-t", "changed", ".", cwd=folder)
    finally:
        path.write_bytes(content)
