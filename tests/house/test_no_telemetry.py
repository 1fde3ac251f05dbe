"""Nothing that catseye loads or starts reports home: no name looked up, no strange address, no file in the home folder.

ONNX Runtime's telemetry leaves a database in the user's cache folder; OpenVINO and NNCF ask an analytics host as soon
as they are imported, and keep an identifier; Ray asks the addresses at which clouds answer who and where a machine is.
"""

import contextlib
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.unit.onnx_files import manifest, tiny_model

CODE = "import sys, catseye; catseye.load(sys.argv[1])"
# Loaded by every Python process that has its folder in PYTHONPATH, those that others start too.
SITE = """
import os, sys
def look(event, words, path=os.environ["CATSEYE_TRACE"]):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyname_ex"):
        host = words[0]
    elif event in ("socket.connect", "socket.sendto") and words[0].family.name != "AF_UNIX":
        host = words[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{host} {event} {sys.argv[:2]}\\n".encode())
    os.close(descriptor)
sys.addaudithook(look)
"""


@pytest.mark.parametrize(("said", "wanted"), [(None, 0), ("0", None)])
def test_onnx_runtime_keeps_to_itself(tmp_path, said, wanted):
    model, home = tmp_path / "m.onnx", tmp_path / "home"
    model.write_bytes(tiny_model().SerializeToString())
    home.mkdir()
    env = {k: v for k, v in os.environ.items() if k not in ("XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")}
    env |= {"HOME": str(home)} | ({"ORT_DISABLE_TELEMETRY": said} if said else {})
    subprocess.run([sys.executable, "-c", CODE, model], env=env, check=True, capture_output=True)
    left = [path for path in home.rglob("*") if path.is_file()]
    if wanted is None and not left:
        pytest.skip("this build of ONNX Runtime has no telemetry")  # so the other case shows nothing here
    assert (len(left) == 0) == (wanted == 0), left


class Watched:
    """Commands in a folder and a home of their own, and what they looked up and left there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.trace = folder, folder / "home", folder / "trace.txt"
        site = folder / "site"
        for one in (self.home, site):
            one.mkdir()
        (site / "sitecustomize.py").write_text(SITE)
        # What a user's shell does not have, and what would switch telemetry off by itself.
        hide = (
            "CI",
            "TF_BUILD",
            "JENKINS_URL",
            "NNCF_CI",
            "NNCF_DEV",
            "RAY_ADDRESS",
            "XDG_CACHE_HOME",
            "XDG_CONFIG_HOME",
        )
        paths = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.env = {name: value for name, value in os.environ.items() if name not in hide}
        self.env |= {"HOME": str(self.home), "CATSEYE_TRACE": str(self.trace), "PYTHONPATH": paths}

    def start(self, *words: object) -> subprocess.Popen:
        command = [sys.executable, *map(str, words)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=pipe, stderr=pipe, text=True)

    def __call__(self, *words: object) -> str:
        with self.start(*words) as process:
            told, complaint = process.communicate(timeout=400)
        assert process.returncode == 0, complaint
        return told

    def catseye(self, *words: object) -> str:
        return self("-m", "catseye", *words)

    def strangers(self) -> list[str]:
        """Traced lines whose host is not this machine."""
        lines = self.trace.read_text().splitlines() if self.trace.exists() else []
        return [line for line in lines if not is_here(line.split(" ", 1)[0])]

    def left(self) -> list[str]:
        """Files in the home folder, but for matplotlib's list of the fonts of this machine."""
        found = [path.relative_to(self.home).as_posix() for path in self.home.rglob("*") if path.is_file()]
        return [name for name in found if not name.startswith(".cache/matplotlib/")]

    def require_silence(self) -> None:
        assert self.strangers() == []
        assert self.left() == []


def is_here(host: str) -> bool:
    if host in ("None", "", "localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified:
        return True
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))  # only an address of this machine can be bound
        return True
    return False


@pytest.fixture
def watched(tmp_path):
    return Watched(tmp_path)


@pytest.fixture
def ir(watched):
    pytest.importorskip("openvino")
    from catseye.exporting.openvino_ir import convert, write_ir

    path = watched.folder / "m.xml"
    write_ir(convert(tiny_model().SerializeToString()), path, manifest())
    return path


def test_openvino_by_itself_reports_home(watched):
    """What the others would see, were the switch not there."""
    pytest.importorskip("openvino")
    watched("-c", "import openvino, time; time.sleep(1)")
    if not watched.left():
        pytest.skip("this OpenVINO is silent by itself")
    assert watched.strangers()


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "package",
    ["openvino", "nncf", "onnxruntime", *(pytest.param(name, marks=slow) for name in ("ray", "torch", "timm"))],
)
def test_a_package_imported_after_catseye_is_silent(watched, package):
    pytest.importorskip(package)
    watched("-c", f"import catseye, {package}, time; time.sleep(0.5)")
    watched.require_silence()


def test_an_ir_is_opened_in_silence(watched, ir):
    """In the process that asks for it, and in the one that tries it first."""
    watched("-c", CODE, ir)
    watched.catseye("info", ir)
    watched.require_silence()


def wait_until_ready(address):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/readyz", timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    pytest.fail("the server does not become ready")


def test_a_server_is_silent(watched, ir):
    words = ("serve", ir, "--port", 0, "--json", "--watch", "--workers", 2)
    with watched.start("-m", "catseye", *words) as process:
        try:
            text = ""
            while not text.endswith("}\n"):
                text += (line := process.stdout.readline())
                assert line, "the server did not start"
            wait_until_ready(json.loads(text)["address"])  # it listens before it has opened the file
            ir.write_bytes(ir.read_bytes().replace(b'name="tiny"', b'name="tidy"', 1))
            while '"reloaded"' not in (line := process.stderr.readline()):
                assert line, "the server ended"
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
    watched.require_silence()


@pytest.mark.slow
def test_everything_between_training_and_predicting_is_silent(watched, ir):
    pytest.importorskip("nncf")
    image = watched.folder / "a.png"
    from PIL import Image

    Image.new("L", (8, 8)).save(image)
    watched.catseye("train", "digits", "--model", "lenet5", "--epochs", 1, "--out", "run", "--device", "cpu")
    watched.catseye("evaluate", "run")
    watched.catseye("export", "run", "--to", "onnx", "--out", "out")
    watched.catseye("export", "run", "--to", "openvino", "--int8", "--out", "out")
    watched.catseye("explain", "run", image)
    files = [watched.folder / "out" / name for name in ("model.onnx", "model.xml", "model.int8.xml")]
    watched.catseye("bench", *files, "--seconds", 0.05, "--rounds", 1, "--batch", 1)
    for file in files:
        watched.catseye("predict", file, image)
    watched.require_silence()


@pytest.mark.slow
def test_ray_is_silent(watched):
    pytest.importorskip("ray")
    from PIL import Image

    model = watched.folder / "m.onnx"
    model.write_bytes(tiny_model().SerializeToString())
    Image.new("RGB", (8, 8)).save(watched.folder / "a.png")
    watched.catseye("predict", model, "a.png", "--engine", "ray", "--out", "parts", "--workers", 1)
    watched.require_silence()
