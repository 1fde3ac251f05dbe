"""Two sets of published weights: a linear head on each, on six kinds of images.

    python benchmarks/published_weights.py --cifar10 FOLDER

Sets: three slices of CIFAR-10 (all classes, cats and dogs, the six animals; 500 training and 500 test images;
FOLDER has train/CLASS and test/CLASS), photos, drawings and textures (tests/stranger_sets.py). Ants and bees are left
out, because other results are reported on them. The heads are those of the trials: folds of the training images choose
the decay, and whether Lite0, Lite2 or both features side by side would be kept; the test images are used at the end.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from stranger_folders import draw_slice
from train_result import commit

from catseye.data.augment import normalise_batch, to_unit
from catseye.environment import environment
from catseye.evaluation.metrics import wilson_interval
from catseye.models import registry
from catseye.models.folding import fold_norms
from catseye.models.pretrained import find_published
from catseye.models.zoo import load_published
from catseye.preprocess import FILE_SUFFIXES, Preprocessing, preprocess
from catseye.runs import write_json
from catseye.training.trials.folds import draw_trial_folds
from catseye.training.trials.linear_head import FeatureTable, fit_logistic

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.stranger_sets import write_set  # noqa: E402

SLICES = {
    "cifar10": None,
    "cats and dogs": ("cat", "dog"),
    "animals": ("bird", "cat", "deer", "dog", "frog", "horse"),
}
GENERATED = ("photos", "drawings", "textures")
NETWORKS = {"lite0": (288,), "lite2": (288,)}
NUM_IMAGES = 500


def listed(folder: Path) -> tuple[list[Path], np.ndarray, list[str]]:
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    files = [path for name in classes for path in sorted((folder / name).iterdir())]
    files = [path for path in files if path.suffix.lower() in FILE_SUFFIXES]
    return files, np.array([classes.index(path.parent.name) for path in files]), classes


def sides(name: str, cifar10: Path, target: Path) -> list[tuple[list[Path], np.ndarray]]:
    """Training and test images with their labels."""
    if name in SLICES:
        classes = SLICES[name] or tuple(sorted(path.name for path in (cifar10 / "train").iterdir()))
        for side in ("train", "test"):
            draw_slice(cifar10 / side, classes, target / side, NUM_IMAGES, 0)
        return [listed(target / side)[:2] for side in ("train", "test")]
    files, labels, _ = listed(write_set(name, target / name))
    order = np.random.default_rng(0).permutation(len(files))
    cut = round(0.7 * len(files))
    return [([files[i] for i in part], labels[part]) for part in (order[:cut], order[cut:])]


@torch.inference_mode()
def features(files: list[Path], network: str, px: int) -> torch.Tensor:
    """Pooled features (n, F)."""
    name = f"timm:tf_efficientnet_{network}"
    published = find_published(name)
    model = registry.create(name, num_classes=1_000, in_channels=3, input_px=px).eval()
    load_published(model, published.state)
    its = published.expected
    spec = Preprocessing(height_px=px, width_px=px, resize="crop", filter=its.filter, mean=its.mean, std=its.std)
    fast = fold_norms(model.get_submodule("features"), torch.rand(2, 3, px, px).to(memory_format=torch.channels_last))
    parts = []
    for start in range(0, len(files), 32):
        pixels = np.stack([preprocess(path, spec) for path in files[start : start + 32]])
        x = normalise_batch(to_unit(torch.from_numpy(pixels).permute(0, 3, 1, 2)), spec)
        parts.append(fast(x.contiguous(memory_format=torch.channels_last)).mean((2, 3)))
    return torch.cat(parts)


def measure(name: str, cifar10: Path) -> list[dict[str, object]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        (files, labels), (test_files, truth) = sides(name, cifar10, Path(folder))
        folds = np.stack([draw_trial_folds(labels, np.arange(len(labels)), 4, seed) for seed in range(3)])
        known: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        for network, sizes in NETWORKS.items():
            for px in sizes:
                known[f"{network} {px}"] = (features(files, network, px), features(test_files, network, px))
        both = [torch.cat([known["lite0 288"][side], known["lite2 288"][side]], 1) for side in (0, 1)]
        known["lite0 288 + lite2 288"] = (both[0], both[1])
        for what, (train, test) in known.items():
            table = FeatureTable(
                train[None], torch.from_numpy(labels), torch.ones(len(labels)), folds, int(labels.max()) + 1
            )
            head = fit_logistic(table)
            outside = float(np.mean(head.logits.argmax(2) == labels))
            right = int(((test @ head.weight.T + head.bias).argmax(1).numpy() == truth).sum())
            low, high = wilson_interval(right, len(truth))
            row = {"set": name, "features": what, "by_folds": outside, "accuracy": right / len(truth)}
            row |= {"accuracy_95_interval": [low, high], "num_training": len(labels), "num_images": len(truth)}
            rows.append(row)
            print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True)
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for name in (*SLICES, *GENERATED):
        rows += measure(name, options.cifar10)
        content = {"command": "python benchmarks/published_weights.py --cifar10 FOLDER", "n": 1, "seeds": [0]}
        content |= {"commit": commit(), "rows": rows}
        write_json(
            ROOT / "benchmarks" / "results" / "published-weights.json", {**content, "environment": environment()}
        )


if __name__ == "__main__":
    main()
