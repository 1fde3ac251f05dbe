"""The recipe `speed` against the textbook loop: accuracy, and share of its time.

    python benchmarks/speed_target.py FOLDER [--rounds 2] [--runs "training.epochs=8" ...]

FOLDER is CIFAR-10 as train/ and test/ with one folder per class. A window of the textbook loop
(baselines/article_loop.py, steady state, fresh process) runs before, between and after the runs of
`catseye train FOLDER --recipe speed`, each with its changed settings; the loop's 50 epochs are 50 x 50,000 images
at its median speed.
Training seconds exclude decoding and evaluation on both sides; the wall time of the process is reported too. Accuracy
is that of the 10,000 test images as they are; a second column averages mirror images and shifts.
Writes benchmarks/results/speed-target.json. Run it on an idle machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from train_result import commit
from train_speed import shown_command
from train_variants import CPU

from catseye.environment import environment
from catseye.evaluation.predict import Outputs, collect_logits
from catseye.machine.devices import choose_precision
from catseye.runs import load_model, open_run, write_json
from catseye.training.request import RunRequest
from catseye.training.session import Workplace, open_session

HERE = Path(__file__).parent
ARTICLE_EPOCHS, NUM_IMAGES = 50, 50_000
DEEPER = "model.depth=3 training.epochs=25 training.small_share=0.6 augment.crop_padding_px=4 augment.erase=0.25"
RUNS = ("training.epochs=8", DEEPER)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--runs", nargs="+", default=list(RUNS), help="settings changed against the recipe, per run")
    parser.add_argument("--seconds", type=float, default=90.0, help="length of one window of the textbook loop")
    options = parser.parse_args()
    windows, runs = [window(options.folder, options.seconds)], []
    for seed in range(options.rounds):
        for changed in options.runs:
            runs.append(train(options.folder, changed, seed))
            windows.append(window(options.folder, options.seconds))
    article_s = ARTICLE_EPOCHS * NUM_IMAGES / statistics.median(windows)
    result = {
        "command": shown_command("speed_target.py", options.folder),
        "n": options.rounds,
        "seeds": list(range(options.rounds)),
        "article": {
            "images_per_s": {"median": statistics.median(windows), "min": min(windows), "max": max(windows)},
            "windows": windows,
            "fifty_epochs_s": article_s,
        },
        "speed": [summarise([run for run in runs if run["changed"] == changed], article_s) for changed in options.runs],
        "runs": runs,
        "commit": commit(),
        "environment": environment(),
    }
    write_json(HERE / "results" / "speed-target.json", result)
    Console().print(table(result))


def window(folder: Path, seconds: float) -> float:
    """Images per second of the textbook loop."""
    command = [sys.executable, str(HERE / "train_variants.py"), "article", str(folder), "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean_environment())
    speed = float(json.loads(done.stdout.splitlines()[-1])["images_per_s"])
    print(f"textbook loop: {speed:.1f} images/s", file=sys.stderr, flush=True)
    return speed


def train(folder: Path, changed: str, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "run"
        command = [sys.executable, "-m", "catseye", "train", str(folder), "--recipe", "speed", "--json"]
        command += ["--seed", str(seed), "--out", str(out), "--device", "cpu"]
        command += [word for setting in changed.split() for word in ("--set", setting)]
        begun = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True, env=clean_environment())
        wall_s = time.perf_counter() - begun
        run = open_run(out)
        history = run.history
        result = {
            "changed": changed,
            "seed": seed,
            "training_s": sum(row["seconds"] for row in history),
            "wall_s": wall_s,
            "accuracy": run.metrics["accuracy"],
            "accuracy_with_views": accuracy_with_views(out, folder),
            "history": [[row["epoch"], row["seconds"], row["test_accuracy"]] for row in history],
        }
    print({key: value for key, value in result.items() if key != "history"}, file=sys.stderr, flush=True)
    return result


def accuracy_with_views(out: Path, folder: Path) -> float:
    """Accuracy with logits averaged over mirrored and shifted images.

    The image and its mirror image have half the weight; both shifted by (±1, ±1) have the rest.
    """
    model, manifest = load_model(out, CPU)
    settings = open_run(out).settings
    place = Workplace(CPU, Console(stderr=True, quiet=True))
    loader = open_session(RunRequest(folder), settings, place).loaders["test"]
    precision = choose_precision(settings.training.precision, CPU)

    def look(change: Any) -> Outputs:
        class Changed(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                logits: torch.Tensor = model(change(x))
                return logits

        return collect_logits(Changed().eval(), loader, manifest.preprocessing, precision=precision)

    plain, logits = look(lambda x: x), 0
    for dx, dy, weight in ((0, 0, 0.25), (1, 1, 0.125), (-1, -1, 0.125)):
        for mirror in (False, True):
            logits = logits + weight * look(lambda x: shifted(x.flip(-1) if mirror else x, dx, dy)).logits  # noqa: B023
    return float((logits.argmax(1) == plain.labels).mean())


def shifted(x: torch.Tensor, dx: int, dy: int) -> torch.Tensor:
    """The images moved by whole pixels, mirrored at the border."""
    height, width = x.shape[2:]
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    return padded[:, :, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]


def clean_environment() -> dict[str, str]:
    """The environment without settings of threads and allocator."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "MALLOC_", "GLIBC_"))}


def summarise(runs: list[dict[str, Any]], article_s: float) -> dict[str, Any]:
    summary: dict[str, Any] = {"changed": runs[0]["changed"]}
    for key in ("accuracy", "accuracy_with_views", "training_s", "wall_s"):
        values = [run[key] for run in runs]
        sd = statistics.stdev(values) if len(values) > 1 else 0.0
        summary[key] = {"mean": statistics.fmean(values), "sd": sd, "min": min(values), "max": max(values)}
    summary["share_of_article"] = summary["training_s"]["mean"] / article_s
    return summary


def table(result: dict[str, Any]) -> Table:
    article = result["article"]
    shown = Table("", "accuracy", "with views", "training", "of the loop's 50 epochs", "whole process")
    hours = article["fifty_epochs_s"] / 3600
    shown.add_row("textbook loop", "", "", f"{hours:.2f} h ({article['images_per_s']['median']:.1f}/s)", "1", "")
    for row in result["speed"]:
        shown.add_row(
            f"speed, {row['changed']}",
            f"{row['accuracy']['mean']:.2%} ± {row['accuracy']['sd']:.2%}",
            f"{row['accuracy_with_views']['mean']:.2%}",
            f"{row['training_s']['mean']:.0f} s",
            f"1/{1 / row['share_of_article']:.1f}",
            f"{row['wall_s']['mean']:.0f} s",
        )
    return shown


if __name__ == "__main__":
    main()
