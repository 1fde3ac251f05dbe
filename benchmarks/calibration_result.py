"""Calibrate runs, choose thresholds for "unknown", measure both on fresh images.

    python benchmarks/calibration_result.py [--max-risk 2%] RUN AGAINST [RUN AGAINST …]

Writes benchmarks/results/calibration.json: per run ECE, Brier score and loss before and after, coverage and risk at the
threshold, AUROC against the images of AGAINST; also precision and recall of suspected label errors on scikit-learn's
digits with 5% of the labels flipped. The temperature and the threshold are stored in the runs' model files.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from train_result import commit

from catseye.environment import environment
from catseye.evaluation.calibrate import calibrate
from catseye.evaluation.label_errors import find_label_errors
from catseye.evaluation.rejection import parse_share
from catseye.runs import open_run, write_json

ROOT = Path(__file__).parents[1]
NUM_FLIPPED = 90
SEEDS = (0, 1, 2, 3, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-risk", default="2%")
    parser.add_argument("pairs", nargs="+", metavar="RUN AGAINST")
    options = parser.parse_args()
    rows = [
        one_run(Path(run), against, parse_share(options.max_risk, "--max-risk"))
        for run, against in zip(options.pairs[::2], options.pairs[1::2], strict=True)
    ]
    flipped = [flip_digits(seed) for seed in SEEDS]
    names = ("precision", "recall", "precision_of_first_50")
    result = {
        "command": f"python benchmarks/calibration_result.py --max-risk {options.max_risk} RUN AGAINST …",
        "n": len(rows),
        "seeds": [row["seed"] for row in rows],
        "runs": rows,
        "flipped_digits": {
            "num_images": 1797,
            "num_flipped": NUM_FLIPPED,
            "seeds": list(SEEDS),
            **{name: spread([scores[place] for scores in flipped]) for place, name in enumerate(names)},
        },
        "commit": commit(),
        "environment": environment(),
    }
    write_json(ROOT / "benchmarks" / "results" / "calibration.json", result)


def one_run(run: Path, against: str, max_risk: float) -> dict[str, object]:
    opened = open_run(run)
    settings, data = opened.settings, opened.data
    result = calibrate(run, max_risk=max_risk, against=against, device="cpu").to_json()
    result["strangers"]["source"] = Path(against).name
    return {
        "network": settings.model.name,
        "data": Path(data["source"]).name,
        "recipe": settings.recipe,
        "epochs": settings.training.epochs,
        "seed": settings.seed,
        **result,
    }


def flip_digits(seed: int) -> tuple[float, float, float]:
    """Precision and recall of all suspects, and precision of the first 50.

    Probabilities are those of a linear model in three folds.
    """
    x, truth = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    flipped = rng.choice(len(truth), NUM_FLIPPED, replace=False)
    labels = truth.copy()
    labels[flipped] = (truth[flipped] + rng.integers(1, 10, NUM_FLIPPED)) % 10
    model = LogisticRegression(max_iter=500)
    rows = [
        error.row
        for error in find_label_errors(cross_val_predict(model, x / 16, labels, cv=3, method="predict_proba"), labels)
    ]
    hits = set(rows) & set(flipped.tolist())
    return len(hits) / len(rows), len(hits) / NUM_FLIPPED, len(hits & set(rows[:50])) / 50


def spread(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values)}


if __name__ == "__main__":
    main()
