"""From JPEG files to batches of 224 px: catseye against torchvision.

    python benchmarks/photo_decode.py FOLDER [--rounds 5]

FOLDER has photos in class folders. Two sets are made from it: its own photos, and the first of them enlarged to
2000 x 1500 with sensor noise (JPEG, quality 90), like those of a camera or phone. Both libraries squash to 224 x 224
(bilinear, antialiased), so that the geometry is equal, and end with a normalised float batch. Contestants alternate in
every round, each in a fresh process, with one pass to warm up and one that counts. Prints a table and writes
benchmarks/results/photo-decode.json, with the difference in pixels over all images.

- imagefolder  torchvision: ImageFolder, Resize, ToTensor, Normalize, one loader worker per core
- stream       catseye's StreamLoader with as many workers
- first-epoch  catseye's memory path: decode everything with threads, then one epoch of batches
- next-epochs  the same without the decoding: every later epoch
- stream-full, first-epoch-full   the same with JPEGs decoded in full
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from train_result import commit, spread
from train_speed import HERE, run

from catseye.data.augment import normalise_batch, to_unit
from catseye.data.decode import decode_all
from catseye.data.loaders import Batch, MemoryLoader, StreamLoader
from catseye.data.sources import open_source
from catseye.environment import environment
from catseye.preprocess import Preprocessing, preprocess
from catseye.runs import write_json

SIDE, BATCH = 224, 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SPEC = Preprocessing(height_px=SIDE, width_px=SIDE, resize="squash", mean=MEAN, std=STD)
CONTESTANTS = ("imagefolder", "stream", "stream-full", "first-epoch", "first-epoch-full", "next-epochs")
BASELINE = CONTESTANTS[0]
LARGE = (2000, 1500)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", type=int, default=64, help="enlarged photos")
    parser.add_argument("--one", choices=CONTESTANTS, help="what a child process runs")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.folder)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folders = {"photos": options.folder, "2000 x 1500": enlarge(options.folder, Path(temporary), options.large)}
        sets = {name: measure(folder, options.rounds) for name, folder in folders.items()}
    result = {
        "command": f"python benchmarks/photo_decode.py PHOTOS --rounds {options.rounds} --large {options.large}",
        "n": options.rounds,
        "seeds": [0],
        "baseline": BASELINE,
        "sets": sets,
        "commit": commit(),
        "environment": environment(),
    }
    write_json(HERE / "results" / "photo-decode.json", result)
    for name, measured in sets.items():
        shown = Table("contestant", "images/s", "sd", "ratio", "min - max", title=f"{name}: {measured['pixels']}")
        for row in measured["contestants"]:
            speed, ratio = row["images_per_s"], row["ratio"]
            shown.add_row(
                row["name"],
                f"{speed['mean']:,.1f}",
                f"{speed['sd']:.1f}",
                f"{ratio['median']:.2f}",
                f"{ratio['min']:.2f} - {ratio['max']:.2f}",
            )
        Console().print(shown)


def enlarge(source: Path, target: Path, number: int) -> Path:
    rng = np.random.default_rng(0)
    for file in sorted(source.rglob("*.jpg"))[:: max(1, len(list(source.rglob("*.jpg"))) // number)][:number]:
        image = Image.open(file).convert("RGB").resize(LARGE, Image.Resampling.LANCZOS)
        noisy = np.asarray(image).astype(np.int16) + rng.normal(0, 4, (LARGE[1], LARGE[0], 1)).astype(np.int16)
        (target / file.parent.name).mkdir(exist_ok=True)
        path = target / file.parent.name / file.name
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, "JPEG", quality=90)
    return target


def measure(folder: Path, rounds: int) -> dict[str, Any]:
    runs = []
    for number in range(rounds):
        for name in CONTESTANTS[number % len(CONTESTANTS) :] + CONTESTANTS[: number % len(CONTESTANTS)]:
            result = run(["photo_decode.py", str(folder), "--one", name], {})
            runs.append({"round": number, **result})
            print(f"round {number + 1}/{rounds}  {name:18} {result['images_per_s']:9.1f}/s", file=sys.stderr)
    base = {row["round"]: row["images_per_s"] for row in runs if row["name"] == BASELINE}
    rows = []
    for name in CONTESTANTS:
        mine = [row for row in runs if row["name"] == name]
        ratios = [row["images_per_s"] / base[row["round"]] for row in mine]
        rows.append(
            {
                "name": name,
                "images_per_s": spread([row["images_per_s"] for row in mine]),
                "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
            }
        )
    return {
        "num_images": runs[0]["num_images"],
        "pixels": compare_pixels(folder),
        "contestants": rows,
        "rounds": runs,
    }


def compare_pixels(folder: Path) -> dict[str, float]:
    """Differences from torchvision's pixels, in levels of 255.

    They are those of every value of every image.
    """
    squash = transforms.Resize((SIDE, SIDE))
    means, worst, histogram = [], 0, np.zeros(256, np.int64)
    for path, _ in datasets.ImageFolder(folder).samples:
        theirs = np.asarray(squash(Image.open(path).convert("RGB"))).astype(int)
        difference = np.abs(preprocess(Path(path), SPEC).astype(int) - theirs)
        means.append(float(difference.mean()))
        worst = max(worst, int(difference.max()))
        histogram += np.bincount(difference.ravel(), minlength=256)
    p99 = int(np.searchsorted(histogram.cumsum(), 0.99 * histogram.sum()))
    return {
        "mean": round(statistics.fmean(means), 3),
        "worst_image_mean": round(max(means), 3),
        "p99": p99,
        "max": worst,
    }


def one(name: str, folder: Path) -> dict[str, Any]:
    """Images per second of one contestant: a pass to warm up, then one that counts."""
    if name.endswith("-full"):
        sys.modules["catseye.preprocess"].DECODED_PER_INPUT_PX = float("inf")
    work = torchvision_pass(folder) if name == BASELINE else catseye_pass(name.removesuffix("-full"), folder)
    work()
    begun = time.perf_counter()
    number = work()
    return {"name": name, "num_images": number, "images_per_s": number / (time.perf_counter() - begun)}


def torchvision_pass(folder: Path) -> Callable[[], int]:
    steps = [transforms.Resize((SIDE, SIDE)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    files = datasets.ImageFolder(folder, transforms.Compose(steps))
    loader = DataLoader(files, batch_size=BATCH, shuffle=True, num_workers=os.cpu_count() or 1)
    return lambda: sum(len(images) for images, _ in loader)


def catseye_pass(name: str, folder: Path) -> Callable[[], int]:
    images = open_source(folder)
    everything = np.arange(len(images), dtype=np.int64)

    def floats(batches: list[Batch] | Any) -> int:
        return sum(len(normalise_batch(to_unit(batch.pixels), SPEC)) for batch in batches)

    if name == "stream":
        device, workers = torch.device("cpu"), os.cpu_count() or 1
        loader = StreamLoader(images, SPEC, everything, BATCH, workers, device, shuffle=True)
        return lambda: floats(loader.epoch(0))

    def memory() -> MemoryLoader:
        decoded, row, _ = decode_all(images, everything, SPEC)
        labels = torch.from_numpy(images.labels)
        return MemoryLoader(torch.from_numpy(decoded), labels, row, row, BATCH, shuffle=True)

    if name == "first-epoch":
        return lambda: floats(memory().epoch(0))
    ready = memory()
    return lambda: floats(ready.epoch(0))


if __name__ == "__main__":
    main()
