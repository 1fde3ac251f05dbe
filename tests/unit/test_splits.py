from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catseye.data.sources import NOT_SPLIT, TEST, TRAIN, VAL
from catseye.data.splits import split

FRACTIONS = st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.5])
# Group sizes per class: [[1, 1, 3], [2]] is a class of 5 images in 3 groups and one of 2 images in one group.
CLASSES = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=12), min_size=1, max_size=4)


def arrays(classes: list[list[int]], shuffle: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and group numbers, in a shuffled order of images."""
    labels, groups = [], []
    for label, sizes in enumerate(classes):
        for size in sizes:
            number = len(labels)
            labels += [label] * size
            groups += [number] * size
    order = np.random.default_rng(shuffle).permutation(len(labels))
    return np.array(labels, np.int64)[order], np.array(groups, np.int64)[order]


def fresh(labels: np.ndarray) -> np.ndarray:
    return np.full(len(labels), NOT_SPLIT, np.int8)


def plain_split(labels, groups, *, val=0.1, test=0.2, seed=0):
    return split(labels, groups, fresh(labels), val_fraction=val, test_fraction=test, seed=seed)


@given(classes=CLASSES, val=FRACTIONS, test=FRACTIONS, seed=st.integers(0, 50))
def test_every_image_is_on_one_side_and_groups_stay_together(classes, val, test, seed):
    labels, groups = arrays(classes, seed)
    sides = plain_split(labels, groups, val=val, test=test, seed=seed)
    assert sides.dtype == np.int8
    assert set(sides.tolist()) <= {TRAIN, VAL, TEST}
    for group in np.unique(groups):
        assert len(set(sides[groups == group].tolist())) == 1


@given(
    classes=CLASSES,
    val=st.sampled_from([0.0, 0.1, 0.25]),
    test=st.sampled_from([0.0, 0.2, 0.4]),
    seed=st.integers(0, 50),
)
def test_every_class_is_divided_as_wanted_up_to_one_group(classes, val, test, seed):
    labels, groups = arrays(classes, seed)
    sides = plain_split(labels, groups, val=val, test=test, seed=seed)
    for label, sizes in enumerate(classes):
        for side, fraction in ((VAL, val), (TEST, test)):
            got = int(((labels == label) & (sides == side)).sum())
            assert abs(got - fraction * sum(sizes)) <= max(sizes) + 1
            assert fraction > 0 or got == 0


@given(
    classes=st.lists(st.lists(st.integers(1, 5), min_size=3, max_size=8), min_size=1, max_size=4),
    val=st.sampled_from([0.01, 0.1, 0.25, 0.5]),
    test=st.sampled_from([0.01, 0.2, 0.5]),
    seed=st.integers(0, 50),
)
def test_a_class_of_three_groups_is_on_all_three_sides(classes, val, test, seed):
    labels, groups = arrays(classes, seed)
    sides = plain_split(labels, groups, val=val, test=test, seed=seed)
    for label in range(len(classes)):
        assert set(sides[labels == label].tolist()) == {TRAIN, VAL, TEST}


@given(classes=CLASSES, val=FRACTIONS, test=FRACTIONS)
def test_every_class_keeps_a_training_image(classes, val, test):
    labels, groups = arrays(classes)
    sides = plain_split(labels, groups, val=val, test=test)
    assert set(labels[sides == TRAIN].tolist()) == set(range(len(classes)))


def test_large_classes_are_divided_exactly():
    labels = np.repeat(np.arange(3), [1000, 100, 10])
    sides = plain_split(labels, np.arange(len(labels)))
    for label, count in enumerate((1000, 100, 10)):
        counts = Counter(sides[labels == label].tolist())
        assert counts == {TRAIN: 0.7 * count, VAL: 0.1 * count, TEST: 0.2 * count}


@given(st.data())
def test_a_group_with_several_labels_stays_together_too(data):
    count = data.draw(st.integers(1, 40))
    labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)), np.int64)
    groups = np.array(data.draw(st.lists(st.integers(0, 9), min_size=count, max_size=count)), np.int64)
    sides = plain_split(labels, groups)
    for group in np.unique(groups):
        assert len(set(sides[groups == group].tolist())) == 1


def test_the_seed_decides():
    labels, groups = arrays([[1] * 40, [1] * 40])
    first = plain_split(labels, groups, seed=1)
    np.testing.assert_array_equal(first, plain_split(labels, groups, seed=1))
    assert (first != plain_split(labels, groups, seed=2)).any()


def test_classes_are_shuffled_independently():
    labels = np.repeat([0, 1], 50)
    sides = plain_split(labels, np.arange(100))
    assert (sides[:50] != sides[50:]).any()


@given(
    given_sides=st.lists(st.sampled_from([TRAIN, VAL, TEST, NOT_SPLIT]), min_size=1, max_size=40),
    val=FRACTIONS,
    test=FRACTIONS,
)
def test_what_is_given_stays(given_sides, val, test):
    sides = np.array(given_sides, np.int8)
    labels = np.arange(len(sides)) % 2
    before = sides.copy()
    result = split(labels, np.arange(len(sides)), sides, val_fraction=val, test_fraction=test, seed=0)
    np.testing.assert_array_equal(sides, before)
    assert NOT_SPLIT not in result
    kept = (before == VAL) | (before == TEST)
    np.testing.assert_array_equal(result[kept], before[kept])
    if VAL in before or NOT_SPLIT in before:
        np.testing.assert_array_equal(result[before == TRAIN], TRAIN)


def test_a_complete_split_is_returned_as_it_is():
    sides = np.array([TRAIN, VAL, TEST] * 5, np.int8)
    result = split(np.arange(15) % 2, np.arange(15), sides, val_fraction=0.5, test_fraction=0.5, seed=0)
    np.testing.assert_array_equal(result, sides)


def test_train_and_val_alone_stay_as_they_are():
    sides = np.array([TRAIN, TRAIN, VAL, VAL], np.int8)
    result = split(np.array([0, 1, 0, 1]), np.arange(4), sides, val_fraction=0.5, test_fraction=0.5, seed=0)
    np.testing.assert_array_equal(result, sides)


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (0.1, 4), (0.5, 20)])
def test_validation_is_taken_from_train_where_test_is_given(fraction, expected):
    sides = np.array([TRAIN] * 40 + [TEST] * 20, np.int8)
    labels = np.arange(60) % 2
    result = split(labels, np.arange(60), sides, val_fraction=fraction, test_fraction=0.5, seed=0)
    assert (result[40:] == TEST).all()
    assert int((result[:40] == VAL).sum()) == expected
    assert set(result[:40].tolist()) <= {TRAIN, VAL}
    assert np.bincount(labels[result == VAL], minlength=2).tolist() == [expected // 2, expected // 2]


def test_a_group_that_the_given_split_has_parted_is_not_moved_to_validation():
    sides = np.array([TRAIN] * 20 + [TEST] * 4, np.int8)
    groups = np.arange(24)
    groups[20] = groups[3]
    for seed in range(20):
        result = split(np.arange(24) % 2, groups, sides, val_fraction=0.5, test_fraction=0.2, seed=seed)
        assert result[3] == TRAIN
        assert (result == VAL).sum() == 9


@pytest.mark.parametrize(("classes", "test", "val"), [(30, 12, 6), (10, 4, 2), (2, 1, 0)])
def test_classes_of_two_images_give_each_side_its_share(classes, test, val):
    labels = np.repeat(np.arange(classes), 2)
    for seed in range(10):
        sides = plain_split(labels, np.arange(2 * classes), seed=seed)
        assert int((sides == TEST).sum()) == test
        assert int((sides == VAL).sum()) == val
        assert set(labels[sides == TRAIN].tolist()) == set(range(classes))


def test_small_classes_beside_large_ones_are_held_out_too_and_the_large_ones_stay_as_they_were():
    labels = np.concatenate([np.repeat([0, 1], 50), np.repeat(np.arange(2, 22), 2)])
    sides = plain_split(labels, np.arange(len(labels)))
    np.testing.assert_array_equal(sides[:100], plain_split(labels[:100], np.arange(100)))
    assert int((sides[100:] == TEST).sum()) == 8


def test_groups_of_small_classes_stay_whole():
    labels = np.repeat(np.arange(6), 4)
    groups = np.arange(24) // 2  # each class: two groups of two images
    sides = plain_split(labels, groups)
    assert (sides[::2] == sides[1::2]).all()
    assert (sides != TRAIN).any()


def test_data_that_brings_train_alone_is_divided_like_data_without_a_split():
    labels = np.arange(40) % 2
    sides = split(labels, np.arange(40), np.full(40, TRAIN, np.int8), val_fraction=0.1, test_fraction=0.2, seed=3)
    np.testing.assert_array_equal(sides, plain_split(labels, np.arange(40), seed=3))


def test_a_rare_class_within_one_group_of_another_class_stays_in_training():
    """Ten patients with ten images each, and the only three tumours all in one of them."""
    labels = np.array([0] * 100 + [1] * 3)
    groups = np.array([patient for patient in range(10) for _ in range(10)] + [9] * 3)
    for seed in range(40):
        sides = split(labels, groups, np.full(103, NOT_SPLIT, np.int8), val_fraction=0.1, test_fraction=0.1, seed=seed)
        assert (sides[labels == 1] == TRAIN).all()
        assert all(len(set(sides[groups == patient])) == 1 for patient in range(10))
        assert (sides == TEST).any()
        assert (sides == VAL).any()
