"""Compares the familiarity of the exported file with the run's, image by image.

Enters: both familiarities of the proof's images. Leaves: `FamiliarityRow`; `require_familiarity` raises if they differ
too much. Called by `parity.py`. Files of fewer bits are not judged: rounding changes every feature a little.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catseye.errors import CatseyeError

FAMILIARITY_TOLERANCE = 1e-3  # of a cosine; known and unknown images differ by several hundredths or more
LARGEST = 2.0  # the largest difference of two cosines; also counted for NaN or a missing value


@dataclass(frozen=True)
class FamiliarityRow:
    """The largest difference of a familiarity over all batch sizes, and its image.

    `file` is None if the file gives no finite number for it.
    """

    max_difference: float
    name: str
    run: float
    file: float | None

    def to_line(self) -> str:
        """The end of the proof's line for a terminal."""
        return f", familiarity off by at most {self.max_difference:.1e}"


def compare_familiarity(
    run: NDArray[np.float64], file: Sequence[NDArray[np.floating] | None], names: Sequence[str]
) -> FamiliarityRow:
    """Compare the familiarities of the run and of the file.

    `file` has the file's per batch size, or None if it has no such output.

    Shape: (N,) each.
    """
    rows = [np.full(len(run), np.nan) if values is None else values.astype(np.float64) for values in file]
    apart = np.nan_to_num(np.abs(np.stack(rows) - run), nan=LARGEST, posinf=LARGEST)
    batch, image = np.unravel_index(int(apart.argmax()), apart.shape)
    file_value = float(rows[int(batch)][image])
    finite = file_value if np.isfinite(file_value) else None
    return FamiliarityRow(float(apart[batch, image]), names[int(image)], float(run[image]), finite)


def require_familiarity(row: FamiliarityRow, file: str) -> None:
    """Raise unless the file's familiarity equals the run's within the tolerance.

    Raises:
        CatseyeError: it does not; names the worst image.

    """
    if row.max_difference <= FAMILIARITY_TOLERANCE:
        return
    file_value = "no number" if row.file is None else f"{row.file:.4f}"
    raise CatseyeError(
        f"the exported file does not detect unknown images as the run does, so {file} was not written; its "
        f"familiarity may differ by {FAMILIARITY_TOLERANCE:g}; got {row.max_difference:.4g} for {row.name}: the run "
        f"says {row.run:.4f}, the file {file_value}; try another format with --to"
    )
