"""The tables of measured numbers say what the committed results say: each row is formatted here from its JSON."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
Result = dict[str, Any]


def result(name: str) -> Result:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def whole(value: float) -> str:
    """A whole number; halves go up."""
    return f"{math.floor(value + 0.5):,}"


def per_cent(share: float) -> str:
    """As documents write shares: "100 %", "99.5 %"."""
    return f"{share:.1%}".replace(".0%", "%").replace("%", " %")


def copies() -> Iterator[str]:
    small, photos = (result(name)["copies_found"] for name in ("check-cifar10", "check-hymenoptera"))

    def pairs(*kinds: str) -> list[str]:
        return [" / ".join(per_cent(each[kind]) for kind in kinds) for each in (small, photos)]

    for label, kinds in (
        ("JPEG, quality 75 / 30", ("JPEG, quality 75", "JPEG, quality 30")),
        ("three quarters / half of the size", ("three quarters of the size", "half the size")),
        ("moved by 1 px / 2 px", ("moved by 1 px", "moved by 2 px")),
        ("mirrored", ("mirrored",)),
        ("made grey", ("grey",)),
    ):
        yield f"| {label} | {' | '.join(pairs(*kinds))} |"
    (near,) = [each for each in result("check-cifar10")["findings"] if each["rule"] == "near-leak-test-train"]
    yield f"{near['count']} test"


def near_copies() -> Iterator[str]:
    measured = result("near-duplicates")
    for family, row in measured["families"].items():
        first, both = row["recall"]["smaller, lighter or darker, saved again"].values()
        yield (
            f"| {family} | {row['false_first_look']:,} | {row['false_both_looks']} | {first:.1%} | {both:.1%} |"
        ).replace("%", " %")
    yield (
        f"{measured['false_pairs']} of {measured['n']:,} pairs, that is with 95 % confidence at most "
        f"{measured['false_pairs_per_million_at_most']:.2f} in a million"
    )


def calibration() -> Iterator[str]:
    measured = result("calibration")
    for run in measured["runs"]:
        before, after = run["test"]["before"], run["test"]["after"]
        yield f"| {100 * before['ece']:.2f} % before"
        yield f"{100 * after['ece']:.2f} % after"
        yield f"{run['strangers']['auroc_probability']:.3f} by the largest probability"
        yield f"{run['strangers']['auroc_energy']:.3f} by energy"
    for key in ("precision", "recall"):
        each = measured["flipped_digits"][key]
        yield f"{key} {each['mean']:.3f} ± {each['sd']:.3f}"


def unknown() -> Iterator[str]:
    measured = result("strangers-unknown")
    for row in measured["sets"]:
        yield f"| {row['own']} | {row['own_refused']:.1%} of {row['num_own']:,} | {foreign(row)} |"
    yield f"the smallest AUROC is {measured['summary']['auroc_smallest']:.3f}"
    measured = result("strangers-unknown-small")
    for row in measured["sets"]:
        yield f"| {row['own']} | {row['own_refused']:.0%} | {foreign(row)} |"
    yield f"the smallest is {measured['summary']['auroc_smallest']:.3f}"


def foreign(row: Result) -> str:
    return "; ".join(f"{pair['strangers']} {pair['auroc']:.3f}, {pair['refused']:.0%}" for pair in row["pairs"])


def strangers() -> Iterator[str]:
    rows = result("strangers")["rows"]
    for name in dict.fromkeys(row["set"] for row in rows):
        parts = [row for row in rows if row["set"] == name]
        cells = [f"{row['accuracy']:.1%}, {row['wall_s']:.0f} s" for row in parts]
        yield f"| {parts[0]['num_images']:,} | {' | '.join(cells)} |"


def auto_sets() -> Iterator[str]:
    for row in result("auto-sets")["sets"]:
        (run,) = row["runs"]
        yield (
            f"| {run['accuracy']:.0%} of {run['num_images']} | {run['constant_guess']:.0%} | {run['cpu_s']:.0f} s | "
            f"{row['peak_mb']:,.0f} MB |"
        )


def a_minute() -> Iterator[str]:
    (row,) = result("auto-ants-bees-1m")["sets"]
    seconds = sorted(run["wall_s"] for run in row["runs"])
    yield f"gave {row['median']['accuracy']:.2%} with each of five seeds"
    assert len({run["accuracy"] for run in row["runs"]}) == 1
    yield f"{seconds[0]:.0f} to\n{seconds[-1]:.0f} s"


def bench() -> Iterator[str]:
    measured = result("bench-residual")
    for file, name in FILES.items():
        ratios = measured["against_torchscript"][file]["best"].values()
        yield f"| {name} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} | {megabytes(measured, file)} |"
    measured = result("bench-lite0-224")
    for file, name in FILES.items():
        ratios = measured["against_torchscript"][file]["best"].values()
        yield f"| {name} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} | {megabytes(measured, file)} |"


FILES = {
    "model.onnx": "ONNX",
    "model.int8.onnx": "ONNX, INT8",
    "model.xml": "OpenVINO",
    "model.int8.xml": "OpenVINO, INT8",
}


def megabytes(measured: Result, file: str) -> str:
    (size,) = [each["num_bytes"] for each in measured["files"] if each["file"] == file]
    return f"{size / 1e6:.2f} MB"


def parity() -> Iterator[str]:
    for row in result("export-parity")["exports"]:
        judged = row["parity"]
        yield (
            f"| `{row['network']}` on {row['data']} | {row['input']} | {judged['num_pictures']} {judged['split']} | "
            f"{row['num_bytes'] / 1e6:.2f} MB | {judged['max_difference']:.1e} |"
        )


def load() -> Iterator[str]:
    servers = result("serve-load")["cases"]["small"]["servers"]
    for row in servers.values():
        cells = [
            f"{whole(row[clients]['per_s'])}, {whole(row[clients]['p99_ms'])} ms" for clients in ("32", "128", "256")
        ]
        yield f"| {' | '.join(cells)} | {row['first_answer_s']:.2f} s | {row['memory_mb']:.0f} MB |"


def sittings() -> Iterator[str]:
    for name in ("serve-load-sitting-1", "serve-load-sitting-2", "serve-load-sitting-3", "serve-load"):
        servers = result(name)["cases"]["small"]["servers"]
        fast = [row["32"]["per_s"] for row in servers.values()]
        yield f"| {' | '.join(map(whole, fast))} |"


def train_speed() -> Iterator[str]:
    for name in ("train-speed", "train-speed-switches"):
        for row in result(name)["variants"]:
            speed, ratio = row["images_per_s"], row["ratio"]
            if name.endswith("switches") and row["variant"] == "article":
                continue
            yield (
                f"| {speed['median']:.0f} ({speed['min']:.0f} – {speed['max']:.0f}) | "
                f"{ratio['median']:.2f} ({ratio['min']:.2f} – {ratio['max']:.2f}) | "
                f"{row['arithmetic_floor_share']:.0%} |"
            )


def speed_target() -> Iterator[str]:
    for row in result("speed-target")["speed"]:
        accuracy, views = row["accuracy"]["mean"], row["accuracy_with_views"]["mean"]
        yield f"| {accuracy:.2%} | {views:.2%} | {row['training_s']['mean']:,.0f} s |".replace("%", " %")


def timeline() -> Iterator[str]:
    for row in result("cifar10-timeline")["results"]:
        yield (
            f"| {row['year']} | {row['name']} | {row['accuracy']:.1%} ({row['accuracy_low']:.1%} – "
            f"{row['accuracy_high']:.1%}) | {row['num_parameters'] / 1e6:.2f} M | {row['gmacs']:.4f} | "
            f"{row['train_images_per_s']:,.0f} | {row['inference_images_per_s']:,.0f} | {row['num_seen']:,} |"
        )


def pretrained() -> Iterator[str]:
    measured = result("hymenoptera-pretrained")
    accuracy, wall_s = measured["accuracy"], measured["wall_s"]
    yield f"{accuracy['mean']:.2%} ± {100 * accuracy['sd']:.2f} (n = {measured['n']} seeds)".replace("%", " %")
    yield f"{wall_s['mean']:.1f} ± {wall_s['sd']:.1f} s"


def lambda_start() -> Iterator[str]:
    first = result("lambda-cold-start")["compiled"]["first_s"]
    yield f"{first['mean']:.3f} ± {first['sd']:.3f} s"


TABLES: list[tuple[str, Callable[[], Iterator[str]]]] = [
    ("check.md", copies),
    ("check.md", near_copies),
    ("evaluate.md", calibration),
    ("evaluate.md", unknown),
    ("auto.md", strangers),
    ("auto.md", auto_sets),
    ("auto.md", a_minute),
    ("export.md", bench),
    ("export.md", parity),
    ("serve.md", load),
    ("serve.md", sittings),
    ("speed.md", train_speed),
    ("speed.md", speed_target),
    ("timeline.md", timeline),
    ("transfer.md", pretrained),
    ("measured.md", pretrained),
    ("measured.md", lambda_start),
    ("deploy-lambda.md", lambda_start),
]


@pytest.mark.parametrize(("document", "rows"), TABLES, ids=lambda value: getattr(value, "__name__", value))
def test_a_table_says_what_was_measured(document, rows):
    text = (ROOT / "docs" / document).read_text()
    missing = [row for row in rows() if row not in text]
    assert not missing, f"docs/{document} lacks what the results say:\n" + "\n".join(missing)
