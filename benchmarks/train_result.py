"""Run one `catseye train` command for several seeds and commit the results.

    python benchmarks/train_result.py NAME --seeds 0 1 2 -- DATA [options of catseye train]

Writes benchmarks/results/NAME.json: the command, commit, hardware, versions, seeds, and accuracy and wall time of
each run with mean and sample standard deviation. Wall time is the whole process, from start to exit.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from catseye.environment import environment
from catseye.runs import open_run, write_json

ROOT = Path(__file__).parents[1]


def main() -> None:
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--say", default=None, help="command to write down instead, if DATA is a private path")
    options = parser.parse_args(sys.argv[1:split])
    words = sys.argv[split + 1 :]
    runs = [one_run(words, seed) for seed in options.seeds]
    result = {
        "command": f"catseye train {options.say or ' '.join(words)} --seed SEED",
        "n": len(runs),
        "seeds": options.seeds,
        "accuracy": spread([run["accuracy"] for run in runs]),
        "wall_s": spread([run["wall_s"] for run in runs]),
        "runs": runs,
        "commit": commit(),
        "environment": environment(),
    }
    write_json(ROOT / "benchmarks" / "results" / f"{options.name}.json", result)
    print(json.dumps({key: result[key] for key in ("command", "n", "accuracy", "wall_s")}, indent=2))


def one_run(words: list[str], seed: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "catseye", "train", *words, "--seed", str(seed), "--out", str(out), "--json"]
        begun = time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        wall_s = time.perf_counter() - begun
        metrics = json.loads(done.stdout)
        return {
            "seed": seed,
            "accuracy": metrics["accuracy"],
            "accuracy_95_interval": metrics["accuracy_95_interval"],
            "macro_f1": metrics["macro"]["f1"],
            "num_images": metrics["num_images"],
            "split": metrics["split"],
            "wall_s": round(wall_s, 1),
            "training_s": round(sum(row["seconds"] for row in open_run(out).history), 1),
        }


def spread(values: list[float]) -> dict[str, float]:
    sd = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "sd": sd, "min": min(values), "max": max(values)}


def commit() -> str:
    """The measured commit, and whether the package differs from it."""
    return git("rev-parse", "HEAD") + (" with changes" if git("status", "--porcelain", "--", "src") else "")


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
