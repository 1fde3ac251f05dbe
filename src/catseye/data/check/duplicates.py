"""Similar images: candidates by a perceptual hash, confirmed by thumbnails.

Enters: thumbnails (N, 16, 16, 3) of upright images. Leaves: `Twins`, the pairs that show the same. Called by
`copies.py`. Both steps are computed for all images at once, and neither compares all pairs: the 64-bit hash is cut into
four bands of 16 bits, and only images that differ in at most `BAND_RADIUS` bits of a band are compared. So all pairs up
to a Hamming distance of 4 * (BAND_RADIUS + 1) - 1 are compared (pigeonhole principle).

Source: hash after Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), section 3.2;
here the sign of 64 low frequencies without the constant one, so that brightness and contrast change nothing and a
mirror image flips a known set of bits. Search: Norouzi, Punjani, Fleet, "Fast Search in Hamming Space with
Multi-Index Hashing" (CVPR 2012), section 2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from catseye.preprocess import Pixels

THUMB_PX = 16
NUM_BANDS, BAND_BITS = 4, 16
BAND_RADIUS = 2
MAX_DISTANCE = NUM_BANDS * (BAND_RADIUS + 1) - 1  # bits of 64
MIN_CORRELATION = 0.92  # of the thumbnails' values; docs/check.md has the measurement behind these numbers
MIN_MIRRORED = 0.95  # higher: objects seen from the side look like their mirror images
CROWD = 500  # of the images that share a band, each is compared with at most this many
_PORTION = 2_000_000  # pairs compared at a time

Hashes = NDArray[np.uint64]
Pairs = NDArray[np.int64]


@dataclass(frozen=True)
class Twins:
    """Pairs of images that show the same.

    `pairs` (M, 2) numbers of images, the smaller first; `correlations` (M,) 0 to 1, the similarity of their
    thumbnails; `mirrored` (M,) True if one is the mirror image of the other. `crowded` is the number of images
    that share a band of their hash with more others than they were compared with.
    """

    pairs: Pairs
    correlations: NDArray[np.float32]
    mirrored: NDArray[np.bool_]
    crowded: int = 0


def find_twins(thumbs: Pixels, selected: NDArray[np.bool_], *, mirrored: bool = True) -> Twins:
    """The pairs of selected images that show the same.

    Brightness, contrast and small shifts are ignored.

    Shape: thumbs (N, 16, 16, 3) uint8, selected (N,) bool.
    """
    numbers = np.flatnonzero(selected)
    hashes = perceptual_hashes(thumbs[numbers])
    pairs, crowded = close_pairs(hashes)
    parts = [_confirmed(thumbs, numbers[pairs], mirror=False)]
    if mirrored:
        pairs, more = close_pairs(hashes, MIRROR_MASK)
        parts.append(_confirmed(thumbs, numbers[pairs], mirror=True))
        crowded = max(crowded, more)
        # A symmetric image is its own mirror image: such pairs count once.
        parts[1] = _without(parts[1], parts[0].pairs)
    return Twins(
        np.concatenate([part.pairs for part in parts]),
        np.concatenate([part.correlations for part in parts]),
        np.concatenate([part.mirrored for part in parts]),
        crowded,
    )


def _cosines() -> NDArray[np.float32]:
    """The orthogonal discrete cosine transform (type II), (frequency, position)."""
    frequency, position = np.arange(THUMB_PX)[:, None], np.arange(THUMB_PX)[None]
    matrix = np.cos(np.pi * (2 * position + 1) * frequency / (2 * THUMB_PX)) * np.sqrt(2 / THUMB_PX)
    matrix[0] *= np.sqrt(0.5)
    result: NDArray[np.float32] = matrix.astype(np.float32)
    return result


def _low_frequencies() -> NDArray[np.int64]:
    """The 64 lowest (vertical, horizontal) frequencies except (0, 0), band by band.

    Bits of low frequencies are more stable, so every band gets its share of them.
    """
    everything = [(u, v) for u in range(THUMB_PX) for v in range(THUMB_PX) if u + v]
    lowest = sorted(everything, key=lambda pair: (sum(pair), abs(pair[0] - pair[1]), pair))[: NUM_BANDS * BAND_BITS]
    return np.array(lowest).reshape(BAND_BITS, NUM_BANDS, 2).swapaxes(0, 1).reshape(-1, 2)


_COSINES = _cosines()
_FREQUENCIES = _low_frequencies()
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
# A mirror image negates the coefficients of odd horizontal frequency.
MIRROR_MASK: np.uint64 = np.packbits(np.ascontiguousarray(_FREQUENCIES[:, 1] % 2 == 1)).view(np.uint64)[0]
_SAME = np.uint64(0)


def perceptual_hashes(thumbs: Pixels) -> Hashes:
    """The signs of 64 low frequencies of the grey thumbnails, as bits.

    Shape: (N, 16, 16, 3) uint8 -> (N,) uint64.
    """
    hashes = np.empty(len(thumbs), np.uint64)
    for start in range(0, len(thumbs), 4096):  # in portions: the floats take sixteen times the memory
        grey = thumbs[start : start + 4096].astype(np.float32) @ _GREY
        waves = (_COSINES @ grey @ _COSINES.T)[:, _FREQUENCIES[:, 0], _FREQUENCIES[:, 1]]
        hashes[start : start + 4096] = _pack(waves > 0)
    return hashes


def _pack(bits: NDArray[np.bool_]) -> Hashes:
    return np.packbits(np.ascontiguousarray(bits), axis=1).view(np.uint64)[:, 0]


def close_pairs(hashes: Hashes, mask: np.uint64 = _SAME) -> tuple[Pairs, int]:
    """The pairs whose hashes are close, and the number of crowded images.

    They are i < j with at most MAX_DISTANCE bits set in hashes[i] ^ hashes[j] ^ mask.

    Shape: (N,); returns (M, 2).
    """
    others = hashes ^ mask
    close: list[Pairs] = []
    crowded = np.zeros(len(hashes), bool)
    for band in range(NUM_BANDS):
        keys, their_keys = _band(hashes, band), _band(others, band)
        order = np.argsort(their_keys, kind="stable")
        counts = np.bincount(their_keys, minlength=1 << BAND_BITS)
        starts = np.cumsum(counts) - counts
        sorted_others = others[order]
        for flip in _flips():
            wanted = keys ^ flip
            crowded |= counts[wanted] > CROWD
            for first, place in _close_in_bands(
                hashes, sorted_others, starts[wanted], np.minimum(counts[wanted], CROWD)
            ):
                close.append(np.sort(np.stack([first, order[place]], axis=1), axis=1))
    pairs = np.concatenate(close) if close else np.empty((0, 2), np.int64)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    codes = np.unique(pairs[:, 0] * max(len(hashes), 1) + pairs[:, 1])
    return np.stack(np.divmod(codes, max(len(hashes), 1)), axis=1), int(crowded.sum())


def _band(hashes: Hashes, band: int) -> NDArray[np.int64]:
    part = np.ascontiguousarray(hashes).view(np.uint16).reshape(-1, NUM_BANDS)[:, band]
    return part.astype(np.int64)


def _flips() -> Iterator[int]:
    """Every pattern of at most BAND_RADIUS bits."""
    for count in range(BAND_RADIUS + 1):
        for bits in combinations(range(BAND_BITS), count):
            yield sum(1 << bit for bit in bits)


def _close_in_bands(
    hashes: Hashes, others: Hashes, starts: NDArray[np.int64], counts: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Compare image i with `counts[i]` of the others, from `starts[i]` on.

    Yields close pairs, as i and the place of the other one, in portions. Most pairs are not close, so that only their
    distance is computed.
    """
    ends = np.cumsum(counts)
    first = 0
    while first < len(counts):
        before = int(ends[first - 1]) if first else 0
        last = max(int(np.searchsorted(ends, before + _PORTION, side="right")), first + 1)
        count = counts[first:last]
        if total := int(count.sum()):
            until = np.cumsum(count)
            place = np.repeat((starts[first:last] - until + count).astype(np.int32), count)
            place += np.arange(total, dtype=np.int32)
            distances = np.bitwise_count(np.repeat(hashes[first:last], count) ^ others[place])
            close = np.flatnonzero(distances <= MAX_DISTANCE)
            yield first + np.searchsorted(until, close, side="right"), place[close].astype(np.int64)
        first = last


