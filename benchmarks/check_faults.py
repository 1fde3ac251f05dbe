"""Plant faults in sound data and count those that `catseye check` finds.

    python benchmarks/check_faults.py [--seeds 5] [--images 1000] [--page FOLDER]

Each seed makes its own data set: images of scikit-learn's digits on cloudy backgrounds, in train and test, with faults
in known places. Precision: the share of a rule's findings that were planted for it. Recall: the share of the planted
faults that the rule finds. Pairs of class names that differ by case or white space are counted by name. Writes
benchmarks/results/check-faults.json. `--page` keeps the first seed's data and its check.html.
"""

import argparse
import io
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits
from train_result import commit

from catseye.data.check.check import check
from catseye.data.check.findings import Verdict
from catseye.environment import environment
from catseye.runs import write_json

ROOT = Path(__file__).parents[1]
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WIDTH, HEIGHT = 128, 96
NUM_PLANTED = 30  # of each fault
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{:064x}\nsize {}\n"
PAGES = (b"<!doctype html><title>404</title>", b"PK\x03\x04 an archive", b"a text", b"\0" * 400)
KINDS = {"PNG": "png", "JPEG": "jpg", "BMP": "bmp", "WEBP": "webp", "GIF": "gif"}
TWINS = (str.upper, str.capitalize, lambda name: name + " ", lambda name: f"{name[:2]} {name[2:]}")
Truth = dict[str, set[str]]  # rule -> names of the images that it should name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--page", type=Path, default=None)
    options = parser.parse_args()
    seeds = list(range(options.seeds))
    cells: dict[str, list[dict[str, int]]] = defaultdict(list)
    others: dict[str, int] = defaultdict(int)
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            root = options.page / "digits" if options.page and not seed else Path(folder) / "digits"
            truth = plant(root, seed, options.images)
            verdict = check(root, out=options.page if options.page and not seed else None)
        named = named_by(verdict)
        named["class-twins"] = twins_named(verdict)
        for rule, right in truth.items():
            hits = len(right & named[rule])
            cells[rule].append({"planted": len(right), "named": len(named[rule]), "right": hits})
        for rule in named.keys() - truth.keys():
            others[rule] += len(named[rule])
    result = {
        "command": f"python benchmarks/check_faults.py --seeds {options.seeds} --images {options.images}",
        "n": len(seeds),
        "seeds": seeds,
        "sound_images_per_seed": options.images,
        "faults": {rule: summary(rows) for rule, rows in cells.items()},
        "images_named_by_other_rules": dict(others),
        "commit": commit(),
        "environment": environment(),
    }
    if not options.page:
        write_json(ROOT / "benchmarks" / "results" / "check-faults.json", result)
    for rule, row in result["faults"].items():
        print(f"{rule:22s} precision {row['precision']:.3f}  recall {row['recall']:.3f}  {row['rounds'][0]}")
    print("named by other rules:", dict(others))


def summary(rounds: list[dict[str, int]]) -> dict[str, object]:
    """Precision and recall over all seeds, and the lowest recall of a seed."""
    named, planted, right = (sum(row[key] for row in rounds) for key in ("named", "planted", "right"))
    return {
        "precision": right / named if named else 0.0,
        "recall": right / planted,
        "lowest_recall": min(row["right"] / row["planted"] for row in rounds),
        "mean_planted": statistics.fmean(row["planted"] for row in rounds),
        "rounds": rounds,
    }


def named_by(verdict: Verdict) -> dict[str, set[str]]:
    """Rule -> names of the images that it reports.

    Of a pair under two labels, it is the copy that was planted.
    """
    named: dict[str, set[str]] = defaultdict(set)
    for finding in verdict.findings:
        for case in finding.examples:
            names = [verdict.names[index] for index in case.images]
            if finding.rule.endswith("two-labels") or finding.rule.endswith("duplicates"):
                names = [name for name in names if "/copy" in name] or names
            named[finding.rule].update(names[:1])
    return named


def twins_named(verdict: Verdict) -> set[str]:
    cases = [case.note for finding in verdict.findings if finding.rule == "class-twins" for case in finding.examples]
    return {" and ".join(sorted(note.split(" and "))) for note in cases}


