import numpy as np
import pytest
from PIL import Image

from catseye.data.check.duplicates import (
    CROWD,
    MAX_DISTANCE,
    MIRROR_MASK,
    close_pairs,
    correlations,
    find_twins,
    perceptual_hashes,
)
from catseye.data.check.looks import make_thumb
from catseye.data.groups import join_groups
from tests.photos import as_jpeg, brighter, contrasted, photo, resized, shifted

NUM = 60


def thumbs(images):
    return np.stack([make_thumb(Image.fromarray(pixels)) for pixels in images])


@pytest.fixture(scope="module")
def photos():
    return [photo(seed) for seed in range(NUM)]


@pytest.fixture(scope="module")
def small_photos():
    return [photo(seed, 32, 32) for seed in range(NUM)]


def found_share(originals, changed):
    """Which share of the changed images was found, and how many pairs were wrong."""
    twins = find_twins(thumbs([*originals, *changed]), np.ones(2 * NUM, bool))
    right = twins.pairs[:, 1] - twins.pairs[:, 0] == NUM
    return right.sum() / NUM, int((~right).sum())


CHANGES = {
    "jpeg 75": lambda pixels: as_jpeg(pixels, 75),
    "jpeg 30": lambda pixels: as_jpeg(pixels, 30),
    "half size": lambda pixels: resized(pixels, 0.5),
    "darker": lambda pixels: brighter(pixels, 0.75),
    "brighter": lambda pixels: brighter(pixels, 1.2),
    "contrast": lambda pixels: contrasted(pixels, 1.3),
    "1 px": lambda pixels: shifted(pixels, 1),
    "mirrored": lambda pixels: np.ascontiguousarray(pixels[:, ::-1]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_photo_is_found_and_no_other(photos, change):
    share, wrong = found_share(photos, [CHANGES[change](pixels) for pixels in photos])
    assert share >= 0.95
    assert wrong == 0


@pytest.mark.parametrize("change", ["jpeg 75", "darker", "brighter", "contrast", "mirrored"])
def test_images_of_32_px_too(small_photos, change):
    share, wrong = found_share(small_photos, [CHANGES[change](pixels) for pixels in small_photos])
    assert share >= 0.95
    assert wrong == 0


def test_mirror_images_are_told_as_such(photos):
    changed = [np.ascontiguousarray(pixels[:, ::-1]) for pixels in photos]
    small = thumbs([*photos, *changed])
    assert find_twins(small, np.ones(2 * NUM, bool)).mirrored.all()
    assert len(find_twins(small, np.ones(2 * NUM, bool), mirrored=False).pairs) == 0


def test_a_symmetric_image_is_found_once(photos):
    symmetric = np.concatenate([photos[0], photos[0][:, ::-1]], axis=1)
    nearly = (symmetric * 0.85 + photo(1000, *symmetric.shape[:2]) * 0.15).astype(np.uint8)
    twins = find_twins(thumbs([nearly, as_jpeg(nearly, 60)]), np.ones(2, bool))
    assert twins.pairs.tolist() == [[0, 1]]
    assert not twins.mirrored[0]


def test_only_the_chosen_take_part(photos):
    chosen = np.array([True, False, True])
    twins = find_twins(thumbs([photos[0], photos[0], as_jpeg(photos[0], 60)]), chosen)
    assert twins.pairs.tolist() == [[0, 2]]


def test_a_mirror_image_flips_known_bits(photos):
    small = thumbs(photos)
    mirrored = perceptual_hashes(np.ascontiguousarray(small[:, :, ::-1]))
    assert np.bitwise_count(mirrored ^ perceptual_hashes(small) ^ MIRROR_MASK).max() == 0


def test_hashes_of_different_photos_are_far_apart(photos):
    hashes = perceptual_hashes(thumbs(photos))
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None])[~np.eye(NUM, dtype=bool)]
    assert 28 < distances.mean() < 36
    assert distances.min() > MAX_DISTANCE


@pytest.mark.parametrize("seed", range(3))
def test_every_close_pair_is_found(seed):
    """Against all pairs: random hashes, and around each some with 1 to 14 bits flipped."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**64, 40, dtype=np.uint64)
    hashes = [centres]
    for _ in range(4):
        bits = np.stack([rng.permutation(64) < rng.integers(1, 15) for _ in centres])
        hashes.append(centres ^ np.packbits(bits, axis=1).view(np.uint64)[:, 0])
    everything = rng.permutation(np.concatenate([*hashes, centres[:20] ^ MIRROR_MASK]))
    for mask in (np.uint64(0), MIRROR_MASK):
        distances = np.bitwise_count(everything[:, None] ^ everything[None] ^ mask)
        expected = np.argwhere(np.triu(distances <= MAX_DISTANCE, 1))
        assert len(expected) >= 20
        pairs, crowded = close_pairs(everything, mask)
        np.testing.assert_array_equal(pairs, expected)
        assert crowded == 0


def test_a_crowd_is_not_compared_pair_by_pair():
    pairs, crowded = close_pairs(np.zeros(3 * CROWD, np.uint64))
    assert len(pairs) <= 3 * CROWD * CROWD
    assert len(np.unique(pairs)) == 3 * CROWD  # but every one of them was compared
    assert crowded == 3 * CROWD


def test_no_images_have_no_twins():
    assert len(find_twins(np.zeros((0, 16, 16, 3), np.uint8), np.zeros(0, bool)).pairs) == 0
    assert len(find_twins(np.zeros((1, 16, 16, 3), np.uint8), np.ones(1, bool)).pairs) == 0


def test_correlation_is_numpys(photos):
    small = thumbs(photos[:6])
    centred = small - small.mean((1, 2), keepdims=True)
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(centred[:3], centred[3:], strict=True)]
    np.testing.assert_allclose(correlations(small[:3], small[3:]), expected, atol=1e-5)


def test_groups_are_the_connected_components():
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = np.random.default_rng(0).integers(0, 80, (50, 2))
    groups = join_groups(80, pairs)
    _, oracle = connected_components(coo_array((np.ones(50), pairs.T), shape=(80, 80)), directed=False)
    assert len(set(zip(groups.tolist(), oracle.tolist(), strict=True))) == len(set(groups.tolist()))
    assert len(set(oracle.tolist())) == len(set(groups.tolist()))
    assert all(groups[group] == group for group in groups)
