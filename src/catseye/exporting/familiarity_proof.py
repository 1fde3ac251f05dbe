"""Does the exported file call the same images strangers? Its familiarity is held against the run's, image by image.

Enters: both familiarities of the proof's images. Leaves: `FamiliarityRow`; `require_familiarity` raises where they lie
too far apart. Called by `parity.py`. Files of fewer bits are not judged: rounding moves every feature a little.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catseye.errors import CatseyeError

FAMILIARITY_TOLERANCE = 1e-3  # of a cosine; between own images and strangers lie some hundredths and more
LARGEST = 2.0  # difference of two cosines: what an answer that is no number, or is missing, counts as


@dataclass(frozen=True)
class FamiliarityRow:
    """The largest difference of a familiarity over all batch sizes, and the image that has it.

    `file` is None where the file gives no number for it.
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
    """`file` has what the file says, once per batch size; None where it has no such output.

    Shape: (N,) each.
    """
    rows = [np.full(len(run), np.nan) if one is None else one.astype(np.float64) for one in file]
    apart = np.nan_to_num(np.abs(np.stack(rows) - run), nan=LARGEST, posinf=LARGEST)
    batch, image = np.unravel_index(int(apart.argmax()), apart.shape)
    said = float(rows[int(batch)][image])
    finite = said if np.isfinite(said) else None
    return FamiliarityRow(float(apart[batch, image]), names[int(image)], float(run[image]), finite)


def require_familiarity(found: FamiliarityRow, file: str) -> None:
    """Raise unless the file says "unknown" where the run does.

    Raises:
        CatseyeError: it does not; names the worst image.

    """
    if found.max_difference <= FAMILIARITY_TOLERANCE:
        return
    said = "no number" if found.file is None else f"{found.file:.4f}"
    raise CatseyeError(
        f"the exported file does not know strangers as the run does, so {file} was not written; its familiarity may "
        f"differ by {FAMILIARITY_TOLERANCE:g}; got {found.max_difference:.4g} for {found.name}: the run says "
        f"{found.run:.4f}, the file {said}; try another format with --to"
    )
