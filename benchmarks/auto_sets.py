"""Plain `catseye train FOLDER` on six kinds of images: accuracy, time, memory.

    python benchmarks/auto_sets.py [--sets NAME …] [--seeds 0 …] [--folder NAME=FOLDER] [--name RESULT] [-- OPTIONS]

The six sets are those of tests/stranger_sets.py; `--folder NAME=FOLDER` adds one of your own; OPTIONS go to
`catseye train`. Wall and processor time are those of the whole process. Writes benchmarks/results/NAME.json.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Thread
from typing import Any

from train_result import commit

from catseye.environment import environment
from catseye.runs import write_json

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.stranger_sets import SETS, write_set  # noqa: E402


def train(data: Path, seed: int, words: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [
            sys.executable,
            "-m",
            "catseye",
            "train",
            str(data),
            "--seed",
            str(seed),
            "--out",
            str(out),
            "--json",
        ]
        begun = time.perf_counter()
        process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        output, errors, usage = read_to_the_end(process)
        wall_s = time.perf_counter() - begun
        if process.returncode:
            raise SystemExit(errors)
        metrics = json.loads(output)
        decided = out / "auto.json"
        return {
            "seed": seed,
            "accuracy": metrics["accuracy"],
            "accuracy_95_interval": metrics["accuracy_95_interval"],
            "constant_guess": metrics["constant_guess_accuracy"],
            "macro_f1": metrics["macro"]["f1"],
            "num_images": metrics["num_images"],
            "split": metrics["split"],
            "wall_s": wall_s,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "peak_mb": usage.ru_maxrss / 1024,
            "auto": json.loads(decided.read_text()) if decided.exists() else None,
        }


def read_to_the_end(process: subprocess.Popen[str]) -> tuple[str, str, resource.struct_rusage]:
    """Both streams, and the resources of the process, which Popen.wait discards."""
    errors: list[str] = []
    reader = Thread(target=lambda: errors.append(process.stderr.read()))
    reader.start()
    output = process.stdout.read()
    reader.join()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return output, errors[0], usage


def main() -> None:
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--folder", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--name", default="auto-sets")
    options = parser.parse_args(sys.argv[1:split])
    words = sys.argv[split + 1 :]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        places = {name: write_set(name, Path(temporary) / name) for name in options.sets}
        places |= {name: Path(folder) for name, _, folder in (each.partition("=") for each in options.folder)}
        for name, place in places.items():
            runs = []
            for seed in options.seeds:
                run = train(place, seed, words)
                runs.append(run)
                shown = (
                    f"{run['accuracy']:.2%}  {run['cpu_s']:.0f} CPU s  {run['wall_s']:.0f} s  {run['peak_mb']:.0f} MB"
                )
                print(f"{name:12} seed {seed}  {shown}", file=sys.stderr, flush=True)
            medians = {key: statistics.median(run[key] for run in runs) for key in ("accuracy", "wall_s", "cpu_s")}
            rows.append({"set": name, "median": medians, "peak_mb": max(run["peak_mb"] for run in runs), "runs": runs})
            write_result(options, rows)  # after every set: they take minutes each


def write_result(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    words = [f"{word.partition('=')[0]}=FOLDER" if word.count("=") and "/" in word else word for word in sys.argv[1:]]
    result = {
        "command": " ".join(["python", "benchmarks/auto_sets.py", *words]),
        "n": len(options.seeds),
        "seeds": options.seeds,
        "threads": os.environ.get("OMP_NUM_THREADS", "as many as cores"),
        "load_average": os.getloadavg()[0],
        "sets": rows,
        "commit": commit(),
        "environment": environment(),
    }
    write_json(ROOT / "benchmarks" / "results" / f"{options.name}.json", result)


if __name__ == "__main__":
    main()
