"""Runs with and without corrections, measured on the same corrected images.

Enters: each run's data.json, and its answers. Leaves: labels as people corrected them, answers in the same classes, and
a sentence that says what the corrections changed. Called by compare.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.counting import count
from catseye.data.sources.corrections import Standing, read_corrections, standing
from catseye.evaluation.measure import MeasuredModel
from catseye.evaluation.statistics import mcnemar, paired_interval
from catseye.runs import CORRECTIONS_FILE, open_run


@dataclass(frozen=True)
class CorrectionsWorth:
    """The difference that corrections made from one run to another.

    Shares are 0 to 1; `low` and `high` are the interval of the difference, `p` is from McNemar's test.
    """

    before: str
    after: str
    num_corrections: int
    num_images: int
    accuracy_before: float
    accuracy_after: float
    low: float
    high: float
    p: float

    def sentence(self) -> str:
        """The result as one line."""
        return (
            f"{count(self.num_corrections, 'correction')}, accuracy {self.accuracy_before * 100:.1f} → "
            f"{self.accuracy_after * 100:.1f} % on the same {count(self.num_images, 'corrected image')} (difference "
            f"{self.low * 100:+.1f} to {self.high * 100:+.1f} points, paired, p = {self.p:.2g})"
        )


def data_without_corrections(path: Path) -> str:
    """The fingerprint of a run's DATA before any corrections; empty for a file."""
    if not path.is_dir():
        return ""
    recorded = open_run(path).data
    return str(recorded.get("corrections", {}).get("data_sha256") or recorded["sha256"])


def decisions_of(path: Path) -> tuple[int, Standing] | None:
    """The number of decisions a run was trained with, and which; None if none."""
    kept = path / CORRECTIONS_FILE
    if not path.is_dir() or not open_run(path).data.get("corrections"):
        return None
    decided = standing(read_corrections(kept)[0])
    return len(decided.by_digest) + len(decided.merges), decided


def latest_corrected(measurements: Sequence[MeasuredModel]) -> int:
    """The index of the run with most decisions, whose labels are used for all."""
    sizes = [(decisions_of(measurement.model.path) or (0, None))[0] for measurement in measurements]
    return int(np.argmax(sizes))


def in_classes_of(measurement: MeasuredModel, reference: MeasuredModel) -> NDArray[np.int64]:
    """The class of the reference for each column of `measurement`.

    Classes are matched by name and by the reference's merges; -1: none matches.
    """
    names = reference.model.manifest.classes
    decisions = decisions_of(reference.model.path)
    merged = [decisions[1].label_of("", name) if decisions else name for name in measurement.model.manifest.classes]
    return np.array([names.index(name) if name in names else -1 for name in merged], np.int64)


def worth_of_corrections(
    measurements: Sequence[MeasuredModel], right: Sequence[NDArray[np.bool_]], common: int
) -> list[CorrectionsWorth]:
    """The effect of corrections between neighbouring runs.

    One result for each pair whose second run has decisions that the first does not have.
    """
    results: list[CorrectionsWorth] = []
    for old, new in zip(range(len(measurements) - 1), range(1, len(measurements)), strict=True):
        before, after = decisions_of(measurements[old].model.path), decisions_of(measurements[new].model.path)
        if after is None or (before is not None and before[0] == after[0]):
            continue
        first_only, second_only = int((right[old] & ~right[new]).sum()), int((right[new] & ~right[old]).sum())
        low, high = paired_interval(first_only, second_only, common)
        results.append(
            CorrectionsWorth(
                str(measurements[old].model.path),
                str(measurements[new].model.path),
                after[0] - (before[0] if before else 0),
                common,
                float(right[old].mean()),
                float(right[new].mean()),
                low,
                high,
                mcnemar(first_only, second_only),
            )
        )
    return results


def plain_worth(results: Sequence[CorrectionsWorth]) -> list[dict[str, Any]]:
    """As plain JSON types."""
    return [{**vars(result), "sentence": result.sentence()} for result in results]
