"""Where results and remarks go: results to stdout, everything else to stderr; `--json` bypasses rich."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape

stdout = Console(soft_wrap=True)
stderr = Console(stderr=True, soft_wrap=True)


def note(line: str) -> None:
    """Say something beside the results, on stderr."""
    stderr.print(f"- {line}", highlight=False, markup=False)


def print_json(content: Any) -> None:
    """Write results that a program reads; not through rich, which would colour and wrap them."""
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def headline(metrics: Any) -> str:
    """The one number of a measurement, with its interval and how many images it rests on.

    Where it is not above guessing, that comes first.
    """
    from catseye.evaluation.guessing import guessing_sentence

    low, high = metrics.accuracy_low, metrics.accuracy_high
    score = f"accuracy {metrics.accuracy:.2%} (95 % interval {low:.2%} – {high:.2%}, n = {metrics.num_images:,})"
    nothing = guessing_sentence(metrics)
    return f"{escape(nothing)}; {score}" if nothing else score