def correlations(first: Pixels, second: Pixels) -> NDArray[np.float32]:
    """Pearson's correlation of thumbnails; ignores brightness, contrast and tint.

    The mean of every channel is subtracted, so that a common colour, such as that of the sky, makes no images similar.

    Shape: both (M, 16, 16, 3) uint8; returns (M,), -1 to 1.
    """
    a = first.astype(np.float32) - first.mean((1, 2), dtype=np.float32, keepdims=True)
    b = second.astype(np.float32) - second.mean((1, 2), dtype=np.float32, keepdims=True)
    strength = np.sqrt((a * a).sum((1, 2, 3)) * (b * b).sum((1, 2, 3)))
    result: NDArray[np.float32] = (a * b).sum((1, 2, 3)) / np.maximum(strength, 1e-6)
    return result


def _confirmed(thumbs: Pixels, pairs: Pairs, *, mirror: bool) -> Twins:
    alike = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), 8192):
        portion = pairs[start : start + 8192]
        second = thumbs[portion[:, 1]]
        alike[start : start + 8192] = correlations(thumbs[portion[:, 0]], second[:, :, ::-1] if mirror else second)
    same = alike >= (MIN_MIRRORED if mirror else MIN_CORRELATION)
    return Twins(pairs[same], alike[same], np.full(int(same.sum()), mirror))


def _without(twins: Twins, known: Pairs) -> Twins:
    seen = set(map(tuple, known.tolist()))
    new = np.array([tuple(pair) not in seen for pair in twins.pairs.tolist()], bool)
    return Twins(twins.pairs[new], twins.correlations[new], twins.mirrored[new])
