"""How many strangers, and how many own images, a model calls "unknown".

Every set is measured against every other.

    python benchmarks/strangers_unknown.py [--seeds 0] [--ants-bees FOLDER] [--cifar10 FOLDER]
    python benchmarks/strangers_unknown.py --images 100 [--px 160] …

The first: plain `catseye train` on each of the six sets of stranger_folders.py; writes
benchmarks/results/strangers-unknown.json. The second, harder: each set is learnt by `--pretrained` from so few images
at --px, and CIFAR-10 is two slices of two classes, near misses to each other: not the same things, but images of the
same kind; writes strangers-unknown-small.json.

Every model classifies images that it was not trained on, of its own and of each other set, and noise, which is always
a stranger; of generated sets new images are drawn. AUROC: the probability that an own image is more familiar than a
stranger. FOLDER of ants and bees has train/CLASS and val/CLASS, that of CIFAR-10 train/CLASS and test/CLASS.
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
from stranger_folders import GENERATED, NAMES, draw_slice, held_out, write_images
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

SLICES = {"cifar10-vehicles": ("airplane", "automobile"), "cifar10-animals": ("frog", "horse")}
BATCH = 25
NUM_FRESH = 200  # of each generated set, and of noise
Table = dict[str, Any]


@dataclass(frozen=True)
class ImageFolder:
    """One set of images.

    `training` is what `catseye train` gets (None: a stranger only), `fresh` has other images of the same source.
    """

    name: str
    training: Path | None
    fresh: Path
    kind: str

    def fresh_images(self) -> list[Path]:
        return sorted(path for path in self.fresh.rglob("*") if path.suffix.lower() in FILE_SUFFIXES)


def whole_sets(options: argparse.Namespace, root: Path, seed: int) -> Iterator[ImageFolder]:
    """The six sets, and noise."""
    for name in NAMES:
        if not getattr(options, name.replace("-", "_"), True):
            continue
        data = write_images(name, root / name, options)
        if held_out(data) == "val":  # a run would set its threshold by these
            for side, target in (("train", "train"), ("val", "test")):
                shutil.copytree(data / side, root / name / target)
            data = root / name
        fresh = data / "test"
        if name in GENERATED:
            fresh = draw_generated(name, root / "fresh" / name, NUM_FRESH, [seed, *f"fresh {name}".encode()])
        yield ImageFolder(name, data, fresh, name)
    yield draw_noise(root / "noise", NUM_FRESH, seed)


def small_sets(options: argparse.Namespace, root: Path, seed: int) -> Iterator[ImageFolder]:
    """As many images of each as --images says; of CIFAR-10 two slices of two classes."""
    for name in GENERATED:
        training, fresh = (
            draw_generated(name, root / name / part, options.images, [seed, *f"{part} {name}".encode()])
            for part in ("training", "fresh")
        )
        yield ImageFolder(name, training, fresh, name)
    yield draw_noise(root / "noise", options.images, seed)
    wanted: list[tuple[str, Path, tuple[str, ...], str, str]] = []
    if options.ants_bees:
        wanted.append(("ants-bees", options.ants_bees, ("ants", "bees"), "val", "ants-bees"))
    if options.cifar10:
        wanted += [(name, options.cifar10, classes, "test", "cifar10") for name, classes in SLICES.items()]
    for name, source, classes, side, kind in wanted:
        draw_slice(source / "train", classes, root / name / "training", options.images, seed)
        draw_slice(source / side, classes, root / name / "fresh", options.images, seed)
        yield ImageFolder(name, root / name / "training", root / name / "fresh", kind)


def draw_generated(name: str, folder: Path, num_images: int, seed: list[int]) -> Path:
    draw, counts, suffix = SETS[name]
    rng = np.random.default_rng(seed)
    for kind, label in enumerate(counts):
        (folder / label).mkdir(parents=True)
        for number in range(num_images // len(counts)):
            draw(kind, rng).save(folder / label / f"{number:03d}.{suffix}")
    return folder


def draw_noise(folder: Path, num_images: int, seed: int) -> ImageFolder:
    rng = np.random.default_rng([seed, 1])
    folder.mkdir()
    for number in range(num_images):
        side = int(rng.integers(32, 257))
        pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return ImageFolder("noise", None, folder, "noise")


class Features:
    """Pooled features of fresh images, computed once per backbone and input."""

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


def measure(sets: list[ImageFolder], root: Path, seed: int, options: argparse.Namespace) -> Iterator[Table]:
    features = Features()
    for own in (each for each in sets if each.training is not None):
        begun = time.perf_counter()
        out = root / "runs" / own.name
        if options.images:
            # One size and one way to it for all sets: so the features of each are computed once.
            settings = {"data.input_px": options.px, "data.resize": "pad"}
            run = catseye.train(own.training, pretrained=True, seed=seed, out=out, device="cpu", settings=settings)
        else:
            run = catseye.train(own.training, seed=seed, out=out, device="cpu")
        train_s = time.perf_counter() - begun
        model = open_model(run.path, device="cpu")
        fit = stored_fit(model)
        if fit is None:
            raise SystemExit(f"{own.name}: the run knows no strangers")
        familiar = {each.name: cosines(features.of(model, each), fit.scale, fit.centres) for each in sets}
        row: Table = {
            "seed": seed,
            "own": own.name,
            "threshold": fit.threshold,
            "accuracy": run.metrics.accuracy,
            "network": model.manifest.architecture.name,
            "num_own": len(familiar[own.name]),
            "own_refused": float((familiar[own.name] < fit.threshold).mean()),
            "train_s": train_s,
            "pairs": [
                {
                    "strangers": each.name,
                    "near_miss": each.kind == own.kind,
                    "auroc": auroc(familiar[own.name], familiar[each.name]),
                    "refused": float((familiar[each.name] < fit.threshold).mean()),
                    "num_images": len(familiar[each.name]),
                }
                for each in sets
                if each is not own
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
    parser.add_argument("--images", type=int, default=0, help="of each set, to learn from, and as many to measure")
    parser.add_argument("--px", type=int, default=160, help="side of the network's input, with --images")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--ants-bees", type=Path)
    parser.add_argument("--cifar10", type=Path)
    options = parser.parse_args()
    begun, rows = time.perf_counter(), []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            build = small_sets if options.images else whole_sets
            sets = list(build(options, Path(folder), seed))
            rows += list(measure(sets, Path(folder), seed, options))
    words = ["FOLDER" if Path(word).is_dir() else word for word in sys.argv[1:]]
    result = {
        "command": " ".join(["python", "benchmarks/strangers_unknown.py", *words]),
        "n": len(options.seeds),
        "seeds": options.seeds,
        **({"num_images": options.images, "px": options.px} if options.images else {}),
        "summary": summarise(rows),
        "sets": rows,
        "wall_s": time.perf_counter() - begun,
        "load_average_at_the_end": os.getloadavg()[0],
        "commit": commit(),
        "environment": environment(),
    }
    name = "strangers-unknown-small" if options.images else "strangers-unknown"
    write_json(ROOT / "benchmarks" / "results" / f"{name}.json", result)


if __name__ == "__main__":
    main()
