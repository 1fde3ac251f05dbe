"""A Docker engine of the tests' own, with a stand-in for docker.io/library/python:3.11-slim made on this machine.

Nothing is pulled from a registry of images; pip inside the build asks PyPI. Where root, the engine or the package
mirror is missing, the tests are skipped and say what is. CATSEYE_DEPLOY_CACHE keeps engine and base between runs.
"""

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).parent
BASE = "docker.io/library/python:3.11-slim"
NAME = "cnn-classifier"
NEEDED = {"dockerd": "docker.io", "docker": "docker.io", "mmdebstrap": "mmdebstrap", "runc": "runc", "ip": "iproute2"}
NETWORK = "10.213.77.1/24"


class Docker:
    """The client, told which engine."""

    def __init__(self, socket: Path) -> None:
        # Debian's client can BuildKit by itself; a newer one beside it wants a plug-in for that.
        self.program = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
        self.env = {**os.environ, "DOCKER_HOST": f"unix://{socket}", "DOCKER_BUILDKIT": "1"}

    def __call__(self, *words: object, check: bool = True, timeout_s: float = 900, **more) -> str:
        command = [self.program, *map(str, words)]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=timeout_s, **more)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
        return done.stdout.strip()


def python_3_11() -> str | None:
    """A CPython of the wanted version that is not laid out as Debian's own."""
    for name in (sys.executable, "python3.11"):
        path = shutil.which(name)
        code = "import sys, sysconfig; print(sys.base_prefix, sys.version_info[:2] == (3, 11))"
        if path and (said := subprocess.run([path, "-c", code], capture_output=True, text=True).stdout.split()):
            prefix, is_it = said
            if is_it == "True" and prefix != "/usr":
                return path
    return None


def missing() -> str | None:
    if os.name != "posix" or os.geteuid() != 0:
        return "a Docker engine of the tests' own needs root"
    for program, package in NEEDED.items():
        if shutil.which(program) is None:
            return f"needs {program} (Debian: {package}); `make test-deploy` installs it"
    if python_3_11() is None:
        return "needs a CPython 3.11 outside /usr for the base image"
    return None


@pytest.fixture(scope="session")
def docker(tmp_path_factory) -> Iterator[Docker]:
    if reason := missing():
        pytest.skip(reason)
    kept = os.environ.get("CATSEYE_DEPLOY_CACHE")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("engine")
    folder.mkdir(parents=True, exist_ok=True)
    # A socket's path has at most 107 characters.
    socket = Path(f"/run/catseye-deploy-{os.getpid()}.sock")
    command = ["dockerd", f"--data-root={folder / 'data'}", f"--exec-root=/run/catseye-deploy-{os.getpid()}"]
    # Ports are forwarded by docker-proxy, so no rule of this machine's packet filter is touched.
    command += ["--iptables=false", "--ip6tables=false", f"--pidfile={folder / 'pid'}", f"--host=unix://{socket}"]
    # A bridge of its own: the machine's other engine, if there is one, keeps docker0 for itself.
    bridge = f"catseye{os.getpid()}"
    for words in (["link", "add", bridge, "type", "bridge"], ["addr", "add", NETWORK, "dev", bridge]):
        subprocess.run(["ip", *words], check=True)
    command += [f"--bridge={bridge}", "--default-ulimit=nofile=4096:4096"]
    with (folder / "dockerd.log").open("wb") as log:
        engine = subprocess.Popen(command, stdout=log, stderr=log)
    asked = Docker(socket)
    try:
        end = time.monotonic() + 60
        while asked("version", check=False) == "" or not socket.exists():
            if engine.poll() is not None or time.monotonic() > end:
                tail = (folder / "dockerd.log").read_text()[-600:]
                pytest.skip(f"no Docker engine starts on this machine: {tail}")
            time.sleep(0.5)
        if not asked("images", "--quiet", BASE):
            make_base(asked, folder)
        yield asked
    finally:
        for container in asked("ps", "--all", "--quiet", check=False).split():
            asked("rm", "--force", container, check=False)
        engine.terminate()
        engine.wait(60)
        socket.unlink(missing_ok=True)
        subprocess.run(["ip", "link", "delete", bridge])
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def make_base(docker: Docker, folder: Path) -> None:
    archive = folder / "base.tar"
    if not archive.exists():
        env = {**os.environ, "PYTHON": python_3_11() or ""}
        done = subprocess.run(["sh", HERE / "python_base.sh", archive], env=env, capture_output=True, text=True)
        if done.returncode != 0:
            archive.unlink(missing_ok=True)
            pytest.skip(f"no base image can be made: {done.stderr[-600:]}")
    changes = ["ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "ENV LANG=C.UTF-8"]
    docker("import", *(f"--change={one}" for one in changes), '--change=CMD ["python3"]', archive, BASE)


def say(line: str) -> None:
    """What the guide quotes."""
    print(f"\n  {line}", file=sys.stderr)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """LeNet-5 that has seen the digits for a moment, exported; and one digit as a PNG with the run's own answer."""
    folder = tmp_path_factory.mktemp("trained")
    catseye = [sys.executable, "-m", "catseye"]
    words = ["digits", "--model", "lenet5", "--epochs", "8", "--out", folder / "run"]
    subprocess.run([*catseye, "train", *words], check=True)
    subprocess.run([*catseye, "export", folder / "run", "--out", folder / "export"], check=True)
    from sklearn.datasets import load_digits

    stream = io.BytesIO()
    Image.fromarray((load_digits().images[3] * 15.9).astype(np.uint8)).resize((32, 32)).save(stream, "PNG")
    return folder, folder / "export" / "model.onnx", stream.getvalue()


@pytest.fixture(scope="session")
def image(docker: Docker, trained) -> str:
    folder, model, _ = trained
    subprocess.run([sys.executable, "-m", "catseye", "deploy", "docker", model, "--out", folder / "docker"], check=True)
    begun = time.monotonic()
    docker("build", "--network=host", "-t", NAME, ".", cwd=folder / "docker", timeout_s=1500)
    say(f"docker build: {time.monotonic() - begun:.0f} s")
    return NAME
