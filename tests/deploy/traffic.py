"""Callers that notice every failure, and the HAProxy in front of the pods."""

import asyncio
import contextlib
import csv
import io
import json
import re
import socket
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.small_cluster import NETWORK, TOKEN, Pod
from tests.server.running import png

SLOTS = 8


@dataclass
class Load:
    """So many callers, each with one connection, asking again and again in a thread of its own until `stop`."""

    port: int
    callers: int = 8
    good: int = 0
    bad: Counter = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(60)

    async def _all(self) -> None:
        await asyncio.gather(*(self._one() for _ in range(self.callers)))

    async def _one(self) -> None:
        body = png("red", (32, 32))
        head = f"POST /predict HTTP/1.1\r\nHost: pets\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: image/png\r\n"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        writer = None
        while not self._stopping.is_set():
            begun = time.perf_counter()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(request)
                answer_head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
                status = int(answer_head.split(b" ", 2)[1])
                length = int(re.search(rb"content-length: (\d+)", answer_head.lower())[1])
                answer = await reader.readexactly(length)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.bad[type(error).__name__] += 1
                if writer is not None:
                    writer.close()
                writer = None
                await asyncio.sleep(0.01)
                continue
            if status == 200 and json.loads(answer)["class"] == "red":
                self.good += 1
                self.seconds.append(time.perf_counter() - begun)
            else:
                self.bad[f"{status}"] += 1
                await asyncio.sleep(0.01)
            if b"connection: close" in answer_head.lower():
                writer.close()
                writer = None
        if writer is not None:
            writer.close()

    def quantile_ms(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Balancer:
    """Debian's HAProxy. It tries no request twice, so that nothing is hidden."""

    def __init__(self, folder: Path, check: str, port: int) -> None:
        self.folder, self.check = folder, check
        self.socket, self.port = folder / "haproxy.sock", free_port()
        self._ready: set[int] = set()
        slots = "\n".join(f"  server s{n} {NETWORK}.{n + 10}:{port} disabled check" for n in range(1, SLOTS + 1))
        (folder / "haproxy.cfg").write_text(f"""
global
  stats socket {self.socket} mode 600 level admin
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  retries 0
  option httplog
frontend door
  bind 127.0.0.1:{self.port}
  default_backend pods
backend pods
  balance roundrobin
  option httpchk GET {check}
  http-check expect status 200
  default-server inter 100ms fastinter 100ms downinter 100ms fall 1 rise 1 init-addr last,none
{slots}
""")

    def __enter__(self) -> "Balancer":
        config = self.folder / "haproxy.cfg"
        checked = subprocess.run(["haproxy", "-c", "-f", config], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        self._log = (self.folder / "haproxy.log").open("wb")
        self._process = subprocess.Popen(["haproxy", "-db", "-f", config], stdout=self._log, stderr=self._log)
        wait_for(self.socket.exists)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()

    def ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            connection.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def tell(self, pods: list[Pod], late_s: float = 0.0) -> None:
        """These are the ready pods now; heard `late_s` later, without anybody waiting for it."""
        wanted = {pod.number for pod in pods}

        def act() -> None:
            for number in sorted(wanted | self._ready):
                if (number in wanted) != (number in self._ready):
                    self.ask(f"set server pods/s{number} state {'ready' if number in wanted else 'drain'}")
            self._ready = wanted

        if late_s:
            threading.Timer(late_s, act).start()
        else:
            act()

    def states(self) -> dict[str, str]:
        rows = csv.DictReader(io.StringIO(self.ask("show stat").removeprefix("# ")))
        return {row["svname"]: row["status"] for row in rows if row["pxname"] == "pods" and row["svname"] != "BACKEND"}

    def num_up(self) -> int:
        return sum(state.startswith("UP") for state in self.states().values())


def wait_for(condition, timeout_s: float = 30):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s")


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
