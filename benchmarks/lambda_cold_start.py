"""How long the first answer takes on AWS Lambda.

It includes process start, imports, opening the model, and one image.

    python benchmarks/lambda_cold_start.py FOLDER IMAGE [--rounds 7]

FOLDER was written by `catseye deploy lambda` and built by its build.py. Amazon's own Runtime Interface Emulator (from
the wheel aws-sam-cli) starts the function with Amazon's own runtime client, as Lambda does: the first call starts the
process. Times are measured at the client, from before the first request to after its answer, in a new process each
round; then for ten more calls to the same process. The package as it is alternates with a copy without its compiled
modules. Files are in the page cache; Lambda's own work before (fetching the package, starting a microVM) is not
included. Needs pip's index, and the Python that the folder was built with: --python.
Writes benchmarks/results/lambda-cold-start.json.
"""

import argparse
import base64
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
EMULATOR = "samcli/local/rapid/aws-lambda-rie-x86_64"
SAM = "aws-sam-cli==1.170.0"
MEMORY_MB = 1769


def main() -> None:
    from train_result import commit, spread

    from catseye.environment import environment
    from catseye.runs import write_json

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--python", default=None, help="the one that built the folder")
    options = parser.parse_args()
    package = options.folder / "package"
    event = http_event(options.image.read_bytes())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tools = Tools(Path(folder), options.python or built_with(options.folder), options.folder)
        bare = Path(folder) / "bare"
        shutil.copytree(package, bare, ignore=shutil.ignore_patterns("__pycache__"))
        for number in range(options.rounds):
            for name, place in (("compiled", package), ("sources only", bare))[:: 1 if number % 2 == 0 else -1]:
                rows.append({"round": number, "package": name, **one_round(tools, place, event)})
                print(rows[-1], flush=True)
        python = subprocess.run([tools.python, "--version"], capture_output=True, text=True, check=True).stdout.split()[
            1
        ]
    result = {
        "command": f"python benchmarks/lambda_cold_start.py FOLDER IMAGE --rounds {options.rounds}",
        "measured": "seconds at the client from the first request to its answer, process start included, in the "
        "Runtime Interface Emulator; files in the page cache; warm_s: median of ten more calls",
        "n": options.rounds,
        "seeds": [],
        "memory_mb_told": MEMORY_MB,
        "python": python,
        "model_bytes": (package / "model.onnx").stat().st_size,
        "package_bytes": sum(path.stat().st_size for path in package.rglob("*") if path.is_file()),
        "zip_bytes": (options.folder / "package.zip").stat().st_size,
        **{
            name: {key: spread([row[key] for row in rows if row["package"] == name]) for key in ("first_s", "warm_s")}
            for name in ("compiled", "sources only")
        },
        "rounds": rows,
        "load_average": os.getloadavg(),
        "commit": commit(),
        "environment": environment(),
    }
    write_json(ROOT / "benchmarks" / "results" / "lambda-cold-start.json", result)
    print(json.dumps({name: result[name] for name in ("compiled", "sources only")}, indent=2))


def built_with(folder: Path) -> str:
    """The Python that build.py requires, by its name on the path."""
    line = next(line for line in (folder / "build.py").read_text().splitlines() if line.startswith("PYTHON = "))
    return "python" + line.split('"')[1]


def http_event(image: bytes, path: str = "/predict") -> dict:
    """The event of an HTTP API for `curl --data-binary @image`."""
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "image/jpeg"},
        "requestContext": {"http": {"method": "POST", "path": path}, "stage": "$default"},
        "body": base64.b64encode(image).decode(),
        "isBase64Encoded": True,
    }


class Tools:
    """Emulator and runtime client, fetched once from pip's index into `folder`."""

    def __init__(self, folder: Path, python: str, deployed: Path) -> None:
        self.python, self.client, self.emulator = python, folder / "client", folder / "emulator"
        pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check")
        if not self.emulator.exists():
            subprocess.run([*pip, "download", "--no-deps", "--dest", folder, SAM], check=True)
            with zipfile.ZipFile(next(folder.glob("aws_sam_cli-*.whl"))) as wheel:
                self.emulator.write_bytes(wheel.read(EMULATOR))
            self.emulator.chmod(0o755)
        if not self.client.exists():
            words = ("--require-hashes", "--no-deps", "--target", self.client, "-r")
            subprocess.run([*pip, "install", *words, deployed / "requirements-image.txt"], check=True)

    @contextlib.contextmanager
    def start(self, package: Path, **environment: str) -> Iterator["Emulated"]:
        """The emulator with this package; the function itself starts with its first call."""
        port, inner = free_port(), free_port()
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.client),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LAMBDA_TASK_ROOT": str(package),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
            "AWS_LAMBDA_FUNCTION_TIMEOUT": "28",
            **environment,
        }
        addresses = (
            f"--runtime-interface-emulator-address=127.0.0.1:{port}",
            f"--runtime-api-address=127.0.0.1:{inner}",
        )
        command = [self.emulator, *addresses, shutil.which(self.python), "-m", "awslambdaric", "handler.handler"]
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(command, cwd=package, env=environment, stdout=log, stderr=subprocess.STDOUT)
            try:
                wait_for(port, process)
                yield Emulated(port, process, log)
            finally:
                process.terminate()
                process.wait(20)


class Emulated:
    """A running emulator."""

    def __init__(self, port: int, process: subprocess.Popen, log) -> None:
        self.address = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
        self.process, self._log = process, log

    def invoke(self, event: object, timeout_s: float = 120) -> dict:
        """The function's answer, or the emulator's error."""
        request = urllib.request.Request(self.address, json.dumps(event).encode())
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            return {"emulator": error.code, "message": error.read().decode()}

    def log(self) -> str:
        """The output of function and emulator."""
        self._log.seek(0)
        return self._log.read().decode()


def one_round(tools: Tools, package: Path, event: dict) -> dict[str, float]:
    with tools.start(package) as running:
        begun = time.perf_counter()
        answer = running.invoke(event)
        first_s = time.perf_counter() - begun
        if answer.get("statusCode") != 200:
            sys.exit(f"no answer: {answer}; {running.log()[-2000:]}")
        warm = []
        for _ in range(10):
            begun = time.perf_counter()
            running.invoke(event)
            warm.append(time.perf_counter() - begun)
    return {"first_s": round(first_s, 4), "warm_s": round(statistics.median(warm), 4)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError("the emulator does not listen")


if __name__ == "__main__":
    main()
