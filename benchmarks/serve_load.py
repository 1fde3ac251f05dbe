"""Load on three servers in turn: the tutorials' FastAPI, LitServe, and catseye.

    python benchmarks/serve_load.py RUN IMAGES FILE.onnx [INT8.onnx …] [--photos RUN IMAGES INT8.onnx INT8.xml …]
        [--seconds 8] [--rounds 2] [--minutes 11] [--name serve-load]

The tutorials' server is FastAPI with TorchScript, LitServe runs ONNX Runtime. RUN is the run that the files were
exported from, IMAGES a folder of class folders; 200 images of it are sent as JPEG forms to /predict by wrk (Debian's
package) on the same machine, at 32, 128 and 256 connections; those of `--photos` (a network of 224 px, for example) at
32. An .xml is served by OpenVINO. Each server is started, its time to the first answer measured, loaded, and stopped
before the next one starts. A round that would end after `--minutes` is not started, and the result is written after
every round. Needs `pip install 'catseye[train,serve,serve-bench]'` and wrk.
Writes benchmarks/results/NAME.json: the medians of the rounds, and each target of the server with what was reached.
"""

import argparse
import importlib.metadata
import json
import os
import re
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from load_generator import about_forms, images_in, one_server, version_of_wrk, write_forms
from packaging.requirements import Requirement
from train_result import commit

ROOT = Path(__file__).parents[1]
SERVERS = Path(__file__).parent / "baselines"
BASELINES = ("article", "litserve")


@dataclass
class Case:
    """One kind of images, the servers that get them, and the results of each round."""

    name: str
    run: Path
    images: Path
    files: list[Path]
    forms: Path
    connections: tuple[int, ...]
    servers: dict[str, list] = field(default_factory=dict)
    rows: dict[str, list[dict]] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--photos", type=Path, nargs="+", default=[])
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=11)
    parser.add_argument("--name", default="serve-load")
    options = parser.parse_args()
    if 0 < len(options.photos) < 3:
        parser.error("--photos takes RUN IMAGES FILE.onnx …")
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options, Path(folder))
    report(result)


def measure(options: argparse.Namespace, folder: Path) -> dict:
    begun = time.monotonic()
    cases = [small_case(options, folder)]
    if options.photos:
        cases.append(photo_case(options, folder))
    result: dict = {}
    for number in range(options.rounds):
        before = time.monotonic()
        for case in cases:
            one_round(case, options.seconds)
        if number == 0:
            limits = {case.name: limits_of(case) for case in cases}
        result = result_of(options, cases, number + 1, limits)
        (ROOT / "benchmarks" / "results" / f"{options.name}.json").write_text(json.dumps(result, indent=1) + "\n")
        now = time.monotonic()
        if now - begun + (now - before) > 60 * options.minutes:
            break
    print(f"{number + 1} rounds in {time.monotonic() - begun:.0f} s", flush=True)
    return result


def small_case(options: argparse.Namespace, folder: Path) -> Case:
    forms = write_forms(options.images, folder / "small")
    case = Case("small", options.run, options.images, options.files, forms, (32, 128, 256))
    case.servers["article"] = article_command(options.run, forms.parent)
    case.servers["litserve"] = [SERVERS / "litserve_server.py", options.files[0].resolve(), "PORT", os.cpu_count(), 1]
    for file in options.files:
        case.servers[f"catseye {file.name}"] = catseye_command(file)
    return case


def photo_case(options: argparse.Namespace, folder: Path) -> Case:
    run, images, *files = options.photos
    forms = write_forms(images, folder / "photos")
    case = Case("photos", run, images, files, forms, (32,))
    case.servers["article"] = article_command(run, forms.parent)
    for file in files:
        case.servers[f"catseye {file.name}"] = catseye_command(file)
    return case


def catseye_command(file: Path) -> list:
    return ["-m", "catseye", "serve", file.resolve(), "--port", "PORT", "--quiet"]