def plant(root: Path, seed: int, num_images: int) -> Truth:
    """Write the data set, with a quarter of the sound images in test.

    Returns what was planted, and where.
    """
    rng = np.random.default_rng(seed)
    draw = images(rng)
    twins = plant_twins(root, rng, draw)
    sound = []
    for number in range(num_images):
        label, image = next(draw)
        path = root / ("test" if number % 4 == 0 else "train") / CLASSES[label] / f"{number:05d}.png"
        sound.append(put(path, encoded(image)))
    train = [path for path in sound if "train" in path.parts]
    origin = iter([train[index] for index in rng.permutation(len(train))[: 4 * NUM_PLANTED]])
    truth: Truth = defaultdict(set, {"class-twins": twins})

    def note(rule: str, path: Path) -> None:
        truth[rule].add(path.relative_to(root).as_posix())

    for number in range(NUM_PLANTED):
        path = next(origin)  # the same bytes, across the split
        note("leak-test-train", put(root / "test" / path.parent.name / f"copy{number}.png", path.read_bytes()))
        path = next(origin)  # the same image saved again, across the split
        copy = root / "test" / path.parent.name / f"copy-saved{number}.jpg"
        note("near-leak-test-train", put(copy, saved_again(path, rng)))
        path = next(origin)
        copy = root / "train" / another(path.parent.name, rng) / f"copy-flipped{number}.png"
        note("two-labels", put(copy, path.read_bytes()))
        path = next(origin)
        copy = root / "train" / another(path.parent.name, rng) / f"copy-near-flipped{number}.jpg"
        note("near-two-labels", put(copy, saved_again(path, rng)))
        kind = list(KINDS)[number % len(KINDS)]
        content = encoded(next(draw)[1], kind)
        cut = content[: int(len(content) * rng.uniform(0.2, 0.98))]
        note("cut-off", put(root / "train" / rng.choice(CLASSES) / f"cut{number}.{KINDS[kind]}", cut))
        pointer = POINTER.format(int(rng.integers(1 << 62)), int(rng.integers(1 << 20))).encode()
        note("pointer", put(root / "train" / rng.choice(CLASSES) / f"pointer{number}.jpg", pointer))
        note("empty", put(root / "test" / rng.choice(CLASSES) / f"empty{number}.png", b""))
        page = PAGES[number % len(PAGES)] + bytes([number])
        note("no-image", put(root / "train" / rng.choice(CLASSES) / f"page{number}.jpg", page))
        kind, suffix = rng.permutation(["PNG", "JPEG", "BMP", "WEBP"])[:2]
        path = root / "train" / rng.choice(CLASSES) / f"named{number}.{KINDS[suffix]}"
        note("misnamed", put(path, encoded(next(draw)[1], kind)))
    return truth


def plant_twins(root: Path, rng: np.random.Generator, draw: Iterator[tuple[int, Image.Image]]) -> set[str]:
    """Four classes get a second folder whose name differs by case or white space."""
    twins = set()
    for name, change in zip(rng.permutation(CLASSES)[: len(TWINS)].tolist(), TWINS, strict=True):
        for number in range(15):
            side = "test" if number % 4 == 0 else "train"
            put(root / side / change(name) / f"twin{number}.png", encoded(next(draw)[1]))
        twins.add(" and ".join(sorted(map(repr, (name, change(name))))))
    return twins


def images(rng: np.random.Generator) -> Iterator[tuple[int, Image.Image]]:
    """Endless labels and images: a digit on a random background each.

    The backgrounds have the spectrum of photographs.
    """
    digits = load_digits()
    while True:
        index = int(rng.integers(len(digits.target)))
        stroke = Image.fromarray((digits.images[index] * 15.9).astype(np.uint8)).resize(
            (64, 64), Image.Resampling.BICUBIC
        )
        ground = Image.fromarray(clouds(rng))
        corner = (int(rng.integers(0, WIDTH - 64)), int(rng.integers(0, HEIGHT - 64)))
        ground.paste(tuple(rng.integers(0, 256, 3).tolist()), corner, stroke)
        yield int(digits.target[index]), ground


def clouds(rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8: noise with amplitude 1 / frequency, similar in all channels."""
    down, right = np.fft.fftfreq(HEIGHT)[:, None] * HEIGHT, np.fft.fftfreq(WIDTH)[None] * WIDTH
    spectrum = np.fft.fft2(rng.normal(size=(4, HEIGHT, WIDTH))) / np.maximum(np.hypot(down, right), 1)
    planes = np.fft.ifft2(spectrum).real
    planes /= planes.std((1, 2), keepdims=True)
    channels = np.moveaxis(planes[0] + 0.4 * planes[1:], 0, 2)
    return (channels * rng.uniform(30, 55) + rng.uniform(90, 160)).clip(0, 255).astype(np.uint8)


def saved_again(path: Path, rng: np.random.Generator) -> bytes:
    """The image as JPEG, with another quality, size and brightness."""
    image = Image.open(path)
    scale = rng.uniform(0.5, 1.0)
    image = image.resize((round(image.width * scale), round(image.height * scale)))
    return encoded(
        ImageEnhance.Brightness(image).enhance(rng.uniform(0.75, 1.25)), "JPEG", quality=int(rng.integers(30, 95))
    )


def another(name: str, rng: np.random.Generator) -> str:
    return str(rng.choice([each for each in CLASSES if each != name]))


def encoded(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


if __name__ == "__main__":
    main()
