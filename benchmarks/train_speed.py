"""Training speed: the textbook loop, the recipe classic, and every switch alone.

    python benchmarks/train_speed.py FOLDER [--rounds 3] [--seconds 20] [--variants article classic+bf16 ...]

FOLDER is CIFAR-10 as train/ and test/ with one folder per class. Each variant (named as in train_variants.py) runs in
a fresh process; the rounds are interleaved, each beginning one variant further. Prints a table and writes
benchmarks/results/train-speed.json. README.md in this folder explains the floors. Run it on an idle machine.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from baselines import article_loop
from floors import flops_per_image
from rich.console import Console
from rich.table import Table
from train_result import commit
from train_variants import ENVIRONMENT, parse

from catseye.environment import environment
from catseye.runs import write_json

HERE = Path(__file__).parent
BASELINE = "article"
VARIANTS = (
    *("article", "classic"),
    *(f"article+{switch}" for switch in ("memory", "channels_last", "bf16", "compile", "fused", "1-thread", "malloc")),
    *(
        f"classic+{switch}"
        for switch in (
            *("contiguous", "bf16", "bf16-math", "compile", "fused", "1-thread", "2-threads", "passive", "active"),
            *("batch-256", "batch-512", "24px", "malloc", "malloc-env", "hugepages"),
        )
    ),
    *("classic+bf16+malloc", "classic+bf16+malloc+compile"),
)
CLEANED = ("OMP_", "KMP_", "GOMP_", "MKL_", "MALLOC_", "GLIBC_TUNABLES", "THP_MEM_ALLOC_ENABLE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="measured per variant and round, warm-up excluded")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    parser.add_argument("--per-class", type=int, default=1000, help="training images, so that processes start fast")
    parser.add_argument("--name", default="train-speed", help="of the file under benchmarks/results")
    options = parser.parse_args()
    variants = list(dict.fromkeys([BASELINE, *options.variants]))
    for variant in variants:
        parse(variant)
    with tempfile.TemporaryDirectory() as temporary:
        folder = link_some(options.folder, Path(temporary), options.per_class)
        floors, runs = run_rounds(variants, folder, options.rounds, options.seconds)
    rows = [summarise(variant, runs, best_floor(floors)) for variant in variants]
    result = {
        "command": shown_command("train_speed.py", options.folder),
        "n": options.rounds,
        "seeds": [0],
        "baseline": BASELINE,
        "floor": best_floor(floors),
        "variants": rows,
        "rounds": runs,
        "floors": floors,
        "commit": commit(),
        "environment": environment(),
    }
    write_json(HERE / "results" / f"{options.name}.json", result)
    Console().print(table(rows))


def shown_command(script: str, folder: Path) -> str:
    """The command line, with the private path of the images left out."""
    words = ["cifar10/" if word == str(folder) else word for word in sys.argv[1:]]
    return " ".join(["python", f"benchmarks/{script}", *words])


def link_some(source: Path, target: Path, per_class: int) -> Path:
    """Links to the same images of every class, drawn once.

    Every process has to decode them again.
    """
    for side, number in (("train", per_class), ("test", 10)):
        for folder in sorted(path for path in (source / side).iterdir() if path.is_dir()):
            files = sorted(folder.iterdir())
            (target / side / folder.name).mkdir(parents=True)
            for file in random.Random(0).sample(files, min(number, len(files))):
                (target / side / folder.name / file.name).symlink_to(file.resolve())
    return target


def run_rounds(
    variants: list[str], folder: Path, rounds: int, seconds: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    floors, runs = [], []
    for number in range(rounds):
        floors.append(run(["floors.py"], {}))
        first = number % len(variants)
        for variant in variants[first:] + variants[:first]:
            _, switches = parse(variant)
            changed = {key: value for switch in switches for key, value in ENVIRONMENT.get(switch, {}).items()}
            row = run(["train_variants.py", variant, str(folder), "--seconds", str(seconds)], changed)
            runs.append({"round": number, **row})
            print(f"round {number + 1}/{rounds}  {variant:32} {row['images_per_s']:8.1f} img/s", file=sys.stderr)
    return floors, runs


def run(words: list[str], changed: dict[str, str]) -> dict[str, Any]:
    """Run a fresh process, whose last line is JSON.

    It gets no settings of threads or allocator but those in `changed`.
    """
    clean = {key: value for key, value in os.environ.items() if not key.startswith(CLEANED)}
    command = [sys.executable, str(HERE / words[0]), *words[1:]]
    done = subprocess.run(command, env=clean | changed, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def best_floor(floors: list[dict[str, Any]]) -> dict[str, float]:
    """The best rates of all rounds, because a floor must not depend on other programs."""
    return {
        "fp32_flops_per_s": max(rate for floor in floors for rate in floor["fp32"].values()),
        "bf16_flops_per_s": max(rate for floor in floors for rate in floor["bf16"].values()),
        "bytes_per_s": max(floor["bandwidth"] for floor in floors),
    }


def summarise(variant: str, runs: list[dict[str, Any]], floor: dict[str, float]) -> dict[str, Any]:
    """Median and spread over the rounds.

    A ratio compares processes of the same round.
    """
    mine = [run for run in runs if run["variant"] == variant]
    speeds = [run["images_per_s"] for run in mine]
    base = {run["round"]: run["images_per_s"] for run in runs if run["variant"] == BASELINE}
    ratios = [run["images_per_s"] / base[run["round"]] for run in mine]
    side = 24 if "24px" in variant else 32
    flops = flops_per_image(article_loop.make_model(), 3, side)
    speed = statistics.median(speeds)
    rate = floor["bf16_flops_per_s" if "bf16" in variant else "fp32_flops_per_s"]
    return {
        "variant": variant,
        "images_per_s": {"median": speed, "min": min(speeds), "max": max(speeds)},
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "flops_per_image": flops,
        "arithmetic_floor_share": speed * flops / rate,
        "bytes_per_image": 3 * side**2,
        "bytes_floor_share": speed * 3 * side**2 / floor["bytes_per_s"],
        "threads": mine[0]["threads"],
        "page_faults_per_step": statistics.median(run["page_faults_per_step"] for run in mine),
        "peak_memory_mb": max(run["peak_memory_mb"] for run in mine),
    }


def table(rows: list[dict[str, Any]]) -> Table:
    shown = Table("variant", *("img/s", "min - max", "ratio", "min - max", "of arithmetic", "of bytes", "faults/step"))
    for row in rows:
        speed, ratio = row["images_per_s"], row["ratio"]
        shown.add_row(
            row["variant"],
            f"{speed['median']:,.1f}",
            f"{speed['min']:,.1f} - {speed['max']:,.1f}",
            f"{ratio['median']:.2f}",
            f"{ratio['min']:.2f} - {ratio['max']:.2f}",
            f"{row['arithmetic_floor_share']:.1%}",
            f"{row['bytes_floor_share']:.4%}",
            f"{row['page_faults_per_step']:,.0f}",
        )
    return shown


if __name__ == "__main__":
    main()
