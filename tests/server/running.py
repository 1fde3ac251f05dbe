"""A real server in a process of its own, and clients that speak to its socket byte by byte."""

import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

START_S = 60
ROOT = Path(__file__).parents[2]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


@dataclass
class Running:
    """A server that was started; `port` is where it listens."""

    process: subprocess.Popen
    port: int
    facts: dict
    log_path: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> list[dict]:
        return [json.loads(line) for line in self.log_path.read_text().splitlines() if line.startswith("{")]

    def events(self, name: str) -> list[dict]:
        return [line for line in self.log() if line["event"] == name]

    def request(self, method: str, path: str, body: bytes | None = None, timeout_s: float = 30, **headers) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            said = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, said)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers) -> Answer:
        return self.request("GET", path, **headers)

    def predict(self, image: bytes, path: str = "/predict", **headers) -> Answer:
        return self.request("POST", path, image, **{"content_type": "image/png", **headers})

    def connect(self, timeout_s: float = 20) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s)

    def raw(self, *pieces: bytes, timeout_s: float = 20) -> Answer | None:
        """Send bytes as they are and read one answer; None where the server only closes."""
        with self.connect(timeout_s) as connection:
            for piece in pieces:
                try:
                    connection.sendall(piece)
                except OSError:
                    break  # it has closed already; what it said before is still to be read
            return read_answer(connection)

    def memory_mb(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 1e6

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels."""
        total = 0.0
        for line in self.get("/metrics").body.decode().splitlines():
            head, _, value = line.rpartition(" ")
            if (head == name or head.startswith(name + "{")) and all(f'{k}="{v}"' in head for k, v in labels.items()):
                total += float(value)
        return total

    def wait_for(self, condition, timeout_s: float = 20, every_s: float = 0.02):
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(every_s)
        raise AssertionError(f"not within {timeout_s} s; the log ends: {self.log_path.read_text()[-1500:]}")

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 30) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)


@dataclass
class Starter:
    """Starts servers and ends them again."""

    folder: Path
    started: list[Running] = field(default_factory=list)

    def with_settings(self, model: Path, *, limits: dict | None = None, **settings: object) -> Running:
        """A server with settings that need not be options of the command line."""
        said = {"host": "127.0.0.1", "port": 0, "drain_s": 0.1, **settings, "model": str(model), "limits": limits or {}}
        return self._spawn([sys.executable, "-m", "tests.server.launch", json.dumps(said)], None)

    def __call__(
        self,
        model: Path,
        *words: object,
        env: dict[str, str] | None = None,
        prefix: tuple = (),
        cwd: Path = ROOT,
        stderr: int | None = None,
    ) -> Running:
        command = [
            *prefix,
            sys.executable,
            "-m",
            "catseye",
            "serve",
            model,
            "--port",
            0,
            "--json",
            "--drain",
            0.1,
            *words,
        ]
        return self._spawn(command, env, cwd, stderr)

    def _spawn(self, command: list, env: dict[str, str] | None, cwd: Path = ROOT, stderr: int | None = None) -> Running:
        log_path = self.folder / f"server-{len(self.started)}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdout=subprocess.PIPE,
                stderr=log if stderr is None else stderr,
                env={**os.environ, **(env or {})},
                cwd=cwd,
            )
        text = ""
        impatient = threading.Timer(START_S, process.kill)
        impatient.daemon = True
        impatient.start()
        # The line ends are the server's; EOF means that it did not start.
        while not text.endswith("}\n"):
            piece = process.stdout.readline().decode()
            if not piece:
                process.wait(START_S)
                raise AssertionError(f"it did not start ({process.returncode}): {log_path.read_text()[-2000:]}")
            text += piece
        impatient.cancel()
        facts = json.loads(text)
        port = re.search(r":(\d+)(/|$)", facts["address"])
        running = Running(process, int(port[1]) if port else 0, facts, log_path)
        self.started.append(running)
        return running

    def end(self) -> None:
        for running in self.started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.stop(timeout_s=20)
            running.process.kill()
            running.process.wait()
            running.process.stdout.close()


def read_answer(connection: socket.socket) -> Answer | None:
    """One HTTP answer, whatever was sent before; None where the other side closed without one."""
    response = http.client.HTTPResponse(connection)
    try:
        response.begin()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    except (http.client.HTTPException, OSError):
        return None
    finally:
        response.close()


def png(color: str = "red", size: tuple[int, int] = (4, 4), kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, color).save(stream, kind, **options)
    return stream.getvalue()


def noise(seed: int, side: int = 32, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def form(*images: bytes, boundary: str = "b0undary", field: str = "file", name: str = "cat.png") -> tuple[bytes, str]:
    """A multipart body and its Content-Type."""
    parts = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        "Content-Type: image/png\r\n\r\n".encode()
        + image
        + b"\r\n"
        for image in images
    )
    return parts + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def post_bytes(body: bytes, path: str = "/predict", kind: str = "image/png") -> bytes:
    """A whole request as bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def refused(answer: Answer | None, *statuses: int) -> dict:
    """Rule R: a named refusal with rule, value and next step, no path of ours and no traceback in it."""
    assert answer is not None, "the connection was closed without an answer"
    assert answer.status in statuses, answer.body
    said = answer.json()
    assert ";" in said["error"], said
    assert said["code"]
    assert str(ROOT) not in said["error"]
    assert "Traceback" not in said["error"]
    assert "site-packages" not in said["error"]
    return said


def worker_pids(running: Running) -> list[int]:
    """Of all workers that were started, in order."""
    return [line["process"] for line in running.events("worker-started")]


def alive(pid: int) -> bool:
    """A process that only waits to be collected is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
