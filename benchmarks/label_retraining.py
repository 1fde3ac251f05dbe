"""How long a person waits after a decision in `catseye label`.

The desk behind the page is timed, decision by decision.

    python benchmarks/label_retraining.py --ants-bees FOLDER [--pools 200 2000] [--seeds 0 1 2] [--cache FOLDER]

Features are those of ants and bees; if more images are needed, they are drawn with replacement and jittered by a tenth
of their spread, which does not affect the time. `wait_s` is a complete decision: row written and synced, head and
temperature retrained, the next image chosen; `retrained_s` is the training in it. The first 40 decisions are timed, and
ten more with half of the images labelled, when training takes longest. Writes benchmarks/results/label-retraining.json.
"""

import argparse
import os
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from label_errors import features_of
from numpy.typing import NDArray
from train_result import commit

from catseye.data.sources import NOT_SPLIT, ArrayReader, ImageSet, open_source
from catseye.data.sources.corrections import Correction
from catseye.embedding.features import Features
from catseye.embedding.neighbours import norms_of
from catseye.environment import environment
from catseye.review.label_desk import LabelDesk
from catseye.review.log import CorrectionLog
from catseye.runs import write_json

ROOT = Path(__file__).parents[1]
FIRST, LATE = 40, 10
CLASSES = ("ants", "bees")
Table = dict[str, Any]


def row_of(desk: LabelDesk, number: int, label: int) -> list[Correction]:
    """A decision as the desk would write it, if it has none yet."""
    if number in desk.teaching.decided:
        return []
    return [Correction(f"{number:05d}.png", desk.features.digests[number], 192, "", CLASSES[label], "relabel", "x", "")]


def time_decisions(
    features: NDArray[np.float32], truth: NDArray[np.int64], pool: int, seed: int, folder: Path
) -> Table:
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(truth))[:pool] if pool <= len(truth) else rng.integers(len(truth), size=pool)
    values = (features[rows] + 0.1 * features.std(0) * rng.standard_normal((pool, features.shape[1]))).astype(
        np.float32
    )
    names = [f"{number:05d}.png" for number in range(pool)]
    sides, none = np.full(pool, NOT_SPLIT, np.int8), np.full(pool, -1, np.int64)
    images = ImageSet(str(folder), CLASSES, names, none, sides, ArrayReader(np.zeros((pool, 8, 8, 3), np.uint8)))
    digests = [f"{number:032x}" for number in range(pool)]
    table = Features(values, norms_of(values), names, none, sides, digests, CLASSES, {})
    waits: dict[str, list[tuple[float, float, float]]] = {"first": [], "half_decided": []}
    with closing(CorrectionLog(folder / "labels.csv", "somebody")) as log:
        begun = time.perf_counter()
        desk = LabelDesk(images, table, CLASSES, log)
        opened_s = time.perf_counter() - begun
        state = desk.state()

        def decide(when: str) -> None:
            nonlocal state
            number = state["question"]["number"]
            begun, spent = time.perf_counter(), time.process_time()
            state = desk.decide(number, "relabel", CLASSES[truth[rows[number]]])
            waits[when].append((time.perf_counter() - begun, time.process_time() - spent, desk.retrained_s))

        for _ in range(FIRST):
            decide("first")
        log.append(
            [row for number in range(pool // 2 - FIRST - LATE) for row in row_of(desk, number, truth[rows[number]])]
        )
        desk = LabelDesk(images, table, CLASSES, log)
        state = desk.state()
        for _ in range(LATE):
            decide("half_decided")
    return {
        "seed": seed,
        "pool": pool,
        "opened_s": opened_s,
        **{
            f"{when}_longest_{key}": max(each[place] for each in times)
            for when, times in waits.items()
            for place, key in enumerate(("wait_s", "wait_processor_s", "retrained_s"))
        },
        "first_median_wait_s": float(np.median([each[0] for each in waits["first"]])),
        "half_decided_median_wait_s": float(np.median([each[0] for each in waits["half_decided"]])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ants-bees", type=Path, required=True)
    parser.add_argument("--pools", nargs="+", type=int, default=[200, 2000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    features, truth = features_of("ants-bees", open_source(options.ants_bees), options.cache)
    rounds = []
    for pool in options.pools:
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as place:
                rounds.append(time_decisions(features, truth, pool, seed, Path(place)))
            print(rounds[-1], file=sys.stderr, flush=True)
    words = ["FOLDER" if Path(word).is_dir() else word for word in sys.argv[1:]]
    result = {
        "command": " ".join(["python", "benchmarks/label_retraining.py", *words]),
        "n": len(options.seeds),
        "seeds": options.seeds,
        "longest": {
            str(pool): {
                key: max(row[key] for row in rounds if row["pool"] == pool)
                for key in rounds[0]
                if key not in ("seed", "pool")
            }
            for pool in options.pools
        },
        "rounds": rounds,
        "load_average_at_the_end": os.getloadavg()[0],
        "commit": commit(),
        "environment": environment(),
    }
    write_json(ROOT / "benchmarks" / "results" / "label-retraining.json", result)


if __name__ == "__main__":
    main()
