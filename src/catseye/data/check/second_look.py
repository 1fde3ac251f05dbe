"""A second look at pairs with similar thumbnails, to tell if they are copies.

Enters: candidate pairs of `duplicates.py`, thumbnails of the whole set, and the candidates at 64 x 64. Leaves: which
of them are copies. Called by `copies.py`. Studio shots, rotated images with black corners and scans on a plain
background have most of a thumbnail in common. Two questions distinguish them from copies:

1. Without what all images of the set have in common (the mean image, fitted in brightness and contrast), are the
   thumbnails still similar?
2. After alignment (shift and scale, as for a slight crop) and with one brightness and contrast for all channels, does
   one image explain the other in every part? The worst of 7 x 7 cells decides: the residual of a copy is the noise of
   saving, that of another image has a whole part that is different. Plain corners and borders have no residual in
   either case and so decide nothing.

Source: alignment after Lucas and Kanade, "An Iterative Image Registration Technique" (IJCAI 1981), section 4, with
shift and scale per axis instead of a full affine map.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catseye.preprocess import Pixels

FINE_PX = 64
MIN_OWN_CORRELATION = 0.3  # of the thumbnails without the set's mean image
# The residual allowed in the worst cell: grey levels, and a share of the variance of the image around the set's mean.
# The first is for pairs of which at least one was saved with loss (JPEG, WebP), the second for the others.
LOSSY, LOSSLESS = (4.0, 0.08), (2.0, 0.035)
FIRST_SIEVE = 6.0  # times that residual is allowed at 16 x 16
GREY_CHROMA = 6.0  # grey levels of mean difference between channels; below, an image has no colour to compare
_FEW = 8  # images; fewer have no useful mean
_ALIGN_PX = 32
_CELLS = 7
_STEPS = 4
_FURTHEST = np.array([1, 1, 1.5, 1.5], np.float32)  # px of 32: shift, and what a crop of 4 % moves at the edge
_PORTION = 64
_FURTHEST_BEYOND = 64.0  # grey levels

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SetMean:
    """The mean thumbnail of a set, as a sum, so that a pair can be left out."""

    total: NDArray[np.float64]  # (16, 16, 3)
    count: int

    @classmethod
    def of(cls, thumbs: Pixels, selected: NDArray[np.bool_]) -> "SetMean":
        """Of the selected ones of (N, 16, 16, 3)."""
        total = np.zeros(thumbs.shape[1:], np.float64)
        numbers = np.flatnonzero(selected)
        for start in range(0, len(numbers), 4096):
            total += thumbs[numbers[start : start + 4096]].sum(0, dtype=np.float64)
        return cls(total, len(numbers))

    def without(self, first: Floats, second: Floats) -> Floats:
        """The mean of all others, for each of M pairs: (M, 16, 16, 3)."""
        left = self.total[None] - first - second
        result: Floats = (left / max(self.count - 2, 1)).astype(np.float32)
        return result


def own_parts(first: Pixels, second: Pixels, mean: SetMean) -> tuple[Floats, Floats]:
    """The correlation of thumbnails minus the set's mean; their smaller variance.

    Shape: both (M, 16, 16, 3) uint8; returns (M,) from -1 to 1, and (M,) in grey levels squared.
    """
    a, b = first.astype(np.float32), second.astype(np.float32)
    common = mean.without(a, b)
    flat = [_centred(x.reshape(len(x), -1, 3)) for x in (a, b, common)]
    if mean.count >= _FEW:
        flat[:2] = [_without_part(x, flat[2]) for x in flat[:2]]
    squares = [(x * x).sum(1) for x in flat[:2]]
    alike = (flat[0] * flat[1]).sum(1) / np.maximum(np.sqrt(squares[0] * squares[1]), 1e-6)
    return alike, np.minimum(*squares) / flat[0].shape[1]


def _centred(x: Floats) -> Floats:
    """Every channel minus its mean, all in one row."""
    centred: Floats = (x - x.mean(1, keepdims=True)).reshape(len(x), -1)
    return centred


def _without_part(x: Floats, part: Floats) -> Floats:
    share = (x * part).sum(1) / np.maximum((part * part).sum(1), 1e-6)
    result: Floats = x - share[:, None] * part
    return result


def tolerances(variances: Floats, sides_px: NDArray[np.int32], lossless: NDArray[np.bool_]) -> Floats:
    """The residual allowed in the worst cell, in grey levels squared, (M,).

    `variances` are those of `own_parts`. `sides_px` is the shortest side of the smaller image of each pair: saving and
    scaling change a small image more. `lossless`: both files have lossless formats.
    """
    scale = np.maximum(FINE_PX / np.maximum(sides_px, 1), 1) ** 2
    noise, share = (np.where(lossless, *pair) for pair in zip(LOSSLESS, LOSSY, strict=True))
    result: Floats = ((noise**2 + share * variances) * scale).astype(np.float32)
    return result


def same_in_every_part(first: Pixels, second: Pixels, tolerance: Floats) -> NDArray[np.bool_]:
    """Whether one image of each of M pairs explains the other in every part.

    Shape: both (M, S, S, 3) uint8 of S = 16 or 64, already mirrored if necessary; returns (M,).
    """
    result = np.zeros(len(first), bool)
    size = _PORTION * max(FINE_PX // first.shape[1], 1)
    for start in range(0, len(first), size):
        part = slice(start, start + size)
        a, b = (x[part].astype(np.float32) - 128 for x in (first, second))
        allowed = tolerance[part]
        left = worst_cells(a, b)
        # What was clipped in one image can be explained from the other.
        again = np.flatnonzero((left > allowed) & (left < 30 * allowed))
        left[again] = np.minimum(left[again], worst_cells(b[again], a[again]))
        result[part] = left <= allowed
    return result


def worst_cells(source: Floats, target: Floats) -> Floats:
    """The mean square of the target's residual in its worst cell, (M,).

    The residual is what the aligned source does not explain. Every pixel counts for brightness, only the mean of a
    cell for colour, since JPEG keeps little more of it.

    Shape: both (M, S, S, 3), from -128 to 127.
    """
    side = target.shape[1]
    if not len(target):
        return np.zeros(0, np.float32)
    moving, fixed = (_smooth(_smooth(_grey(x) if side <= _ALIGN_PX else _halve(_grey(x)))) for x in (source, target))
    clipped = (np.abs(target + 0.5) >= 126).astype(np.float32)  # the true value may lie beyond
    warp = _align(moving, fixed, _brightest(clipped)) * (side / moving.shape[1])
    colourless = (_chroma(source) < GREY_CHROMA) | (_chroma(target) < GREY_CHROMA)
    # Clipped parts can mislead the alignment, and most copies need none.
    return np.minimum(*(_worst_cell(moved, target, clipped, colourless) for moved in (source, _warped(source, warp))))


def _worst_cell(source: Floats, target: Floats, clipped: Floats, colourless: NDArray[np.bool_]) -> Floats:
    side = target.shape[1]
    rest = _unexplained(source, target, clipped)
    if colourless.any():
        a, b, none = (_grey(x[colourless])[..., None] for x in (source, target, clipped))
        rest[colourless] = _unexplained(a, b, none)
    rest = _smooth(_smooth(rest))
    border = side // 16  # what alignment may move out of the image
    rest = rest[:, border:-border, border:-border]
    width = rest.shape[1] // _CELLS
    light = _grey(rest)
    colour = np.stack([_cell_means(rest[..., channel] - light, width) for channel in range(3)])
    left = _cell_means(light * light, width) + (colour * colour).mean(0)
    result: Floats = left.reshape(len(left), -1).max(1)
    return result


# Sums over the three channels are written out: NumPy is slow at reducing an axis that short.
def _grey(x: Floats) -> Floats:
    result: Floats = (x[..., 0] + x[..., 1] + x[..., 2]) * np.float32(1 / 3)
    return result


def _brightest(x: Floats) -> Floats:
    return np.maximum(np.maximum(x[..., 0], x[..., 1]), x[..., 2])


def _cell_means(x: Floats, width: int) -> Floats:
    rows = x.reshape(len(x), _CELLS, width, -1).sum(2)
    result: Floats = rows.reshape(len(x), _CELLS, _CELLS, width).sum(3) / np.float32(width * width)
    return result


def _chroma(x: Floats) -> Floats:
    result: Floats = (_brightest(x) + _brightest(-x)).mean((1, 2))
    return result


def _smooth(x: Floats) -> Floats:
    """Blurred by 1-2-1 along both axes, which removes differences of resampling."""
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1)] + [(0, 0)] * (x.ndim - 3), "edge")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    result: Floats = ((rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 16).astype(np.float32, copy=False)
    return result


def _halve(x: Floats) -> Floats:
    total = x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]
    result: Floats = (total / 4).astype(np.float32, copy=False)
    return result


def _align(source: Floats, target: Floats, clipped: Floats) -> Floats:
    """Shift and scale, each right and down, in px at the edge, to the target: (M, 4)."""
    num, side, _ = source.shape
    position = ((np.arange(side) - (side - 1) / 2) / (side / 2)).astype(np.float32)
    warp = np.zeros((num, 4), np.float32)
    trust = _trust(clipped if clipped.shape[1] == side else _halve(clipped), blurs=1)
    for _ in range(_STEPS):
        moved = _warped(source[..., None], warp)[..., 0]
        down, right = np.gradient(moved, axis=(1, 2))
        columns = np.stack(
            [moved, np.ones_like(moved), right, down, right * position[None, None], down * position[None, :, None]],
            axis=3,
        ).reshape(num, -1, 6)
        step = _solve(columns, target.reshape(num, -1), trust.reshape(num, -1))
        gain = np.where(np.abs(step[:, :1]) < 0.2, np.inf, step[:, :1])
        warp = np.clip(warp + np.clip(step[:, 2:] / gain, -1, 1), -_FURTHEST, _FURTHEST)
    return warp


def _trust(clipped: Floats, blurs: int) -> Floats:
    """Weights: low for a clipped pixel, and for one that was blurred with it."""
    for _ in range(blurs):
        clipped = _smooth(clipped)
    result: Floats = np.where(clipped > 0.001, 0.02, 1.0).astype(np.float32)
    return result


def _solve(columns: Floats, wanted: Floats, weights: Floats) -> Floats:
    """Weighted least squares, one problem a row."""
    weighted = np.swapaxes(columns * weights[..., None], 1, 2)
    squares = weighted @ columns
    ridge = np.einsum("nii->ni", squares) * 1e-4 + 1e-3
    squares += ridge[..., None] * np.eye(squares.shape[1], dtype=np.float32)
    result: Floats = np.linalg.solve(squares, weighted @ wanted[..., None])[..., 0]
    return result


def _warped(x: Floats, warp: Floats) -> Floats:
    """Images sampled where `warp` says, bilinearly. Shape: (M, S, S, C) and (M, 4)."""
    num, side = x.shape[:2]
    at = np.arange(side, dtype=np.float32)
    position = (at - (side - 1) / 2) / (side / 2)
    rows = np.arange(num)[:, None]
    down = np.clip(at + warp[:, 1:2] + warp[:, 3:] * position, 0, side - 1.001)
    above = down.astype(np.int64)
    part = (down - above)[:, :, None, None].astype(np.float32)
    x = x[rows, above] * (1 - part) + x[rows, above + 1] * part
    right = np.clip(at + warp[:, :1] + warp[:, 2:3] * position, 0, side - 1.001)
    before = right.astype(np.int64)
    part = (right - before)[:, None, :, None].astype(np.float32)
    x = np.swapaxes(x, 1, 2)
    result: Floats = np.swapaxes(x[rows, before], 1, 2) * (1 - part) + np.swapaxes(x[rows, before + 1], 1, 2) * part
    return result


def _unexplained(source: Floats, target: Floats, clipped: Floats) -> Floats:
    """The target minus the source in its best brightness and contrast, clipped.

    A target pixel that averages several pixels of the file, some of them clipped, is nearer to the middle than the fit,
    by at most what the fit exceeds white or black beside it: that much is explained too.
    """
    num = len(source)
    smooth = _smooth(_smooth(source)).reshape(num, -1)
    columns = np.stack([smooth, np.ones_like(smooth)], axis=2)
    wanted, weights = _smooth(_smooth(target)).reshape(num, -1), _trust(clipped, blurs=2).reshape(num, -1)
    fit = _solve(columns, wanted, weights)[..., None, None]
    fitted: Floats = source * fit[:, :1] + fit[:, 1:]
    rest: Floats = target - np.clip(fitted, -128, 127)
    beyond_white = _largest_beside(np.clip(fitted - 127, 0, _FURTHEST_BEYOND))
    beyond_black = _largest_beside(np.clip(-128 - fitted, 0, _FURTHEST_BEYOND))
    rest += np.minimum(np.maximum(-rest, 0), beyond_white)
    rest -= np.minimum(np.maximum(rest, 0), beyond_black)
    return rest


def _largest_beside(x: Floats) -> Floats:
    """The largest of each pixel and its eight neighbours."""
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], "edge")
    rows = np.maximum(np.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    result: Floats = np.maximum(np.maximum(rows[:, :, :-2], rows[:, :, 1:-1]), rows[:, :, 2:])
    return result
