"""How reliably are wrong labels found? Known flips in well-known sets.

    python benchmarks/label_errors.py [--seeds 0 1 2] [--ants-bees FOLDER] [--cifar10 NPZ] [--cache FOLDER]

In each set, some labels are changed to another class drawn from the seed; EfficientNet-Lite0's published weights turn
the images into features, heads predict out of fold, and confident learning ranks the labels, as `catseye review` does.
Precision at recall 0.6 and average precision are of the ranking by margin over all images; `suspects` are those of
confident learning, with their precision and recall; the review also asks about labels beaten by half and more.
FOLDER of ants and bees has train/CLASS and val/CLASS; NPZ has x_train and y_train, of which 4,000 images are drawn.
FOLDER of the cache keeps the features, which take most of the time. Writes
benchmarks/results/label-errors.json.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from train_result import commit

from catseye.data.sources import NOT_SPLIT, ArrayReader, ImageSet, open_source
from catseye.embedding.backbone import embed_images, open_backbone
from catseye.embedding.head import out_of_fold
from catseye.environment import environment
from catseye.evaluation.label_errors import find_label_errors
from catseye.runs import write_json

ROOT = Path(__file__).parents[1]
CIFAR_IMAGES = 4_000
RECALL = 0.6
Table = dict[str, Any]
Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]


def cifar_slice(path: Path) -> ImageSet:
    table = np.load(path)
    rows = np.sort(np.random.default_rng(0).permutation(len(table["y_train"]))[:CIFAR_IMAGES])
    names = [f"{index:05d}" for index in rows]
    labels, sides = table["y_train"][rows].astype(np.int64), np.full(len(rows), NOT_SPLIT, np.int8)
    classes = tuple(map(str, table["classes"]))
    return ImageSet("cifar10", classes, names, labels, sides, ArrayReader(table["x_train"][rows]))


def sets(options: argparse.Namespace) -> Iterator[tuple[str, ImageSet]]:
    yield "digits", open_source("digits")
    if options.ants_bees:
        yield "ants-bees", open_source(options.ants_bees)
    if options.cifar10:
        yield "cifar10-4000", cifar_slice(options.cifar10)


def features_of(name: str, images: ImageSet, cache: Path | None) -> Labelled:
    kept = cache / f"{name}.npz" if cache else None
    if kept is not None and kept.exists():
        table = np.load(kept)
        return table["features"], table["labels"]
    embedded = embed_images(open_backbone(None, images, device="cpu"), images)
    labels = images.labels[embedded.indices]
    if kept is not None:
        np.savez(kept, features=embedded.features, labels=labels)
    return embedded.features, labels


def measure(features: NDArray[np.float32], truth: NDArray[np.int64], share: float, seed: int) -> Table:
    num, num_classes = len(truth), int(truth.max()) + 1
    rng = np.random.default_rng(seed)
    flipped = rng.permutation(num)[: round(share * num)]
    given = truth.copy()
    given[flipped] = (truth[flipped] + rng.integers(1, num_classes, len(flipped))) % num_classes
    wrong = given != truth
    begun = time.perf_counter()
    answers = out_of_fold(features, given, num_classes, seed=seed)
    fold_s = time.perf_counter() - begun
    own = answers[np.arange(num), given]
    others = answers.copy()
    others[np.arange(num), given] = -1
    score = others.max(1) - own
    num_right = np.cumsum(wrong[np.argsort(-score, kind="stable")])  # by the length of the list of suspects
    place = int(np.searchsorted(num_right, np.ceil(RECALL * wrong.sum())))
    suspects = [error.row for error in find_label_errors(answers, given)]
    return {
        "seed": seed,
        "num_flipped": len(flipped),
        "accuracy_out_of_fold": float((answers.argmax(1) == truth).mean()),
        "average_precision": float(average_precision_score(wrong, score)),
        "precision_at_recall_0.6": float(num_right[place] / (place + 1)),
        "num_suspects": len(suspects),
        "suspects_precision": float(wrong[suspects].mean()) if suspects else 0.0,
        "suspects_recall": float(wrong[suspects].sum() / wrong.sum()),
        "heads_s": fold_s,
    }


def summarise(rows: list[Table]) -> Table:
    keys = ("accuracy_out_of_fold", "average_precision", "precision_at_recall_0.6", "suspects_precision",
            "suspects_recall", "heads_s")  # fmt: skip
    spread = {key: [row[key] for row in rows] for key in keys}
    return {key: {"mean": float(np.mean(v)), "sd": float(np.std(v, ddof=1))} for key, v in spread.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--flips", type=float, default=0.05, help="share of the labels")
    parser.add_argument("--ants-bees", type=Path)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    begun, results = time.perf_counter(), {}
    for name, images in sets(options):
        features, labels = features_of(name, images, options.cache)
        rows = [measure(features, labels, options.flips, seed) for seed in options.seeds]
        results[name] = {"num_images": len(labels), "num_classes": int(labels.max()) + 1, "summary": summarise(rows),
                         "rounds": rows}  # fmt: skip
        print(name, results[name]["summary"], file=sys.stderr, flush=True)
    words = ["FOLDER" if Path(word).is_dir() else "NPZ" if Path(word).is_file() else word for word in sys.argv[1:]]
    result = {
        "command": " ".join(["python", "benchmarks/label_errors.py", *words]),
        "n": len(options.seeds),
        "seeds": options.seeds,
        "flips": options.flips,
        "sets": results,
        "wall_s": time.perf_counter() - begun,
        "features_from_cache": options.cache is not None,
        "load_average_at_the_end": os.getloadavg()[0],
        "commit": commit(),
        "environment": environment(),
    }
    write_json(ROOT / "benchmarks" / "results" / "label-errors.json", result)


if __name__ == "__main__":
    main()
