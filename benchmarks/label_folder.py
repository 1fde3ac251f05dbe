"""How many decisions does `catseye label` need? Simulated on ants and bees.

    python benchmarks/label_folder.py --ants-bees FOLDER [--annotators 5] [--pool 200] [--decisions 40] [--cache FOLDER]

Each annotator labels a pool of images drawn from its seed, in the order of the page's engine; after every decision the
head classifies the images outside the pool (`held_out`), and those of the pool without a label (`proposals`). `random`
is the same head, with images in random order. FOLDER has train/CLASS and val/CLASS. Writes
benchmarks/results/label-folder.json.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from label_errors import features_of
from numpy.typing import NDArray
from train_result import commit

from catseye.data.sources import open_source
from catseye.embedding.teaching import Teaching
from catseye.environment import environment
from catseye.runs import write_json

ROOT = Path(__file__).parents[1]
Table = dict[str, Any]


def annotate(
    features: NDArray[np.float32], truth: NDArray[np.int64], options: argparse.Namespace, seed: int, at_random: bool
) -> Table:
    order = np.random.default_rng(seed).permutation(len(truth))
    pool, held = order[: options.pool], order[options.pool :]
    teaching = Teaching(features[pool], int(truth.max()) + 1, seed=seed)
    drawn = iter(np.random.default_rng([seed, 1]).permutation(options.pool).tolist())
    curve, times = [], []
    for num in range(1, options.decisions + 1):
        row = next(drawn) if at_random else teaching.next()
        assert row is not None
        begun, spent = time.perf_counter(), time.process_time()
        teaching.decide({row: int(truth[pool][row])})
        times.append((time.perf_counter() - begun, time.process_time() - spent))
        if teaching.head is None:
            continue
        rest = np.setdiff1d(np.arange(options.pool), list(teaching.decided))
        curve.append(
            {
                "decisions": num,
                "held_out": float((teaching.head.logits(features[held]).argmax(1) == truth[held]).mean()),
                "proposals": float((teaching.probabilities()[rest].argmax(1) == truth[pool][rest]).mean()),
                "estimate": teaching.estimate(),
            }
        )
    longest_s, longest_cpu_s = (max(each) for each in zip(*times, strict=True))
    return {"seed": seed, "curve": curve, "longest_retraining_s": longest_s, "longest_retraining_cpu_s": longest_cpu_s}


def summarise(rows: list[Table]) -> Table:
    last = [row["curve"][-1] for row in rows]
    return {
        "median_held_out": float(np.median([point["held_out"] for point in last])),
        "median_proposals": float(np.median([point["proposals"] for point in last])),
        "median_estimate_minus_proposals": float(np.median([point["estimate"] - point["proposals"] for point in last])),
        "longest_retraining_s": max(row["longest_retraining_s"] for row in rows),
        "longest_retraining_cpu_s": max(row["longest_retraining_cpu_s"] for row in rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ants-bees", type=Path, required=True)
    parser.add_argument("--annotators", type=int, default=5)
    parser.add_argument("--pool", type=int, default=200)
    parser.add_argument("--decisions", type=int, default=40)
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    begun = time.perf_counter()
    features, truth = features_of("ants-bees", open_source(options.ants_bees), options.cache)
    seeds = list(range(options.annotators))
    by_teaching = [annotate(features, truth, options, seed, at_random=False) for seed in seeds]
    at_random = [annotate(features, truth, options, seed, at_random=True) for seed in seeds]
    words = ["FOLDER" if Path(word).is_dir() else word for word in sys.argv[1:]]
    result = {
        "command": " ".join(["python", "benchmarks/label_folder.py", *words]),
        "n": len(seeds),
        "seeds": seeds,
        "pool": options.pool,
        "decisions": options.decisions,
        "summary": {"asked": summarise(by_teaching), "random": summarise(at_random)},
        "asked": by_teaching,
        "random": at_random,
        "wall_s": time.perf_counter() - begun,
        "features_from_cache": options.cache is not None,
        "load_average_at_the_end": os.getloadavg()[0],
        "commit": commit(),
        "environment": environment(),
    }
    print(result["summary"], file=sys.stderr)
    write_json(ROOT / "benchmarks" / "results" / "label-folder.json", result)


if __name__ == "__main__":
    main()
