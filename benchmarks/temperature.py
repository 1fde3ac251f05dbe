"""The width of the prior on log T, and when to use a temperature at all.

Both are chosen on one family of synthetic models and judged on another. No training, one core, about five minutes.

    python benchmarks/temperature.py [--repeats 40]

A family draws logits and then labels from their softmax, so that the model is exactly calibrated; multiplied by T, it
is overconfident (T > 1) or underconfident by a known amount. A rule fits a temperature on n images; ECE and loss are
measured on 20,000 others. `harm` is the mean loss above the uncalibrated one if T is 1, `left` the share of the
avoidable loss that remains if it is not. Writes benchmarks/results/temperature.json.
"""

import argparse
from pathlib import Path

import numpy as np
from train_result import commit

from catseye.environment import environment
from catseye.evaluation import calibration
from catseye.runs import write_json

ROOT = Path(__file__).parents[1]
TRUE = (1.0, 0.6, 1.5, 2.5)
SIZES = (30, 60, 150, 500, 2000)
WIDTHS = (0.2, 0.3, 0.5)
NUM_FRESH = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40)
    repeats = parser.parse_args().repeats
    choosing = {f"prior {width}": rate(gamma_logits, prior(width), repeats, seed=0) for width in WIDTHS}
    judging = {
        "this version": rate(heavy_tails, calibration.fit_temperature, repeats, seed=1),
        "labels smoothed by 1 / (n + 2), as in 0.1": rate(heavy_tails, smoothed, repeats, seed=1),
    }
    result = {
        "command": f"python benchmarks/temperature.py --repeats {repeats}",
        "n": repeats,
        "seeds": [0, 1],
        "sizes": SIZES,
        "temperatures": TRUE,
        "choosing": choosing,
        "judging": judging,
        "commit": commit(),
        "environment": environment(),
    }
    write_json(ROOT / "benchmarks" / "results" / "temperature.json", result)


def gamma_logits(rng, num, num_classes):
    """Gaussian logits, the true class ahead by a gamma-distributed margin."""
    logits = rng.normal(0, 1, (num, num_classes))
    logits[np.arange(num), rng.integers(0, num_classes, num)] += rng.gamma(4, 1.2, num) + 1
    return logits


def heavy_tails(rng, num, num_classes):
    """Student's t with 3 degrees of freedom, unequal classes, a third hard."""
    logits = rng.standard_t(3, (num, num_classes))
    favoured = rng.choice(num_classes, num, p=rng.dirichlet(np.full(num_classes, 2.0)))
    logits[np.arange(num), favoured] += np.where(rng.random(num) < 1 / 3, 0.5, 6.0)
    return logits


def draw(family, rng, num, num_classes, temperature):
    logits = family(rng, num, num_classes)
    chances = np.exp(logits - logits.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    labels = (chances.cumsum(1) > rng.random((num, 1))).argmax(1)
    return logits * temperature, labels


def prior(width):
    def fit(logits, labels):
        before, calibration.PRIOR_SD = calibration.PRIOR_SD, width
        try:
            return calibration.fit_temperature(logits, labels)
        finally:
            calibration.PRIOR_SD = before

    return fit


def smoothed(logits, labels):
    """As in version 0.1: the likeliest temperature of labels smoothed by 1 / (n + 2)."""
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 241))
    smoothing = 1 / (len(labels) + 2)

    def cost(temperature):
        scaled = logits / temperature
        logs = scaled - np.log(np.exp(scaled - scaled.max(1, keepdims=True)).sum(1, keepdims=True))
        logs = logs - scaled.max(1, keepdims=True)
        true = logs[np.arange(len(labels)), labels]
        others = (logs.sum(1) - true) / (logits.shape[1] - 1)
        return -((1 - smoothing) * true + smoothing * others).mean()

    return float(grid[int(np.argmin([cost(value) for value in grid]))])


def rate(family, fit, repeats, seed):
    rows = []
    for num_classes in (3, 10):
        for temperature in TRUE:
            rng = np.random.default_rng([seed, num_classes, int(10 * temperature)])
            fresh = draw(family, rng, NUM_FRESH, num_classes, temperature)
            plain, best = calibration.score(*fresh, 1.0), calibration.score(*fresh, temperature)
            for num in SIZES:
                temperatures = [fit(*draw(family, rng, num, num_classes, temperature)) for _ in range(repeats)]
                scores = [calibration.score(*fresh, value) for value in temperatures]
                loss = float(np.mean([score.loss for score in scores]))
                rows.append(
                    {
                        "num_classes": num_classes,
                        "true_temperature": temperature,
                        "num_images": num,
                        "mean_temperature": float(np.mean(temperatures)),
                        "share_kept_at_1": float(np.mean(np.array(temperatures) == 1.0)),
                        "ece_plain": plain.ece,
                        "ece": float(np.mean([score.ece for score in scores])),
                        "loss_plain": plain.loss,
                        "loss": loss,
                        "loss_best": best.loss,
                    }
                )
    honest = [row for row in rows if row["true_temperature"] == 1.0]
    wrong = [row for row in rows if row["true_temperature"] != 1.0]
    return {
        "harm": float(np.mean([row["loss"] - row["loss_plain"] for row in honest])),
        "ece_harm": float(np.mean([row["ece"] - row["ece_plain"] for row in honest])),
        "left": float(
            np.mean([(row["loss"] - row["loss_best"]) / (row["loss_plain"] - row["loss_best"]) for row in wrong])
        ),
        "rows": rows,
    }


if __name__ == "__main__":
    main()
