"""`catseye serve` on a GPU and on the CPU of the same machine, 1 to 256 clients.

    python benchmarks/gpu_serve.py FILE.onnx [--minutes 2.5]       a CUDA device, and onnxruntime-gpu
    python benchmarks/gpu_serve.py --dry FILE.onnx --seconds 0.5   the whole path, with the CPU in the GPU's place

Clients are connections that stay open and send the next request to /predict as soon as they are answered. They run in
processes of this script on the same machine and take cores from the server, so the numbers are below what it can do.
The counts of clients start with 32, where the GPU was slowest, then 256, then the rest; one that would not end in time
is not started. The JSON is written after every count. It needs nothing but catseye. Writes
benchmarks/results/gpu-serve.json: requests/s, p50 and p99 of both, and which targets are reached: 3 times the CPU at
256 clients, never slower, p99 of at most 60 ms at 32.
"""

import argparse
import http.client
import io
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RESULT = Path(__file__).parent / "results" / "gpu-serve.json"
CLIENTS = (32, 256, 1, 8, 64, 128)
START_S = 120.0
WARM_S = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0, help="of load, per count of clients and runtime")
    parser.add_argument("--minutes", type=float, default=2.5)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--dry", action="store_true", help="the CPU in the place of the GPU")
    parser.add_argument("--out", type=Path, default=None, help="JSON file; none is written by --dry without it")
    options = parser.parse_args()
    ends = time.monotonic() + 60 * options.minutes
    runtimes = {"gpu": "cpu" if options.dry else "cuda", "cpu": "cpu"}
    servers: dict[str, tuple[subprocess.Popen[bytes], int, float]] = {}
    result: dict[str, Any] = {"file": options.file.name, "dry": options.dry, "start_s": {}, "rows": []}
    try:
        for name, runtime in runtimes.items():
            servers[name] = start(options.file, runtime)
            result["start_s"][name] = servers[name][2]
        for clients in options.clients:
            if result["rows"] and time.monotonic() + len(servers) * (options.seconds + 2) > ends:
                break
            # One after the other, because they would compete for cores.
            row = {name: load(port, clients, options.seconds) for name, (_, port, _) in servers.items()}
            result["rows"].append({"clients": clients, **row})
            print(clients, row, flush=True)
            result |= summary(result["rows"], options)
            target = options.out or (None if options.dry else RESULT)
            if target:
                target.write_text(json.dumps(result, indent=1) + "\n")
    finally:
        for process, _, _ in servers.values():
            process.terminate()
            process.wait(30)
    print(json.dumps(result["reached"], indent=1))


def summary(rows: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    from train_result import commit

    from catseye.environment import environment

    by = {row["clients"]: row for row in rows}
    ratios = {row["clients"]: row["gpu"]["requests_per_s"] / max(row["cpu"]["requests_per_s"], 1e-9) for row in rows}
    reached: dict[str, bool] = {"never slower than the CPU": min(ratios.values()) >= 1}
    if 256 in by:
        reached["3 times the CPU at 256 clients"] = ratios[256] >= 3
    if 32 in by:
        reached["p99 of at most 60 ms at 32 clients"] = by[32]["gpu"]["p99_ms"] <= 60
    command = f"python benchmarks/gpu_serve.py {'--dry ' if options.dry else ''}{options.file.name}"
    about = {"command": command, "seconds": options.seconds, "commit": commit(), "environment": environment()}
    return {"ratios": ratios, "reached": reached, **about}


def start(file: Path, runtime: str) -> tuple[subprocess.Popen[bytes], int, float]:
    """A server, its port, and the seconds until it was ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun = time.monotonic()
    words = ["serve", str(file), "--port", str(port), "--runtime", runtime, "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "catseye", *words], stderr=subprocess.DEVNULL)
    while time.monotonic() < begun + START_S:
        if process.poll() is not None:
            raise SystemExit(f"the server with --runtime {runtime} ended with exit code {process.returncode}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return process, port, time.monotonic() - begun
        except OSError:
            pass
        time.sleep(0.05)
    process.kill()
    raise SystemExit(f"the server with --runtime {runtime} was not ready after {START_S:g} s")


def load(port: int, clients: int, seconds: float) -> dict[str, float]:
    """The results of this many connections, made by a few processes of this script."""
    helpers = max(1, min(clients, (os.cpu_count() or 2) // 2))
    shares = [len(part) for part in np.array_split(np.arange(clients), helpers)]
    with multiprocessing.get_context("spawn").Pool(helpers) as pool:
        results = pool.starmap(ask_for_a_while, [(port, share, seconds) for share in shares], chunksize=1)
    times_ms = sorted(time_ms for part, _ in results for time_ms in part)
    failed = sum(failures for _, failures in results)
    if not times_ms:
        raise SystemExit(f"no request of {clients} clients was answered; {failed} failed")
    return {
        "requests_per_s": len(times_ms) / seconds,
        "p50_ms": statistics.median(times_ms),
        "p99_ms": times_ms[min(len(times_ms) - 1, int(0.99 * len(times_ms)))],
        "failed": failed,
    }


def ask_for_a_while(port: int, clients: int, seconds: float) -> tuple[list[float], int]:
    """The milliseconds of every answer, and the number of failed requests.

    Runs in a process of its own.
    """
    import asyncio

    return asyncio.run(_ask(port, clients, seconds))


async def _ask(port: int, clients: int, seconds: float) -> tuple[list[float], int]:
    import asyncio

    requests = [request_of(seed) for seed in range(20)]
    begun = time.perf_counter() + WARM_S
    times_ms: list[float] = []
    failed = 0

    async def client(number: int) -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        at = number
        while (before := time.perf_counter()) < begun + seconds:
            writer.write(requests[at % len(requests)])
            at += 1
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            if before >= begun:
                if head.startswith(b"HTTP/1.1 200"):
                    times_ms.append((time.perf_counter() - before) * 1e3)
                else:
                    failed += 1
        writer.close()

    for ended in await asyncio.gather(*map(client, range(clients)), return_exceptions=True):
        failed += isinstance(ended, BaseException)
    return times_ms, failed


def request_of(seed: int) -> bytes:
    """A complete request with a JPEG of 32 px."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    body = stream.getvalue()
    head = (
        f"POST /predict HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: image/jpeg\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


if __name__ == "__main__":
    main()
