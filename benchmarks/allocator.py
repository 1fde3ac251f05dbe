"""The effect of the C library's memory settings on training, compared in pairs.

Measures speed and peak memory of each setting.

    python benchmarks/allocator.py [--rounds 3] [--variants as-it-comes keep-all …] [--workloads photos images]

Every variant trains the same network on the same noise in a fresh process, epochs of training steps and an evaluation
each, as `catseye train` does; the rounds are interleaved, each beginning one variant further. A ratio compares two
processes of one round. Each process computes on one thread, so that `images_per_cpu_s` includes no waiting.
Writes benchmarks/results/allocator.json. glibc only.
"""

import argparse
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -3, -1, -2, -4, -8  # malloc.h
ENDLESS = 2**31 - 1

# Variant -> options of mallopt; "trim": malloc_trim(0) after every pass over the images.
VARIANTS: dict[str, dict[Any, int]] = {
    "as-it-comes": {},
    "keep-all": {MMAP_MAX: 0, TRIM_THRESHOLD: ENDLESS, TOP_PAD: 2**28},
    "keep-all+trim": {MMAP_MAX: 0, TRIM_THRESHOLD: ENDLESS, TOP_PAD: 2**28, "trim": 1},
    "keep-64+trim": {MMAP_MAX: 0, TRIM_THRESHOLD: 2**26, TOP_PAD: 2**24, "trim": 1},
    "large-by-mmap+trim": {MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: ENDLESS, TOP_PAD: 2**26, "trim": 1},
}
BASELINE = "as-it-comes"
# Name -> network, side, batch and evaluation batch, training images, held-out images.
WORKLOADS = {
    "photos": ("resnet18", 224, 16, 32, 36, 32),
    "images": ("residual", 32, 64, 128, 140, 128),
}
EPOCHS = 2


def work(variant: str, workload: str) -> dict[str, float]:
    """Train in this process."""
    libc = ctypes.CDLL("libc.so.6")
    options = dict(VARIANTS[variant])
    trim = options.pop("trim", 0)
    for key, value in options.items():
        assert libc.mallopt(key, value) == 1, (key, value)

    import torch

    from catseye.models import registry

    name, side, batch, evaluation_batch, num_training, num_held_out = WORKLOADS[workload]
    torch.manual_seed(0)
    model = registry.create(name, num_classes=4, in_channels=3, input_px=side).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    labels = torch.arange(max(num_training, num_held_out)) % 4
    spent, images, after = 0.0, 0, []
    first_faults, began = 0, time.perf_counter()
    for epoch in range(EPOCHS):
        begun = time.process_time()
        if epoch == 1:  # the first one maps memory in
            spent, images, began = 0.0, 0, time.perf_counter()
            first_faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        model.train()
        for start in range(0, num_training, batch):
            target = labels[start : min(start + batch, num_training)]
            x = torch.rand(len(target), 3, side, side).to(memory_format=torch.channels_last)
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(model(x), target).backward()
            optimizer.step()
            images += len(target)
        if trim:
            libc.malloc_trim(0)
        evaluate(model, num_held_out, evaluation_batch, side)
        images += num_held_out
        if trim:
            libc.malloc_trim(0)
        spent += time.process_time() - begun
        after.append(resident_mb())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "images_per_cpu_s": images / spent,
        "images_per_s": images / (time.perf_counter() - began),
        "peak_mb": usage.ru_maxrss / 1024,
        "resident_mb_after_each_epoch": after,
        "page_faults_per_image": (usage.ru_minflt - first_faults) / images,
    }


def evaluate(model: Any, num_images: int, batch_size: int, side: int) -> None:
    import torch

    model.eval()
    with torch.inference_mode():
        for start in range(0, num_images, batch_size):
            size = min(batch_size, num_images - start)
            model(torch.rand(size, 3, side, side).to(memory_format=torch.channels_last))


def resident_mb() -> float:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def run_rounds(variants: list[str], workloads: list[str], rounds: int) -> list[dict[str, Any]]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    clean["OMP_NUM_THREADS"] = "1"
    runs = []
    for number in range(rounds):
        first = number % len(variants)
        for workload in workloads:
            for variant in variants[first:] + variants[:first]:
                command = [sys.executable, __file__, "--one", variant, workload]
                done = subprocess.run(command, env=clean, capture_output=True, text=True, check=True)
                row = json.loads(done.stdout)
                runs.append({"round": number, "workload": workload, "variant": variant, **row})
                speed, peak = row["images_per_cpu_s"], row["peak_mb"]
                print(f"{number} {workload:8} {variant:20} {speed:7.1f} img/CPU s {peak:7.0f} MB", file=sys.stderr)
    return runs


def summarise(variant: str, workload: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    mine = [run for run in runs if (run["variant"], run["workload"]) == (variant, workload)]
    base = {run["round"]: run for run in runs if (run["variant"], run["workload"]) == (BASELINE, workload)}

    def spread(values: list[float]) -> dict[str, float]:
        return {"median": statistics.median(values), "min": min(values), "max": max(values)}

    return {
        "workload": workload,
        "variant": variant,
        "images_per_cpu_s": spread([run["images_per_cpu_s"] for run in mine]),
        "speed_ratio": spread([run["images_per_cpu_s"] / base[run["round"]]["images_per_cpu_s"] for run in mine]),
        "peak_mb": spread([run["peak_mb"] for run in mine]),
        "peak_ratio": spread([run["peak_mb"] / base[run["round"]]["peak_mb"] for run in mine]),
        "resident_mb_after_last_epoch": spread([run["resident_mb_after_each_epoch"][-1] for run in mine]),
        "page_faults_per_image": spread([run["page_faults_per_image"] for run in mine]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--one", nargs=2, metavar=("VARIANT", "WORKLOAD"), help="in this process; prints JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(work(*options.one)))
        return
    from train_result import commit

    from catseye.environment import environment
    from catseye.runs import write_json

    variants = list(dict.fromkeys([BASELINE, *options.variants]))
    runs = run_rounds(variants, options.workloads, options.rounds)
    result = {
        "command": " ".join(["python", "benchmarks/allocator.py", *sys.argv[1:]]),
        "n": options.rounds,
        "seeds": [0],
        "baseline": BASELINE,
        "variants": [summarise(variant, workload, runs) for workload in options.workloads for variant in variants],
        "rounds": runs,
        "commit": commit(),
        "environment": environment(),
    }
    write_json(Path(__file__).parent / "results" / "allocator.json", result)


if __name__ == "__main__":
    main()
