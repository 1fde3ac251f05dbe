"""Starts one server at a time, loads it by wrk, measures its memory, stops it.

`serve_load.py` and `serve_paired.py` use it.
"""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from PIL import Image

NUM_IMAGES = 200
START_S = 120  # the longest wait for a server's first answer
CONTENT_TYPE = "multipart/form-data; boundary=catseyebench"
LUA = """
local bodies = {}
function init(args)
  for name in io.lines(args[1]) do
    local f = io.open(name, "rb"); bodies[#bodies + 1] = f:read("*a"); f:close()
  end
end
local headers = {["Content-Type"] = "multipart/form-data; boundary=catseyebench"}
local at = 0
function request()
  at = at % #bodies + 1
  return wrk.format("POST", nil, headers, bodies[at])
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('RESULT {"requests": %d, "seconds": %.3f, "p50_ms": %.2f, "p99_ms": %.2f, "not_2xx": %d, ' ..
    '"connect": %d, "read": %d, "write": %d, "timeout": %d}\\n', summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, e.status, e.connect, e.read, e.write, e.timeout))
end
"""


def images_in(folder: Path) -> list[Path]:
    """At most NUM_IMAGES images, spread over the folder."""
    images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    return images[:: max(1, len(images) // NUM_IMAGES)][:NUM_IMAGES]


def write_forms(images: Path, folder: Path) -> Path:
    """Write the images as JPEG forms, and the script that sends them.

    Returns the list of forms.
    """
    folder.mkdir()
    names = []
    for index, path in enumerate(images_in(images)):
        content = path.read_bytes()
        if path.suffix.lower() == ".png":
            stream = io.BytesIO()
            Image.open(path).convert("RGB").save(stream, "JPEG", quality=95)
            content = stream.getvalue()
        head = b'--catseyebench\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
        form = folder / f"{index}.form"
        form.write_bytes(head + b"Content-Type: image/jpeg\r\n\r\n" + content + b"\r\n--catseyebench--\r\n")
        names.append(str(form))
    (folder / "post.lua").write_text(LUA)
    (folder / "forms.txt").write_text("\n".join(names) + "\n")
    return folder / "forms.txt"


def about_forms(forms: Path) -> str:
    sizes = [path.stat().st_size for path in forms.parent.glob("*.form")]
    return f"{len(sizes)} JPEG forms, {round(statistics.mean(sizes)):,} bytes on average"


def one_server(
    words: list, forms: Path, connections: tuple[int, ...], seconds: int, source: Path | None = None
) -> dict:
    """Start a server, load it, stop it.

    `source` is the folder whose modules it imports, instead of the installed ones.

    Raises:
        RuntimeError: it does not start, or answers with an error; with the end of its output.

    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, *[str(port) if word == "PORT" else str(word) for word in words]]
    # As users start it: without a limit of threads.
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if source is not None:
        env["PYTHONPATH"] = str(source)
    log = forms.parent / "server.log"
    first = Path(forms.read_text().splitlines()[0]).read_bytes()
    started = time.perf_counter()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, env=env, cwd=forms.parent, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        ask_until_answered(port, first, process)
        result: dict = {"first_answer_s": round(time.perf_counter() - started, 3)}
        wrk(port, 32, min(2, seconds), forms)
        for number in connections:
            before = cpu_s(process.pid)
            cell = wrk(port, number, seconds, forms)
            used = cpu_s(process.pid) - before
            result[str(number)] = {**cell, "cpu_s_per_1000": round(1000 * used / max(1, cell["requests"]), 4)}
        result["memory_mb"] = round(memory_mb(process.pid), 1)
        return result
    except RuntimeError as error:
        raise RuntimeError(f"{error}; it printed: {log.read_text(errors='replace')[-1500:]}") from None
    finally:
        stop(process)


def stop(process: subprocess.Popen) -> None:
    """End the server and all processes that it started."""
    with contextlib.suppress(ProcessLookupError):  # it ended by itself
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def ask_until_answered(port: int, body: bytes, process: subprocess.Popen) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, {"Content-Type": CONTENT_TYPE})
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert "all_probabilities" in json.load(answer)
                return
        except urllib.error.HTTPError as error:
            if error.code != 503:  # a second request would not change it
                raise RuntimeError(f"the answer is {error.code}: {error.read(500)!r}") from None
            time.sleep(0.01)
        except OSError:
            time.sleep(0.01)
    state = "no answer" if process.poll() is None else f"it ended with {process.returncode}"
    raise RuntimeError(f"{state}: {process.args}")


def wrk(port: int, connections: int, seconds: int, forms: Path) -> dict:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
    command += ["-s", str(forms.parent / "post.lua"), f"http://127.0.0.1:{port}/predict", "--", str(forms)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"wrk did not end: {command}") from None
    result = re.search(r"RESULT (\{.*\})", done.stdout)
    if result is None:
        raise RuntimeError(f"wrk ended with {done.returncode}: {done.stdout[-300:]} {done.stderr[-300:]}")
    counts = json.loads(result[1])
    failed = sum(counts.pop(key) for key in ("not_2xx", "connect", "read", "write", "timeout"))
    return {"per_s": round((counts["requests"] - failed) / counts.pop("seconds"), 1), **counts, "failed": failed}


def memory_mb(pid: int) -> float:
    """Proportional set size of a process and its descendants.

    Shared pages are counted once.
    """
    total, waiting = 0, [pid]
    while waiting:
        member = waiting.pop()
        with contextlib.suppress(OSError):  # a process that has just ended
            total += int(re.search(r"Pss:\s+(\d+)", Path(f"/proc/{member}/smaps_rollup").read_text())[1])
            for task in Path(f"/proc/{member}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return total * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """Processor time, user and system, of a process and its living descendants.

    It hardly depends on other programs.
    """
    total, waiting = 0, [pid]
    while waiting:
        member = waiting.pop()
        with contextlib.suppress(OSError):  # a process that has just ended
            total += sum(map(int, Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()[11:13]))
            for task in Path(f"/proc/{member}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return total / os.sysconf("SC_CLK_TCK")


def version_of_wrk() -> str:
    done = subprocess.run([shutil.which("wrk") or "wrk", "-v"], capture_output=True, text=True)
    return (done.stdout + done.stderr).splitlines()[0].split("[")[0].strip()
