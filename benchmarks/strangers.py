"""Six small sets: `catseye train` compared with two peers on the same weights.

    python benchmarks/strangers.py --set NAME --part a|b|c|d [--seed 0] [--ants-bees FOLDER] [--cifar10 FOLDER]
    python benchmarks/strangers.py            (every part that has no result yet)

    a  plain `catseye train FOLDER`
    b  `catseye train FOLDER --time 2m`
    c  scikit-learn's logistic regression on the same frozen features, its C chosen by folds of the training images
    d  timm's default recipe for fine-tuning, on the same weights, in a process of its own

The sets are those of stranger_folders.py; all parts are measured on the same images. Results: accuracy with Wilson's
interval, seconds, processor time and peak memory of the process; for a and b also the expected calibration error before
and after the temperature. Every part immediately adds its row to benchmarks/results/strangers.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from auto_sets import read_to_the_end
from PIL import Image
from stranger_folders import NAMES, held_out, listed, write_images
from train_result import commit

import catseye
from catseye.classifier import softmax
from catseye.environment import environment
from catseye.evaluation.calibration import expected_calibration_error
from catseye.evaluation.metrics import wilson_interval
from catseye.runs import write_json

ROOT = Path(__file__).parents[1]
PARTS = ("a", "b", "c", "d")
BACKBONE, PX = "tf_efficientnet_lite0", 288
Table = dict[str, Any]


def catseye_part(*words: str) -> Callable[[Path, int], Table]:
    """Parts a and b: the command, as a process of its own."""

    def run(data: Path, seed: int) -> Table:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            command = [sys.executable, "-m", "catseye", "train", str(data), *words, "--seed", str(seed)]
            usage = as_process([*command, "--out", str(out), "--json"])
            decided = json.loads((out / "auto.json").read_text())
            calibration = judge_calibration(out, data)
        metrics = json.loads(usage.pop("output"))
        kept = {key: decided.get(key) for key in ("kept", "trials")}
        return {**usage, **kept, "accuracy": metrics["accuracy"], "num_images": metrics["num_images"], **calibration}

    return run


def judge_calibration(out: Path, data: Path) -> Table:
    """ECE of the held-out images without and with the run's temperature.

    With the 95 % bootstrap interval of the difference.
    """
    classifier = catseye.load(out, device="cpu")
    files, labels, classes = listed(data, held_out(data))
    if tuple(classes) != tuple(classifier.classes):
        raise SystemExit(f"classes of the run {classifier.classes}, of the folder {classes}")
    answers = [classifier.predict(path, return_logits=True).logits for path in files]
    logits, temperature = np.stack(answers), classifier.manifest.temperature
    right = logits.argmax(1) == labels
    before, after = (softmax(logits, value).max(1) for value in (1.0, temperature))
    rng, differences = np.random.default_rng(0), []
    for _ in range(1_000):
        drawn = rng.integers(0, len(labels), len(labels))
        each = [expected_calibration_error(confidence[drawn], right[drawn]) for confidence in (before, after)]
        differences.append(each[1] - each[0])
    return {
        "temperature": temperature,
        "ece_before": expected_calibration_error(before, right),
        "ece": expected_calibration_error(after, right),
        "ece_difference_interval": np.quantile(differences, [0.025, 0.975]).tolist(),
    }


def peer_part(part: str) -> Callable[[Path, int], Table]:
    """Parts c and d: this file again, as a process of its own."""

    def run(data: Path, seed: int) -> Table:
        usage = as_process([sys.executable, __file__, "--peer", part, "--data", str(data), "--seed", str(seed)])
        return {**usage, **json.loads(usage.pop("output"))}

    return run


def as_process(command: list[str]) -> Table:
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, errors, usage = read_to_the_end(process)
    if process.returncode:
        raise SystemExit(errors)
    wall_s = time.perf_counter() - begun
    return {
        "output": output,
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
    }


RUNS = {"a": catseye_part(), "b": catseye_part("--time", "2m"), "c": peer_part("c"), "d": peer_part("d")}


def logistic_on_features(data: Path, seed: int) -> Table:
    """Part c, on the features that `catseye train --pretrained` uses.

    They have the same weights, size and crop.
    """
    import torch
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from catseye.data.augment import normalise_batch, to_unit
    from catseye.models import registry
    from catseye.models.pretrained import find_published
    from catseye.models.zoo import load_published
    from catseye.preprocess import Preprocessing, preprocess

    published = find_published(f"timm:{BACKBONE}")
    model = registry.create(f"timm:{BACKBONE}", num_classes=1_000, in_channels=3, input_px=PX).eval()
    load_published(model, published.state)
    its = published.expected
    spec = Preprocessing(height_px=PX, width_px=PX, resize="crop", filter=its.filter, mean=its.mean, std=its.std)

    @torch.inference_mode()
    def features(files: list[Path]) -> np.ndarray:
        parts = []
        for start in range(0, len(files), 16):
            pixels = np.stack([preprocess(path, spec) for path in files[start : start + 16]])
            x = normalise_batch(to_unit(torch.from_numpy(pixels).permute(0, 3, 1, 2)), spec)
            parts.append(model.get_submodule("features")(x).mean((2, 3)).numpy())
        return np.concatenate(parts)

    files, labels, _ = listed(data, "train")
    tuned = LogisticRegressionCV(
        Cs=np.logspace(-4, 2, 7), cv=5, max_iter=2_000, scoring="neg_log_loss", random_state=seed,
        l1_ratios=(0,), use_legacy_attributes=False,
    )  # fmt: skip
    head = make_pipeline(StandardScaler(), tuned).fit(features(files), labels)
    test_files, truth, _ = listed(data, held_out(data))
    return {"accuracy": float((head.predict(features(test_files)) == truth).mean()), "num_images": len(truth)}


def timm_fine_tuning(data: Path, seed: int) -> Table:
    """Part d: ten epochs of fine-tuning with timm's augmentations.

    AdamW 5e-4, decay 0.05, cosine to 0 after one epoch of warm-up.

    timm's own script trains for 300 epochs by default; ten are taken here. The weights are read from the same package.
    """
    import timm
    import torch
    from PIL import ImageOps
    from timm.data import create_transform, resolve_model_data_config
    from torch.utils.data import DataLoader, Dataset

    from catseye.models.pretrained import find_published

    # Pillow 13 refuses to keep 0 bits, which timm's augmentation sometimes requests.
    posterize = ImageOps.posterize
    ImageOps.posterize = lambda image, bits: posterize(image, max(1, bits))
    torch.manual_seed(seed)
    files, labels, classes = listed(data, "train")
    model = timm.create_model(BACKBONE, num_classes=len(classes))
    state = {
        name: value for name, value in find_published(f"timm:{BACKBONE}").state.items() if "classifier" not in name
    }
    model.load_state_dict(state, strict=False)
    config = resolve_model_data_config(model)

    class Images(Dataset):  # type: ignore[type-arg]
        def __init__(self, files: list[Path], labels: np.ndarray, *, training: bool) -> None:
            self.files, self.labels = files, labels
            more = {"auto_augment": "rand-m9-mstd0.5-inc1", "re_prob": 0.25} if training else {}
            self.transform = create_transform(**config, is_training=training, **more)

        def __len__(self) -> int:
            return len(self.files)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return self.transform(Image.open(self.files[index]).convert("RGB")), int(self.labels[index])

    loader = DataLoader(Images(files, labels, training=True), batch_size=32, shuffle=True, drop_last=len(files) > 32)
    train_like_timm(model, loader)
    test_files, wanted, _ = listed(data, held_out(data))
    with torch.inference_mode():
        answers = [model(x).argmax(1) for x, _ in DataLoader(Images(test_files, wanted, training=False), batch_size=32)]
    return {"accuracy": float((torch.cat(answers).numpy() == wanted).mean()), "num_images": len(wanted)}


def train_like_timm(model: Any, loader: Any, epochs: int = 10) -> None:
    import torch
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler

    optimizer = create_optimizer_v2(model, opt="adamw", lr=5e-4, weight_decay=0.05)
    schedule = CosineLRScheduler(optimizer, t_initial=epochs, warmup_t=1, warmup_lr_init=1e-6, warmup_prefix=True)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    for epoch in range(epochs):
        schedule.step(epoch)
        model.train()
        for x, truth in loader:
            optimizer.zero_grad()
            loss_of(model(x), truth).backward()
            optimizer.step()
    model.eval()


def add_row(options: argparse.Namespace, name: str, part: str, measured: Table) -> None:
    path = ROOT / "benchmarks" / "results" / f"{options.name}.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [row for row in rows if (row["set"], row["part"], row["seed"]) != (name, part, options.seed)]
    low, high = wilson_interval(round(measured["accuracy"] * measured["num_images"]), measured["num_images"])
    provenance = {
        "set": name,
        "part": part,
        "seed": options.seed,
        "commit": commit(),
        "load_average": os.getloadavg()[0],
    }
    rows.append({**provenance, **measured, "accuracy_95_interval": [low, high]})
    rows.sort(key=lambda row: (NAMES.index(row["set"]), row["part"], row["seed"]))
    command = (
        "python benchmarks/strangers.py --set NAME --part PART --seed SEED [--ants-bees FOLDER] [--cifar10 FOLDER]"
    )
    seeds = sorted({row["seed"] for row in rows})
    facts = {"command": command, "n": len(seeds), "seeds": seeds}
    write_json(path, {**facts, "rows": rows, "commit": commit(), "environment": environment()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=NAMES, dest="set_name")
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ants-bees", type=Path)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--name", default="strangers")
    parser.add_argument("--peer", choices=("c", "d"), help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        measured = (logistic_on_features if options.peer == "c" else timm_fine_tuning)(options.data, options.seed)
        print(json.dumps(measured))
        return
    path = ROOT / "benchmarks" / "results" / f"{options.name}.json"
    done = (
        {(row["set"], row["part"], row["seed"]) for row in json.loads(path.read_text())["rows"]}
        if path.exists()
        else set()
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in [options.set_name] if options.set_name else NAMES:
            if not options.set_name and not getattr(options, name.replace("-", "_"), True):
                continue
            data = write_images(name, Path(folder) / name, options)
            for part in [options.part] if options.part else PARTS:
                if not options.part and (name, part, options.seed) in done:
                    continue
                measured = RUNS[part](data, options.seed)
                add_row(options, name, part, measured)
                shown = f"{measured['accuracy']:.2%}  {measured['wall_s']:.0f} s  {measured['peak_mb']:.0f} MB"
                print(f"{name:12} {part}  {shown}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
