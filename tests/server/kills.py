"""Servers that are killed under load, and callers that notice: `python -m tests.server.kills --kills 300 --stops 100`.

Enters: counts. Leaves: what became of every request. `kill_workers` sends SIGKILL to workers of servers that have
three, `stop_servers` sends SIGTERM to whole servers, of one process or of two workers. Callers keep their connections
or make a new one each time; every answer is checked. Used by `test_kills.py`; `--out` writes a benchmark's result.

What can become of a request whose bytes were sent:

- `answered`: 200, and the class is right;
- `closed`: the connection ended by a FIN before the first byte of an answer, and an earlier request had been answered
  on it: HTTP clients send such a request again by themselves (RFC 9112 section 9.3.1, RFC 9110 section 9.2.2);
- `cut`: the same by RST, or on a new connection. Where a process is killed outright, whoever it was answering meets it;
- `busy`: 503 with Retry-After: the server says itself to ask again;
- `torn`, `wrong`, `silent`: part of an answer, another answer, none within `PATIENCE_S`. Never.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from tests.server import models
from tests.server.running import ROOT, Running, Starter, alive, png, post_bytes, worker_pids

PATIENCE_S = 30.0
CALLERS = 12
KILLS_PER_SERVER = 10  # more would meet the pause before a worker that keeps dying is started again
IMAGES = {color: post_bytes(png(color)) for color in ("red", "green", "blue")}
NOBODY = "no connection"


class Callers:
    """So many callers in threads, for the length of the block; half of them keep their connection."""

    def __init__(self, running: Running, number: int = CALLERS) -> None:
        self.running, self.counted = running, Counter[str]()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(index,), daemon=True) for index in range(number)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE_S)
        assert not any(thread.is_alive() for thread in self._threads)

    def wait_for(self, num: int) -> None:
        """Until so many more have been answered."""
        end, wanted = time.monotonic() + PATIENCE_S, self.counted["answered"] + num
        while self.counted["answered"] < wanted:
            assert time.monotonic() < end, f"nobody is answered any more: {self.counted}"
            time.sleep(0.005)

    def _call(self, index: int) -> None:
        chance, keeps = random.Random(index), index % 2 == 0
        connection, num_before = None, 0
        while not self._stop.is_set():
            if connection is None:
                num_before = 0
                try:
                    connection = self.running.connect(PATIENCE_S)
                except OSError:
                    self._count(NOBODY)
                    time.sleep(0.02)
                    continue
            color = chance.choice(list(IMAGES))
            what, goes_on = ask(connection, IMAGES[color], color, num_before)
            self._count(what)
            num_before += 1
            if not (goes_on and keeps):
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _count(self, what: str) -> None:
        with self._lock:
            self.counted[what] += 1


def ask(connection: socket.socket, request: bytes, color: str, num_before: int) -> tuple[str, bool]:
    """One request: what became of it, and whether the connection can be used again."""
    said = b""
    broken = False
    try:
        connection.sendall(request)
    except TimeoutError:
        return "silent", False
    except OSError:
        broken = True  # what the server said before is still to be read
    try:
        while not (whole := _whole(said)):
            piece = connection.recv(65_536)
            if not piece:
                break
            said += piece
    except TimeoutError:
        return "silent", False
    except OSError:
        broken = True
    if not said:
        return ("closed" if num_before and not broken else "cut"), False
    if not whole:
        return "torn", False
    status, headers, body = whole
    goes_on = b"connection: close" not in headers
    if status == 503 and b"retry-after:" in headers:
        return "busy", goes_on
    right = status == 200 and json.loads(body)["class"] == color
    return ("answered" if right else "wrong"), goes_on


def _whole(said: bytes) -> tuple[int, bytes, bytes] | None:
    """Status, head in small letters, body, once all of it has come."""
    head, mark, body = said.partition(b"\r\n\r\n")
    if not mark:
        return None
    head = head.lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    return (int(head[9:12]), head, body) if len(body) >= length else None


def wait_until_ready(running: Running, num_workers: int) -> None:
    """Until so many workers, dead ones included, have said that they are."""
    running.wait_for(lambda: len(running.events("worker-ready")) >= num_workers, timeout_s=120)


def kill_workers(start: Starter, model: Path, num_kills: int) -> Counter[str]:
    """SIGKILL for workers, one after the other, each as soon as three are ready again."""
    total: Counter[str] = Counter()
    chance = random.Random()
    while total["kills"] < num_kills:
        running = start(model, "--quiet", "--workers", 3, "--concurrency", 1, "--batch-size", 4)
        wait_until_ready(running, 3)
        with Callers(running) as callers:
            for number in range(min(KILLS_PER_SERVER, num_kills - total["kills"])):
                callers.wait_for(20)
                os.kill(chance.choice([pid for pid in worker_pids(running) if alive(pid)]), signal.SIGKILL)
                total["kills"] += 1
                wait_until_ready(running, 4 + number)
            callers.wait_for(20)
        total += callers.counted
        assert running.stop(timeout_s=60) == 0
        assert not any(alive(pid) for pid in worker_pids(running))
    return total


def stop_servers(start: Starter, model: Path, num_stops: int, workers: int) -> Counter[str]:
    """SIGTERM for whole servers, each at another moment of its load."""
    total: Counter[str] = Counter()
    chance = random.Random()
    for _ in range(num_stops):
        words = ("--workers", workers) if workers > 1 else ()
        running = start(model, "--quiet", "--concurrency", 1, "--batch-size", 4, *words)
        with Callers(running) as callers:
            callers.wait_for(50)
            time.sleep(chance.uniform(0, 0.3))
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(60) == 0
            time.sleep(0.05)
        total += callers.counted
        total["stops"] += 1
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--stops", type=int, default=100, help="half of them with two workers")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    begun = time.monotonic()
    found: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        start = Starter(Path(folder))
        stack.callback(start.end)
        model = models.write(Path(folder) / "tints.onnx", models.slow(2))
        for name, work, num in (
            ("SIGTERM, one process", lambda num: stop_servers(start, model, num, 1), -(-asked.stops // 2)),
            ("SIGTERM, two workers", lambda num: stop_servers(start, model, num, 2), asked.stops // 2),
            ("SIGKILL of workers", lambda num: kill_workers(start, model, num), asked.kills),
        ):
            total: Counter[str] = Counter()
            for done in range(0, num, KILLS_PER_SERVER):
                total += work(min(KILLS_PER_SERVER, num - done))
                found[name] = dict(sorted(total.items()))
                print(f"{name}: {json.dumps(found[name])} after {time.monotonic() - begun:.0f} s", flush=True)
    if asked.out is not None:
        asked.out.write_text(json.dumps(_result(asked, found, time.monotonic() - begun), indent=1) + "\n")


def _result(asked: argparse.Namespace, found: dict[str, dict[str, int]], seconds: float) -> dict[str, object]:
    import sys

    sys.path.insert(0, str(ROOT / "benchmarks"))
    from train_result import commit

    from catseye.environment import environment

    return {
        "command": f"python -m tests.server.kills --kills {asked.kills} --stops {asked.stops}",
        "n": 1,
        "seeds": [],
        "callers": CALLERS,
        "requests": found,
        "seconds": round(seconds, 1),
        "commit": commit(),
        "environment": environment(),
    }


if __name__ == "__main__":
    main()
