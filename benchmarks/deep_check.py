"""Count planted outliers and copies that `catseye check --deep` finds.

The seeds are not those on which its limits were chosen.

    python benchmarks/deep_check.py [--seeds 2 3] [--ants-bees FOLDER]

Each set gets images of another kind (1.5%) and changed copies of its own (6%: cropped, mirrored, turned, brighter; see
deep_check_sets.py); the complete check runs on it. `copies_found` includes those that are found without `--deep`,
`by_features` only those that it adds; a false alarm is an image or a pair that was not planted. Writes
benchmarks/results/deep-check.json.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from deep_check_sets import CHANGES, Planted, plant
from train_result import commit

import catseye
from catseye.environment import environment
from catseye.runs import write_json

ROOT = Path(__file__).parents[1]
Table = dict[str, Any]


def measure(folder: Path, planted: Planted) -> Table:
    begun, spent = time.perf_counter(), time.process_time()
    verdict = catseye.check(folder, deep=True)
    wall_s, processor_s = time.perf_counter() - begun, time.process_time() - spent
    names, pairs, alike, unlike = verdict.names, set(), set(), set()
    for finding in verdict.findings:
        for example in finding.examples:
            images = tuple(sorted(names[index] for index in example.images))
            if finding.rule == "unlike-class":
                unlike.add(images[0])
            elif len(images) == 2:
                (alike if finding.rule.startswith("alike") else pairs).add(images)
    wanted = {tuple(sorted(pair)): how for pair, how in planted.pairs.items()}
    false_pairs = [pair for pair in alike - wanted.keys() if not set(pair) <= planted.outliers]
    return {
        "num_images": len(names),
        "outliers": len(planted.outliers),
        "outliers_found": len(unlike & planted.outliers),
        "outliers_false": len(unlike - planted.outliers),
        "copies": len(wanted),
        "copies_found": len((alike | pairs) & wanted.keys()),
        "by_features": len(alike & wanted.keys()),
        "by_features_of_each_change": {
            how: sum(wanted[pair] == how for pair in alike & wanted.keys()) for how in CHANGES
        },
        "copies_false": len(false_pairs),
        "false": sorted([*unlike - planted.outliers, *map(" ~ ".join, false_pairs)])[:10],
        "wall_s": wall_s,
        "processor_s": processor_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[2, 3])
    parser.add_argument("--ants-bees", type=Path)
    options = parser.parse_args()
    results: Table = {}
    for name in ("photos", "drawings", "textures", *(["real"] if options.ants_bees else [])):
        rounds = []
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as place:
                planted = plant(name, Path(place) / "set", seed, options.ants_bees if name == "real" else None)
                rounds.append({"seed": seed, **measure(Path(place) / "set", planted)})
            print(name, rounds[-1], file=sys.stderr, flush=True)
        counts = (
            "outliers",
            "outliers_found",
            "outliers_false",
            "copies",
            "copies_found",
            "by_features",
            "copies_false",
        )
        results[name] = {
            "summary": {key: sum(row[key] for row in rounds) for key in counts}
            | {"processor_s": float(np.mean([row["processor_s"] for row in rounds]))},
            "rounds": rounds,
        }
    words = ["FOLDER" if Path(word).is_dir() else word for word in sys.argv[1:]]
    result = {
        "command": " ".join(["python", "benchmarks/deep_check.py", *words]),
        "n": len(options.seeds),
        "seeds": options.seeds,
        "sets": results,
        "load_average_at_the_end": os.getloadavg()[0],
        "commit": commit(),
        "environment": environment(),
    }
    write_json(ROOT / "benchmarks" / "results" / "deep-check.json", result)


if __name__ == "__main__":
    main()
