"""`catseye WORDS` in a process of its own, forked from one that has torch loaded: a tenth of a second, not four.

For tests that need a process (its signals, its end, its two streams, its folder), but not its start: the same `main`
runs, in a fresh address space, with the imports done. Where the start itself is tested, use `sys.executable`.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

# One server for each process that runs tests. It starts at the first fork and ends with its parent.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "catseye.cli", "catseye.training.train", "catseye.evaluation.evaluate", "catseye.exporting.export",
        "sklearn.metrics", "matplotlib.figure", "matplotlib.backends.backend_agg", "torch._dynamo", "torch._inductor",
        "torch.onnx", "tests.forked", "tests.faults.conftest",
    ]
)  # fmt: skip


class Forked:
    """A running command, or with the words `-c CODE` a Python program; what tests use of `subprocess.Popen`."""

    def __init__(
        self,
        *words: object,
        cwd: Path,
        env: dict[str, str] | None = None,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        """Start it; `prepare`, a function of a module, is called in the child first."""
        self._folder = tempfile.TemporaryDirectory(prefix="catseye-forked-")
        self.stdout, self.stderr = (Path(self._folder.name) / name for name in ("stdout", "stderr"))
        given = (list(map(str, words)), str(cwd), dict(os.environ if env is None else env), prepare)
        self._process = FORKS.Process(target=_main, args=(str(self.stdout), str(self.stderr), *given))
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def said(self) -> str:
        """What it has written to stderr by now."""
        return self.stderr.read_text() if self.stderr.exists() else ""

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for its end; what it wrote to both streams."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.end()
            raise subprocess.TimeoutExpired(["catseye"], timeout, stderr=self.said())
        return self.stdout.read_text(), self.stderr.read_text()

    def end(self) -> None:
        """End it and take its files away."""
        self.send_signal(signal.SIGKILL)
        self._process.join()

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._folder.cleanup()


def run(
    *words: object,
    cwd: Path,
    env: dict[str, str] | None = None,
    prepare: Callable[[], object] | None = None,
    timeout_s: float = 240,
) -> subprocess.CompletedProcess:
    """As `subprocess.run([sys.executable, "-m", "catseye", *words], capture_output=True, text=True)`."""
    with Forked(*words, cwd=cwd, env=env, prepare=prepare) as process:
        told, said = process.communicate(timeout_s)
        return subprocess.CompletedProcess(["catseye", *map(str, words)], process.returncode, told, said)


def _main(
    stdout: str, stderr: str, words: list[str], cwd: str, env: dict[str, str], prepare: Callable[[], object] | None
) -> None:
    for number, path in ((1, stdout), (2, stderr)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    # As an interpreter opens its streams where they are no terminal.
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, errors="backslashreplace", buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    if prepare is not None:
        prepare()
    if words[0] == "-c":
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
        return
    from catseye.cli import main

    sys.argv = ["catseye", *words]
    main()