def article_command(run: Path, folder: Path) -> list:
    import torch

    from catseye.runs import load_model

    model, manifest = load_model(run, torch.device("cpu"))
    spec = manifest.preprocessing
    example = torch.zeros(1, spec.channels, spec.height_px, spec.width_px)
    torch.jit.trace(model.eval(), example).save(str(folder / "model.torchscript"))
    classes = json.dumps(manifest.classes)
    return [SERVERS / "article_server.py", folder / "model.torchscript", classes, spec.height_px, "PORT"]


def one_round(case: Case, seconds: int) -> None:
    for name, words in case.servers.items():
        try:
            result = one_server(words, case.forms, case.connections, seconds)
        except RuntimeError as error:
            print(f"{case.name}: {name}: {error}", flush=True)
            continue
        case.rows.setdefault(name, []).append(result)
        print(f"{case.name}: {name}: {json.dumps(result)}", flush=True)


def result_of(options: argparse.Namespace, cases: list[Case], rounds: int, limits: dict) -> dict:
    from catseye.environment import environment

    names = " ".join(file.name for file in options.files)
    photos = " ".join(file.name for file in options.photos[2:])
    result: dict = {
        "command": f"python benchmarks/serve_load.py RUN IMAGES {names} "
        + (f"--photos RUN IMAGES {photos} " if photos else "")
        + f"--seconds {options.seconds} --rounds {options.rounds}",
        "n": rounds,
        "seeds": [],
        "cases": {
            case.name: {
                "images": about_forms(case.forms),
                "servers": {name: summary(rows, case.connections) for name, rows in case.rows.items()},
                "in_process_limit": limits[case.name],
                "rounds": case.rows,
            }
            for case in cases
        },
        "installed_mb": {
            "article": installed_mb(["fastapi", "uvicorn", "torch", "torchvision", "python-multipart", "pillow"]),
            "catseye": installed_mb(["catseye[serve]"]),
        },
        "commit": commit(),
        "environment": environment() | {"wrk": version_of_wrk(), "litserve": importlib.metadata.version("litserve")},
    }
    return {**result, "targets": targets(result)}


def summary(rows: list[dict], connections: tuple[int, ...]) -> dict:
    medians: dict = {key: statistics.median(row[key] for row in rows) for key in ("first_answer_s", "memory_mb")}
    for number in map(str, connections):
        cells = [row[number] for row in rows]
        medians[number] = {key: round(statistics.median(cell[key] for cell in cells), 2) for key in cells[0]}
    return medians


def limits_of(case: Case) -> dict[str, float]:
    """The images per second of the model alone, for each of our servers."""
    limits = {}
    for name, words in case.servers.items():
        if name.startswith("catseye"):
            file = next(file for file in case.files if file.resolve() in words)
            limits[name] = in_process(file, case.images)
    return limits


def in_process(file: Path, images: Path, seconds: float = 3.0) -> float:
    """Images per second of the model alone, with a one-thread call per core.

    Without decoding and HTTP.
    """
    from catseye.machine.cores import num_cores
    from catseye.preprocess import preprocess
    from catseye.serving import runtimes, tuning

    model = runtimes.load_served(file)
    batch_size = tuning.choose(model).batch_size
    spec = model.manifest.preprocessing
    paths = images_in(images)[:batch_size]
    rows = np.stack([model.row_of(preprocess(paths[n % len(paths)], spec)) for n in range(batch_size)])
    counts = [0] * num_cores()
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        while time.perf_counter() < end:
            model.compute(rows, False)
            counts[number] += batch_size

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return round(sum(counts) / seconds, 1)


