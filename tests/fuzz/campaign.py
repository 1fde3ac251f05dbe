"""Fuzz all targets, or some: `python -m tests.fuzz.campaign [TARGET …] [--seconds 600] [--jobs 1] [--out FILE.json]`.

A finding ends its target's process; the input is run again alone, in a fresh process, before it is believed (a busy
machine makes everything slow), then kept under `regressions/TARGET/`, and the target goes on with what time is left.
The exit code is 1 where something was found. With `--out`, executions, seconds and findings are written down, target by
target; a later call replaces the rows of its own targets. Needs `pip install 'catseye[fuzz]'`.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from tests.fuzz.targets import MOST_MB, MOST_S, REGRESSIONS, TARGETS, committed

ROOT = Path(__file__).parents[2]
FEW = 10  # findings of one target, then it ends: it would only tell the same again
HUNG_S = int(4 * MOST_S)  # by the clock; what counts is processor time, see `one_target.checked`


@dataclass
class Found:
    """What came of one target."""

    target: str
    executions: int = 0
    seconds: float = 0.0
    peak_mb: int = 0
    coverage: int = 0
    corpus: int = 0
    findings: list[str] = field(default_factory=list)
    unconfirmed: int = 0


def one(name: str, seconds: float, corpus: Path, seed: int) -> Found:
    """Fuzz one target for so long."""
    found = Found(name)
    corpus.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    fast = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=fast if fast.is_dir() else None) as folder:
        place = Path(folder)
        for path in committed(name):
            (place / "seeds").mkdir(exist_ok=True)
            (place / "seeds" / path.name).write_bytes(path.read_bytes())
        while (left := end - time.monotonic()) > 2 and len(found.findings) + found.unconfirmed < FEW:
            begun = time.monotonic()
            said, artefacts = _once(name, int(left), corpus, place, seed + len(found.findings) + found.unconfirmed)
            found.seconds += time.monotonic() - begun
            _read(said, found)
            if not artefacts:
                if "Done" in said or "DONE" in said:
                    break
                if not found.executions:
                    raise RuntimeError(f"{name}: atheris did not run: {said[-2000:]}")
                found.unconfirmed += 1  # it was ended from outside; what it had met is not known
                print(f"{name}: ended before its time: {said[-300:]!r}", flush=True)
            for path in artefacts:
                _judge(name, path, said, found)
    found.seconds = round(found.seconds, 1)
    found.corpus = sum(1 for _ in corpus.iterdir())
    return found


def _once(name: str, seconds: int, corpus: Path, place: Path, seed: int) -> tuple[str, list[Path]]:
    target = TARGETS[name]
    dictionary = place / "words.txt"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words)
    dictionary.write_text("".join(f'"{word}"\n' for word in escaped))
    out = place / "found"
    out.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.one_target", name, str(corpus)]
    command += [str(place / "seeds")] * (place / "seeds").is_dir()
    command += [f"-max_total_time={max(1, seconds)}", f"-max_len={target.max_bytes}", f"-timeout={HUNG_S}"]
    command += [f"-rss_limit_mb={MOST_MB}", f"-malloc_limit_mb={MOST_MB}", f"-artifact_prefix={out}/", f"-seed={seed}"]
    command += ["-print_final_stats=1", "-len_control=20", "-reload=0", "-detect_leaks=0"]
    if target.words:
        command.append(f"-dict={dictionary}")
    (place / "tmp").mkdir(exist_ok=True)
    log = place / "log.txt"
    with log.open("wb") as stream, contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command,
            cwd=ROOT,
            env=_environment(place / "tmp"),
            stdout=stream,
            stderr=stream,
            timeout=seconds + 120,
            check=False,
        )
    artefacts = [path for path in sorted(out.iterdir()) if not path.name.startswith("slow-unit")]
    kept = [path.rename(place / f"{len(list(place.iterdir()))}-{path.name}") for path in artefacts]
    return log.read_text(errors="replace"), kept


def _environment(folder: Path) -> dict[str, str]:
    """One thread, our own code, and a folder that goes when the campaign does."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}


def _read(said: str, found: Found) -> None:
    runs = [int(text) for text in re.findall(r"^#(\d+)", said, re.MULTILINE)]
    runs += [int(text) for text in re.findall(r"number_of_executed_units: (\d+)", said)]
    found.executions += max(runs, default=0)
    peaks = [int(first or second) for first, second in re.findall(r"peak_rss_mb: (\d+)|rss: (\d+)Mb", said)]
    found.peak_mb = max([found.peak_mb, *peaks])
    found.coverage = max([found.coverage, *map(int, re.findall(r"\bcov: (\d+)", said))])


def _judge(name: str, path: Path, said: str, found: Found) -> None:
    """Believe a finding if it falls again, alone."""
    command = [sys.executable, "-m", "tests.fuzz.one_target", "--replay", name, str(path)]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=_environment(path.parent),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10 * HUNG_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        why = "it hangs"
    else:
        why = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
    content = path.read_bytes()
    if not why:
        found.unconfirmed += 1
        told = [line for line in said.splitlines() if "ERROR" in line or "Error" in line][-3:]
        print(f"{name}: not confirmed alone: {path.name} {told}", flush=True)
        return
    kept = REGRESSIONS / name / hashlib.sha256(content).hexdigest()[:12]
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(content)
    found.findings.append(f"{kept.relative_to(ROOT)}: {why[:300]}")
    print(f"{name}: {found.findings[-1]}", flush=True)


def write_down(path: Path, asked: argparse.Namespace, row: Found) -> None:
    """The row takes the place of an older one of its target; what else stands in the file stays."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from train_result import commit

    from catseye.environment import environment

    before = json.loads(path.read_text())["targets"] if path.exists() else {}
    facts = {key: value for key, value in asdict(row).items() if key != "target"}
    rows = {**before, row.target: {**facts, "seed": asked.seed, "commit": commit()}}
    content = {
        "command": "python -m tests.fuzz.campaign [TARGET …] --seconds N --out FILE",
        "n": 1,
        "seeds": sorted({each["seed"] for each in rows.values()}),
        "limits": {"seconds_per_run": MOST_S, "megabytes": MOST_MB},
        "targets": {name: rows[name] for name in TARGETS if name in rows},
        "executions": sum(each["executions"] for each in rows.values()),
        "seconds": round(sum(each["seconds"] for each in rows.values()), 1),
        "commit": commit(),
        "environment": environment() | {"atheris": version("atheris")},
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=600, help="per target")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, default=ROOT / "build" / "fuzz", help="what was learnt, by target")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(TARGETS):
        parser.error(f"targets are {', '.join(TARGETS)}; got {', '.join(sorted(unknown))}")
    writing = threading.Lock()

    def work(name: str) -> Found:
        row = _told(one(name, asked.seconds, asked.corpus / name, asked.seed))
        if asked.out is not None:
            with writing:
                write_down(asked.out, asked, row)
        return row

    with ThreadPoolExecutor(asked.jobs) as pool:
        rows = list(pool.map(work, asked.targets or list(TARGETS)))
    return int(any(row.findings for row in rows))


def _told(found: Found) -> Found:
    print(
        f"{found.target}: {found.executions:,} executions in {found.seconds:.0f} s, at most {found.peak_mb} MB, "
        f"{found.coverage} places reached, {len(found.findings)} findings, {found.unconfirmed} not confirmed",
        flush=True,
    )
    return found


if __name__ == "__main__":
    sys.exit(main())
