"""Load on three servers in turn: the tutorials' FastAPI + TorchScript, LitServe + ONNX Runtime, `catseye serve`.

    python benchmarks/serve_load.py RUN PICTURES FILE.onnx [INT8.onnx …] [--seconds 10] [--rounds 2] [--name serve-load]

RUN is the run that the files were exported from, PICTURES a folder of class folders; 200 pictures of it are sent as
JPEG forms to /predict by wrk (Debian's package) on the same machine, at 32, 128 and 256 connections. Each server is
started, its time to the first answer taken, loaded, and stopped before the next one starts. Needs
`pip install 'catseye[train,serve,serve-bench]'` and wrk. Writes benchmarks/results/NAME.json.
"""

import argparse
import contextlib
import importlib.metadata
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
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement
from PIL import Image
from train_result import commit

ROOT = Path(__file__).parents[1]
CONNECTIONS = (32, 128, 256)
NUM_PICTURES = 200
SERVERS = Path(__file__).parent / "baselines"
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--name", default="serve-load")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(asked, Path(folder))
    (ROOT / "benchmarks" / "results" / f"{asked.name}.json").write_text(json.dumps(result, indent=1) + "\n")
    report(result)


def measure(asked: argparse.Namespace, folder: Path) -> dict:
    forms = write_forms(asked.pictures, folder)
    servers = {"article": article_command(asked.run, folder)}
    servers["litserve"] = [SERVERS / "litserve_server.py", asked.files[0], "PORT", os.cpu_count(), 1]
    for file in asked.files:
        servers[f"catseye {file.stem}"] = ["-m", "catseye", "serve", file, "--port", "PORT", "--quiet"]
    rows: dict[str, list[dict]] = {name: [] for name in servers}
    for _ in range(asked.rounds):
        for name, words in servers.items():
            try:
                rows[name].append(one_server(words, forms, folder, asked.seconds))
            except RuntimeError as error:
                print(name, error, flush=True)
                continue
            print(name, json.dumps(rows[name][-1]), flush=True)
    from catseye.runs import environment

    return {
        "command": f"python benchmarks/serve_load.py RUN PICTURES {' '.join(file.name for file in asked.files)} "
        f"--seconds {asked.seconds} --rounds {asked.rounds}",
        "n": asked.rounds,
        "seeds": [],
        "pictures": f"{NUM_PICTURES} JPEG forms, {forms_bytes(folder):,} bytes on average",
        "servers": {name: summary(found) for name, found in rows.items() if found},
        "in_process_limit": {file.stem: in_process(file, asked.pictures) for file in asked.files},
        "installed_mb": {
            "article": installed_mb(["fastapi", "uvicorn", "torch", "torchvision", "python-multipart", "pillow"]),
            "catseye": installed_mb(["catseye[serve]"]),
        },
        "commit": commit(),
        "environment": environment() | {"wrk": version_of_wrk(), "litserve": importlib.metadata.version("litserve")},
    }


