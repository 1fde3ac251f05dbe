"""How many strangers does a model call "unknown", and how many of its own images? Every set against every other.

    python benchmarks/strangers_unknown.py [--images 100] [--px 160] [--seeds 0] [--ants-bees FOLDER] [--cifar10 FOLDER]

Each set is learnt by `catseye train --pretrained` from so many images at --px, and asked about as many others of its
own and of each other set. AUROC: the chance that an own image is more familiar than a stranger. Generated sets:
photos, drawings, textures (tests/stranger_sets.py), and noise, which is a stranger only. FOLDER of ants and bees has
train/CLASS and val/CLASS, that of CIFAR-10 train/CLASS and test/CLASS; of it two slices of two classes are taken.
They are near misses to each other: not the same things, but images of the same kind. Writes
benchmarks/results/strangers-unknown.json.
"""

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from train_result import commit

import catseye
from catseye.data.augment import normalise_batch, to_unit
from catseye.environment import environment
from catseye.evaluation.familiarity import cosines
from catseye.evaluation.rejection import auroc
from catseye.evaluation.strangers import stored_fit
from catseye.preprocess import FILE_SUFFIXES, preprocess
from catseye.runs import write_json
from catseye.runtimes.loading import open_model
from catseye.runtimes.model_file import OpenedModel

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.stranger_sets import SETS  # noqa: E402

GENERATED = ("photos", "drawings", "textures")
SLICES = {"cifar10-vehicles": ("airplane", "automobile"), "cifar10-animals": ("frog", "horse")}
BATCH = 25
Table = dict[str, Any]


@dataclass(frozen=True)
class ImageFolder:
    """`training` has class folders (None: a stranger only), `fresh` as many other images of the same source."""

    name: str
    training: Path | None
    fresh: Path
    kind: str

    def fresh_images(self) -> list[Path]:
        return sorted(path for path in self.fresh.rglob("*") if path.suffix.lower() in FILE_SUFFIXES)


