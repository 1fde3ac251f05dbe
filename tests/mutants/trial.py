"""The tests of one mutation, run against a copy of the source with it.

Enters: a `Mutation`. Leaves: a `Verdict`. The working tree is never touched: the copy is in a temporary folder that
comes first on PYTHONPATH, which the processes that tests start inherit. Called by the runner.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutation import PACKAGE, ROOT, Mutation

TEST_S = 150  # without a mutation no named test takes a third of it, even on a busy machine
TRIAL_S = 600
# Errors of a program that cannot run at all, instead of one without its defence.
_BROKEN = re.compile(r"^E .*\b(SyntaxError|NameError|ImportError|ModuleNotFoundError|IndentationError)\b", re.M)
# The runner's own limit; a test's own limit is that test's way to notice an endless wait.
_HUNG = re.compile(rf"^E +Failed: Timeout \(>{TEST_S:.1f}s\)", re.M)


_running: set[int] = set()  # process groups


@dataclass(frozen=True)
class Verdict:
    """The result of a mutation: `why` it does not count as caught; pytest's output."""

    mutation: Mutation
    caught: bool
    why: str
    seconds: float
    text: str = ""


@dataclass(frozen=True)
class Outcome:
    """The result of a call of pytest."""

    code: int
    failed: frozenset[str]
    errors: frozenset[str]
    text: str


def run_tests(tests: Sequence[str], source: Path, *words: str, limit_s: float = TRIAL_S) -> Outcome:
    """Run tests of this checkout against the package in `source`.

    The code is -1 if they did not end in time.
    """
    with tempfile.TemporaryDirectory(prefix="catseye-trial-") as folder:
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-rfE", "-m", "", "-p", "no:cacheprovider"]
        command += ["--tb=short", f"--timeout={TEST_S}", f"--basetemp={folder}/tests", *words]
        process = subprocess.Popen(
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(source), "TMPDIR": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, to end processes that the tests leave behind
        )
        _running.add(process.pid)
        try:
            text = process.communicate(timeout=limit_s)[0].decode(errors="replace")
            code = process.returncode
        except subprocess.TimeoutExpired:
            text, code = "", -1
        finally:
            _end_group(process.pid)
            process.wait()
            process.stdout.close()
    return Outcome(code, _named(text, "FAILED"), _named(text, "ERROR"), text)


def end_all() -> None:
    """End every running call of pytest, and the processes of its tests."""
    for group in list(_running):
        _end_group(group)


def _end_group(group: int) -> None:
    _running.discard(group)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def try_mutation(mutation: Mutation) -> Verdict:
    """Remove the defence and see whether every named test fails, and for that reason."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="catseye-mutant-") as folder:
        copy = Path(folder) / "src"
        shutil.copytree(PACKAGE, copy / "catseye")
        (copy / "catseye" / mutation.file).write_text(mutation.mutated(), encoding="utf-8")
        outcome = run_tests(mutation.tests, copy)
    why = _why_not(mutation, outcome)
    return Verdict(mutation, not why, why, time.monotonic() - begun, outcome.text)


def _why_not(mutation: Mutation, outcome: Outcome) -> str:
    """Why the mutation does not count as caught; empty if it does."""
    if outcome.code == -1:
        return f"the tests did not end within {TRIAL_S} s"
    if outcome.code not in (0, 1):
        return f"pytest could not run the tests (exit code {outcome.code}); they have to fail by themselves"
    missed = [test for test in mutation.tests if not _holds(outcome.failed, test)]
    if missed:
        return f"survived {', '.join(missed)}"
    if broken := _BROKEN.search(outcome.text):
        return f"the mutation breaks the program: {broken[0][1:].strip()[:150]}"
    if "it did not start (" in outcome.text:
        return "the mutation breaks the program: the server did not start"
    if _HUNG.search(outcome.text):
        return f"a test hung for {TEST_S} s instead of noticing"
    return ""


def _holds(failed: frozenset[str], test: str) -> bool:
    """Whether the test, or one of its cases, is among those that failed."""
    return any(name == test or name.startswith(f"{test}[") for name in failed)


def _named(text: str, word: str) -> frozenset[str]:
    """The tests that pytest's summary lists after a word."""
    return frozenset(re.findall(rf"^{word} tests/(\S+?::\w+(?:\[.*?\])?)(?: - .*)?$", text, re.M))
