"""The run on which chapter 6 of the lab opens, recorded anew: `python -m docs.recorded_run [FILE]`, at the root.

It is what the page itself starts with these controls, told by the same events; steps that come close together are left
out, and every number keeps four digits. Half a minute.
"""

import json
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import catseye
from catseye.lab.bench import Workbench
from catseye.lab.chapters.training.answers import RECORDED, Start, answer_run

ASKED = Start(augmentation="shifts", epochs=12)
EVERY_S = 0.25


def record() -> dict[str, Any]:
    """Run it, and keep what it tells."""
    began = time.monotonic()
    events: list[dict[str, Any]] = []
    last = -EVERY_S
    for event in answer_run(Workbench(), ASKED):
        at_s = round(time.monotonic() - began, 2)
        if event["kind"] == "wait" or (event["kind"] == "step" and at_s - last < EVERY_S):
            continue
        if event["kind"] == "step":
            last = at_s
        events.append({**short(event), "at_s": at_s})
    if events[-1]["kind"] != "end":
        raise SystemExit(f"the run did not end well: {events[-1]}")
    return {
        "asked": ASKED.model_dump(),
        "made_by": "python -m docs.recorded_run",
        "made_on": datetime.now(UTC).date().isoformat(),
        "versions": {"catseye": catseye.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "machine": platform.machine(),
        "events": events,
    }


def short(value: Any) -> Any:
    """Numbers of four digits: the page shows no more."""
    if isinstance(value, dict):
        return {key: short(one) for key, one in value.items()}
    if isinstance(value, list):
        return [short(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else RECORDED
    out.write_text(json.dumps(record(), separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{out}  {out.stat().st_size / 1000:.0f} kB")