def pictures_in(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    return found[:: max(1, len(found) // NUM_PICTURES)][:NUM_PICTURES]


def write_forms(pictures: Path, folder: Path) -> Path:
    names = []
    for index, path in enumerate(pictures_in(pictures)):
        content = path.read_bytes()
        if path.suffix.lower() == ".png":
            stream = io.BytesIO()
            Image.open(path).convert("RGB").save(stream, "JPEG", quality=95)
            content = stream.getvalue()
        head = b'--catseyebench\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
        form = folder / f"{index}.form"
        form.write_bytes(head + b"Content-Type: image/jpeg\r\n\r\n" + content + b"\r\n--catseyebench--\r\n")
        names.append(str(form))
    (folder / "forms.txt").write_text("\n".join(names) + "\n")
    (folder / "post.lua").write_text(LUA)
    return folder / "forms.txt"


def forms_bytes(folder: Path) -> int:
    return round(statistics.mean(path.stat().st_size for path in folder.glob("*.form")))


def article_command(run: Path, folder: Path) -> list:
    import torch

    from catseye.runs import load_model

    model, manifest = load_model(run, torch.device("cpu"))
    spec = manifest.preprocessing
    example = torch.zeros(1, spec.channels, spec.height_px, spec.width_px)
    torch.jit.trace(model.eval(), example).save(str(folder / "model.torchscript"))
    classes = json.dumps(manifest.classes)
    return [SERVERS / "article_server.py", folder / "model.torchscript", classes, spec.height_px, "PORT"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def one_server(words: list, forms: Path, folder: Path, seconds: int) -> dict:
    port = free_port()
    command = [sys.executable, *[str(port) if word == "PORT" else str(word) for word in words]]
    # As their users start them: no thread limit from outside.
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    first = next(iter(forms.read_text().splitlines()))
    started = time.perf_counter()
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        ask_until_answered(port, Path(first).read_bytes(), process, folder / "server.log")
        found: dict = {"first_answer_s": round(time.perf_counter() - started, 3)}
        wrk(port, 32, 2, folder)
        for connections in CONNECTIONS:
            found[str(connections)] = wrk(port, connections, seconds, folder)
        found["memory_mb"] = round(memory_mb(process.pid), 1)
        return found
    finally:
        stop(process)


def stop(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def ask_until_answered(port: int, body: bytes, process: subprocess.Popen, log: Path) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "multipart/form-data; boundary=catseyebench"}
    )
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert "all_probabilities" in json.load(answer)
                return
        except OSError:
            time.sleep(0.01)
    raise RuntimeError(f"no answer from {process.args}: {log.read_text()[-1500:]}")


def wrk(port: int, connections: int, seconds: int, folder: Path) -> dict:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(folder / "post.lua")]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/predict", "--", str(folder / "forms.txt")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = json.loads(re.search(r"RESULT (\{.*\})", done.stdout)[1])
    failed = sum(said.pop(key) for key in ("not_2xx", "connect", "read", "write", "timeout"))
    return {"per_s": round((said["requests"] - failed) / said.pop("seconds"), 1), **said, "failed": failed}


def memory_mb(pid: int) -> float:
    """Proportional set size of a process and all below it: shared pages are counted once."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        total += int(re.search(r"Pss:\s+(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text())[1])
        for task in Path(f"/proc/{one}/task").iterdir():
            waiting += map(int, (task / "children").read_text().split())
    return total / 1000


def summary(rows: list[dict]) -> dict:
    found: dict = {key: statistics.median(row[key] for row in rows) for key in ("first_answer_s", "memory_mb")}
    for connections in map(str, CONNECTIONS):
        cells = [row[connections] for row in rows]
        found[connections] = {key: round(statistics.median(cell[key] for cell in cells), 2) for key in cells[0]}
    return found


def in_process(file: Path, pictures: Path, seconds: float = 4.0) -> float:
    """Pictures per second that the model alone computes, a one-thread call per core, without decoding and HTTP."""
    from catseye.preprocess import preprocess
    from catseye.serving import session, tuning

    model = session.load(file, "cpu")
    batch_size = tuning.choose(model).batch_size
    spec = model.manifest.preprocessing
    paths = pictures_in(pictures)[:batch_size]
    rows = np.stack([model.row_of(preprocess(paths[n % len(paths)], spec)) for n in range(batch_size)])
    counts = [0] * tuning.num_cores()
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        while time.perf_counter() < end:
            model.compute(rows, False)
            counts[number] += batch_size

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return round(sum(counts) / seconds, 1)


def installed_mb(names: list[str]) -> float:
    """What pip put onto the disk for these packages and everything they need, as installed here."""
    seen: set[tuple[str, str]] = set()
    sizes: dict[str, int] = {}
    waiting = [Requirement(name) for name in names]
    while waiting:
        requirement = waiting.pop()
        for extra in ["", *requirement.extras]:
            key = (re.sub(r"[-_.]+", "-", requirement.name).lower(), extra)
            if key in seen:
                continue
            seen.add(key)
            try:
                found = importlib.metadata.distribution(key[0])
            except importlib.metadata.PackageNotFoundError:
                continue
            files = [Path(found.locate_file(file)) for file in found.files or []]
            sizes[key[0]] = sum(path.stat().st_size for path in files if path.is_file())
            for text in found.requires or []:
                one = Requirement(text)
                if one.marker is None or one.marker.evaluate({"extra": extra}):
                    waiting.append(one)
    if "catseye" in sizes:  # installed in place here
        sizes["catseye"] = sum(path.stat().st_size for path in (ROOT / "src").rglob("*") if path.is_file())
    return round(sum(sizes.values()) / 1e6, 1)


def report(result: dict) -> None:
    servers = result["servers"]
    base = servers["article"]
    lit = servers.get("litserve", base)
    for name, found in servers.items():
        at = found["32"]
        print(
            f"{name:28s} {at['per_s']:8.1f} req/s  p99 {at['p99_ms']:8.1f} ms  failed {at['failed']:.0f}  "
            f"x article {at['per_s'] / base['32']['per_s']:5.2f}  x LitServe {at['per_s'] / lit['32']['per_s']:5.2f}  "
            f"p99/article {at['p99_ms'] / base['32']['p99_ms']:.3f}  256: {found['256']['per_s']:.1f} req/s, "
            f"failed {found['256']['failed']:.0f}  start {found['first_answer_s']:.2f} s  {found['memory_mb']:.0f} MB"
        )
    print("in-process limit:", result["in_process_limit"], " installed MB:", result["installed_mb"])


def version_of_wrk() -> str:
    done = subprocess.run([shutil.which("wrk") or "wrk", "-v"], capture_output=True, text=True)
    return (done.stdout + done.stderr).splitlines()[0].split("[")[0].strip()


if __name__ == "__main__":
    main()
