"""How the time of a training step is distributed over operators.

    python benchmarks/profile_step.py FOLDER [--variant classic] [--steps 5]

FOLDER and the variants are those of train_speed.py. Writes benchmarks/results/profile-VARIANT.json: for every
operator its self CPU time (without the operators that it calls), share and number of calls per step, most
expensive first, as torch.profiler counts them. The profiler itself takes a few per cent; compare shares, not seconds.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile
from train_result import commit
from train_speed import link_some, shown_command
from train_variants import ENVIRONMENT, make_steps, parse, set_process

from catseye.environment import environment
from catseye.runs import write_json

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--variant", default="classic")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--per-class", type=int, default=200, help="training images, so that the process starts fast")
    options = parser.parse_args()
    _, switches = parse(options.variant)
    if switches & ENVIRONMENT.keys():
        parser.error(f"set these before you start the process: {sorted(switches & ENVIRONMENT.keys())}")
    set_process(switches)
    with tempfile.TemporaryDirectory() as temporary:
        steps = make_steps(options.variant, link_some(options.folder, Path(temporary), options.per_class))
        for _ in range(options.warm_up):
            next(steps)
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            begun = time.perf_counter()
            images = sum(next(steps) for _ in range(options.steps))
            wall_s = time.perf_counter() - begun
    rows = by_operator(seen, options.steps)
    result = {
        "command": shown_command("profile_step.py", options.folder),
        "n": options.steps,
        "seeds": [0],
        "variant": options.variant,
        "images_per_s_profiled": images / wall_s,
        "wall_s_per_step": wall_s / options.steps,
        "operators": rows,
        "commit": commit(),
        "environment": environment(),
    }
    write_json(HERE / "results" / f"profile-{options.variant}.json", result)
    shown = Table("operator", "share", "ms/step", "calls/step")
    for row in rows[:25]:
        shown.add_row(row["operator"], f"{row['share']:.1%}", f"{row['self_ms']:.2f}", f"{row['calls']:g}")
    Console().print(shown)


def by_operator(seen: profile, steps: int) -> list[dict[str, Any]]:
    """Operators with their share of all self time, largest first."""
    events = sorted(seen.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total_us = sum(event.self_cpu_time_total for event in events)
    return [
        {
            "operator": event.key,
            "share": event.self_cpu_time_total / total_us,
            "self_ms": event.self_cpu_time_total / 1000 / steps,
            "calls": event.count / steps,
        }
        for event in events
        if event.self_cpu_time_total / total_us >= 0.0005
    ]


if __name__ == "__main__":
    main()
