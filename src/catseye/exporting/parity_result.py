"""What the parity gate allows and what it found.

Enters: the comparison of `parity.py`. Leaves: lines for a terminal, JSON, and the manifest's `Parity`. Called by
`parity.py`, which makes them, and by what writes and describes exported files.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.exporting.familiarity_proof import FamiliarityRow
from catseye.exporting.map_proof import MapRow
from catseye.manifest import Parity

Answers = NDArray[np.float64]


@dataclass(frozen=True)
class ParityLimits:
    """The tolerance of a format.

    `agreement` is the share of equal top-1 answers, `max_difference` the largest difference of a probability.
    `max_drop` is set for a file that computes in fewer bits, so that its probabilities differ: then the accuracy may
    fall by that much (a share: 0.003 is 0.3 points), and the other two do not count. Few images cannot show so small a
    loss, so a file is refused only if the loss is certainly larger: its 95% interval begins above the budget.
    """

    agreement: float = 1.0
    max_difference: float = 1e-4
    max_drop: float | None = None

    def to_line(self) -> str:
        """The tolerance in words."""
        if self.max_drop is not None:
            return f"an accuracy at most {100 * self.max_drop:g} points below the run's"
        return f"{self.agreement:.0%} equal answers, |Δp| ≤ {self.max_difference:g} (difference of a probability)"


@dataclass(frozen=True)
class BatchRow:
    """The comparison at one batch size."""

    batch_size: int
    max_difference: float
    mean_difference: float
    agreement: float


@dataclass(frozen=True)
class Score:
    """Accuracy with its 95% interval, and macro F1."""

    accuracy: float
    low: float
    high: float
    macro_f1: float


@dataclass(frozen=True)
class ParityResult:
    """The comparison of a run and a file.

    `worst` has the images that differ most: name, difference, run's and file's answer. `drop` is the run's accuracy
    minus the file's, with its 95% interval; both saw the same images. If those are few, `more` is the same with
    `num_more` training images added, on which a changed answer counts as a loss. `familiarity` is None if the run has
    none, `heat_map` if the file has no map.
    """

    split: str
    num_images: int
    rows: tuple[BatchRow, ...]
    run: Score
    file: Score
    worst: tuple[tuple[str, float, str, str], ...]
    expected: Answers
    drop: tuple[float, float, float]
    num_more: int = 0
    more: tuple[float, float, float] | None = None
    familiarity: FamiliarityRow | None = None
    heat_map: MapRow | None = None

    @property
    def smallest_drop(self) -> float:
        """The certain loss of accuracy: the larger lower end of the two intervals."""
        return max(self.drop[1], self.more[1] if self.more else -1.0)

    @property
    def max_difference(self) -> float:
        """Over all batch sizes, images and classes."""
        return max(row.max_difference for row in self.rows)

    @property
    def mean_difference(self) -> float:
        """The mean of the batch sizes' means."""
        return float(np.mean([row.mean_difference for row in self.rows]))

    @property
    def agreement(self) -> float:
        """Share of equal top-1 answers at the batch size where it is smallest."""
        return min(row.agreement for row in self.rows)

    def to_manifest(self, runtime: str) -> Parity:
        """What goes into the file."""
        return Parity(
            split=self.split,
            num_images=self.num_images,
            batch_sizes=tuple(row.batch_size for row in self.rows),
            max_difference=self.max_difference,
            mean_difference=self.mean_difference,
            agreement=self.agreement,
            run_accuracy=self.run.accuracy,
            file_accuracy=self.file.accuracy,
            run_macro_f1=self.run.macro_f1,
            file_macro_f1=self.file.macro_f1,
            runtime=runtime,
            accuracy_drop_95_interval=self.drop[1:],
            familiarity_difference=self.familiarity.max_difference if self.familiarity else None,
            heat_map_difference=self.heat_map.max_difference if self.heat_map else None,
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "split": self.split,
            "num_images": self.num_images,
            "max_difference": self.max_difference,
            "mean_difference": self.mean_difference,
            "agreement": self.agreement,
            "batches": [vars(row) for row in self.rows],
            "run": vars(self.run),
            "file": vars(self.file),
            "accuracy_drop": self.drop[0],
            "accuracy_drop_95_interval": list(self.drop[1:]),
            "num_more_images": self.num_more,
            "changed_answers_95_interval": list(self.more[1:]) if self.more else None,
            "macro_f1_drop": self.run.macro_f1 - self.file.macro_f1,
            "familiarity": vars(self.familiarity) if self.familiarity else None,
            "heat_map": vars(self.heat_map) if self.heat_map else None,
        }

    def to_line(self) -> str:
        """One line for a terminal."""
        more = "".join(row.to_line() for row in (self.familiarity, self.heat_map) if row is not None)
        return (
            f"parity on {self.num_images} {self.split} images, from file bytes: {self.agreement:.2%} equal "
            f"answers, |Δp| (difference of a probability) at most {self.max_difference:.1e}, "
            f"mean {self.mean_difference:.1e}{more}"
        )