def generate(root: Path, num_images: int, seed: int) -> Iterator[ImageFolder]:
    for name in GENERATED:
        draw, counts, suffix = SETS[name]
        for part in ("training", "fresh"):
            rng = np.random.default_rng([seed, *f"{part} {name}".encode()])
            for kind, label in enumerate(counts):
                folder = root / name / part / label
                folder.mkdir(parents=True)
                for number in range(num_images // len(counts)):
                    draw(kind, rng).save(folder / f"{number:03d}.{suffix}")
        yield ImageFolder(name, root / name / "training", root / name / "fresh", name)
    rng = np.random.default_rng([seed, 1])
    (root / "noise").mkdir()
    for number in range(num_images):
        side = int(rng.integers(32, 257))
        pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(root / "noise" / f"{number:03d}.png")
    yield ImageFolder("noise", None, root / "noise", "noise")


def draw_slice(source: Path, classes: tuple[str, ...], target: Path, num_images: int, seed: int) -> None:
    """Copy as many images of each class, drawn from the seed."""
    for label in classes:
        (target / label).mkdir(parents=True)
        files = sorted(path for path in (source / label).iterdir() if path.suffix.lower() in FILE_SUFFIXES)
        rng = np.random.default_rng([seed, *label.encode()])
        for index in rng.permutation(len(files))[: num_images // len(classes)].tolist():
            shutil.copy(files[index], target / label)


def take_real(options: argparse.Namespace, root: Path, seed: int) -> Iterator[ImageFolder]:
    wanted: list[tuple[str, Path, tuple[str, ...], str, str]] = []
    if options.ants_bees:
        wanted.append(("ants-bees", options.ants_bees, ("ants", "bees"), "val", "ants-bees"))
    if options.cifar10:
        wanted += [(name, options.cifar10, classes, "test", "cifar10") for name, classes in SLICES.items()]
    for name, source, classes, held_out, kind in wanted:
        draw_slice(source / "train", classes, root / name / "training", options.images, seed)
        draw_slice(source / held_out, classes, root / name / "fresh", options.images, seed)
        yield ImageFolder(name, root / name / "training", root / name / "fresh", kind)


class Features:
    """Pooled features of a set's fresh images, computed once per frozen backbone and preprocessing."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], NDArray[np.float32]] = {}

    @torch.inference_mode()
    def of(self, model: OpenedModel, images: ImageFolder) -> NDArray[np.float32]:
        backbone, spec = model.layers().get_submodule("features"), model.manifest.preprocessing
        digest = hashlib.sha256()
        for tensor in backbone.state_dict().values():
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        key = digest.hexdigest(), spec.model_dump_json(), images.name
        if key not in self._known:
            pixels = np.stack([preprocess(path, spec) for path in images.fresh_images()])
            batches = torch.from_numpy(pixels).permute(0, 3, 1, 2).split(BATCH)
            parts = [backbone(normalise_batch(to_unit(batch), spec)).mean((2, 3)) for batch in batches]
            self._known[key] = torch.cat(parts).numpy()
        return self._known[key]


def measure(sets: list[ImageFolder], root: Path, seed: int, px: int) -> Iterator[Table]:
    features = Features()
    for own in (one for one in sets if one.training is not None):
        begun = time.perf_counter()
        # One size and one way to it for all sets: so the features of each are computed once.
        settings = {"data.input_px": px, "data.resize": "pad"}
        out = root / "runs" / own.name
        run = catseye.train(own.training, pretrained=True, seed=seed, out=out, device="cpu", settings=settings)
        train_s = time.perf_counter() - begun
        model = open_model(run.path, device="cpu")
        fit = stored_fit(model)
        if fit is None:
            raise SystemExit(f"{own.name}: the run knows no strangers")
        found = {one.name: cosines(features.of(model, one), fit.scale, fit.centres) for one in sets}
        row: Table = {
            "seed": seed,
            "own": own.name,
            "threshold": fit.threshold,
            "accuracy": run.metrics.accuracy,
            "own_refused": float((found[own.name] < fit.threshold).mean()),
            "train_s": train_s,
            "pairs": [
                {
                    "strangers": one.name,
                    "near_miss": one.kind == own.kind,
                    "auroc": auroc(found[own.name], found[one.name]),
                    "refused": float((found[one.name] < fit.threshold).mean()),
                    "num_images": len(found[one.name]),
                }
                for one in sets
                if one is not own
            ],
        }
        shown = ", ".join(f"{pair['strangers']} {pair['auroc']:.3f} {pair['refused']:.0%}" for pair in row["pairs"])
        print(f"{own.name:18} own refused {row['own_refused']:.1%}; {shown}", file=sys.stderr, flush=True)
        yield row


def summarise(rows: list[Table]) -> Table:
    pairs = [pair for row in rows for pair in row["pairs"]]
    different = [pair for pair in pairs if not pair["near_miss"]]
    near = [pair for pair in pairs if pair["near_miss"]]
    return {
        "own_refused_mean": float(np.mean([row["own_refused"] for row in rows])),
        "own_refused_largest": max(row["own_refused"] for row in rows),
        "num_pairs": len(different),
        "auroc_smallest": min(pair["auroc"] for pair in different),
        "num_pairs_below_0.97": sum(pair["auroc"] < 0.97 for pair in different),
        "refused_mean": float(np.mean([pair["refused"] for pair in different])),
        "num_near_misses": len(near),
        "near_miss_auroc": [pair["auroc"] for pair in near],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100, help="of a set, to learn from, and as many to measure")
    parser.add_argument("--px", type=int, default=160, help="side of the network's input")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--ants-bees", type=Path)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--name", default="strangers-unknown")
    options = parser.parse_args()
    begun, rows = time.perf_counter(), []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            sets = [*generate(root, options.images, seed), *take_real(options, root, seed)]
            rows += list(measure(sets, root, seed, options.px))
    words = ["FOLDER" if Path(word).is_dir() else word for word in sys.argv[1:]]
    result = {
        "command": " ".join(["python", "benchmarks/strangers_unknown.py", *words]),
        "n": len(options.seeds),
        "seeds": options.seeds,
        "num_images": options.images,
        "px": options.px,
        "summary": summarise(rows),
        "sets": rows,
        "wall_s": time.perf_counter() - begun,
        "load_average_at_the_end": os.getloadavg()[0],
        "commit": commit(),
        "environment": environment(),
    }
    write_json(ROOT / "benchmarks" / "results" / f"{options.name}.json", result)


if __name__ == "__main__":
    main()