def installed_mb(names: list[str]) -> float:
    """The size of these packages and everything they need, as installed here."""
    seen: set[tuple[str, str]] = set()
    sizes: dict[str, int] = {}
    waiting = [Requirement(name) for name in names]
    while waiting:
        requirement = waiting.pop()
        for extra in ["", *requirement.extras]:
            key = (re.sub(r"[-_.]+", "-", requirement.name).lower(), extra)
            if key in seen:
                continue
            seen.add(key)
            try:
                package = importlib.metadata.distribution(key[0])
            except importlib.metadata.PackageNotFoundError:
                continue
            files = [Path(package.locate_file(file)) for file in package.files or []]
            sizes[key[0]] = sum(path.stat().st_size for path in files if path.is_file())
            for text in package.requires or []:
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append(needed)
    if "catseye" in sizes:  # installed in place here
        sizes["catseye"] = sum(path.stat().st_size for path in (ROOT / "src").rglob("*") if path.is_file())
    return round(sum(sizes.values()) / 1e6, 1)


def targets(result: dict) -> list[dict]:
    """Every target whose servers answered, with the wanted and the measured value."""
    small, photos = result["cases"]["small"], result["cases"].get("photos", {"servers": {}})
    servers = small["servers"]
    article, lit = (row if (row := servers.get(name)) and row["32"]["per_s"] else None for name in BASELINES)
    ours = {name: row for name, row in servers.items() if name.startswith("catseye")}
    rows: list[tuple[str, float, str, float]] = []
    for name, row in ours.items():
        at, most = row["32"], row["256"]
        wanted = 9.0 if "int8" in name else 3.0
        if article:
            rows.append((f"{name}: req/s, times the article's", ratio(at, article["32"], "per_s"), ">=", wanted))
            rows.append((f"{name}: p99, times the article's", ratio(at, article["32"], "p99_ms"), "<=", 0.1))
        if lit and "int8" not in name:
            rows.append((f"{name}: req/s, times LitServe's", ratio(at, lit["32"], "per_s"), ">=", 1.5))
        if "int8" in name:
            share = at["per_s"] / small["in_process_limit"][name]
            rows.append((f"{name}: req/s, of the in-process limit", share, ">=", 0.8))
        rows.append((f"{name}: req/s at 256 clients, times those at 32", ratio(most, at, "per_s"), ">=", 0.9))
        rows.append((f"{name}: failures at 256 clients", most["failed"], "<=", 0))
        rows.append((f"{name}: seconds to the first answer", row["first_answer_s"], "<=", 0.6))
        rows.append((f"{name}: MB of memory", row["memory_mb"], "<=", 130))
    base = photos["servers"].get("article")
    for name, row in photos["servers"].items():
        if base and name.startswith("catseye"):
            rows.append((f"photos, {name}: req/s, times the article's", ratio(row["32"], base["32"], "per_s"), ">=", 8))
    rows.append(("MB installed for serving", result["installed_mb"]["catseye"], "<=", 230))
    return [
        {"what": what, "measured": round(value, 3), "wanted": f"{sign} {limit:g}", "met": met(value, sign, limit)}
        for what, value, sign, limit in rows
    ]


def ratio(ours: dict, theirs: dict, key: str) -> float:
    return ours[key] / theirs[key] if theirs[key] else 0.0


def met(value: float, sign: str, limit: float) -> bool:
    return value >= limit if sign == ">=" else value <= limit


def report(result: dict) -> None:
    for case, outcome in result["cases"].items():
        print(f"{case}: {outcome['images']}; in-process limit {outcome['in_process_limit']}")
        for name, row in outcome["servers"].items():
            print(f"  {name}: first answer after {row['first_answer_s']:.2f} s, {row['memory_mb']:.0f} MB")
            for number, at in row.items():
                if isinstance(at, dict):
                    times = f"{at['per_s']:.1f} req/s, p99 {at['p99_ms']:.0f} ms"
                    print(f"    {number} clients: {times}, {at['failed']} failed")
    print("installed MB:", result["installed_mb"])
    for row in result["targets"]:
        print(f"{'met   ' if row['met'] else 'MISSED'} {row['what']}: {row['measured']} (wanted {row['wanted']})")


if __name__ == "__main__":
    main()
