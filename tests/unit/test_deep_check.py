"""What check finds by features: on made-up ones, and the whole walk with a small network in place of a large one."""

import numpy as np
import pytest

import catseye
from catseye.data.check.data_facts import DataFacts
from catseye.data.sources import NOT_SPLIT, TEST, TRAIN, ArrayReader, ImageSet
from catseye.embedding import backbone, deep_check
from catseye.embedding.deep_check import alike_by_features, centred, find_by_features, unlike_their_class
from catseye.errors import MissingDependency
from catseye.models import pretrained
from tests.unit.test_teach import make_frozen

NUM, WIDTH = 60, 24


def make_images(labels, sides=None) -> ImageSet:
    pixels = np.random.default_rng(1).integers(0, 256, (len(labels), 16, 16, 3), np.uint8)
    sides = np.full(len(labels), NOT_SPLIT, np.int8) if sides is None else sides
    names = [f"{number:03d}.png" for number in range(len(labels))]
    return ImageSet("here", ("ant", "bee"), names, np.asarray(labels, np.int64), sides, ArrayReader(pixels))


def make_facts(images: ImageSet) -> DataFacts:
    num = len(images)
    return DataFacts(images, np.ones(num, bool), images.splits, np.arange(num))


def test_what_lies_far_from_its_class_is_found():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], NUM // 2)
    features = (rng.normal(size=(NUM, WIDTH)) * 0.3 + 3 * np.eye(WIDTH)[labels]).astype(np.float32)
    features[7] = 3 * np.eye(WIDTH)[9]
    (found,) = unlike_their_class(centred(features), np.arange(NUM), make_images(labels))
    assert (found.rule, found.severity) == ("unlike-class", "note")
    assert found.examples[0].images == (7,)
    assert "labelled ant" in found.examples[0].note


def test_even_data_has_no_outliers():
    labels = np.zeros(NUM, int)
    features = np.random.default_rng(0).normal(size=(NUM, WIDTH)).astype(np.float32)
    assert unlike_their_class(centred(features), np.arange(NUM), make_images(labels)) == []


@pytest.mark.parametrize(
    ("labels", "sides", "rule", "severity"),
    [
        ((0, 0), (NOT_SPLIT, NOT_SPLIT), "alike", "note"),
        ((0, 0), (TRAIN, TEST), "alike-two-sides", "warning"),
        ((0, 1), (TRAIN, TEST), "alike-two-labels", "warning"),
    ],
)
def test_a_pair_that_stands_out_is_found(labels, sides, rule, severity):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(NUM, WIDTH)).astype(np.float32)
    features[40] = features[3] + 0.1 * rng.normal(size=WIDTH)
    every, places = np.zeros(NUM, int), np.full(NUM, sides[0], np.int8)
    every[40], places[40] = labels[1], sides[1]
    facts = make_facts(make_images(every, places))
    (found,) = alike_by_features(centred(features), np.arange(NUM), facts)
    assert (found.rule, found.severity, found.count) == (rule, severity, 1)
    assert found.examples[0].images == (3, 40)


def test_where_all_images_are_alike_no_pair_is():
    """Digits, say: the nearest ones lie above any fixed limit, and none of them stands out."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(6, WIDTH))
    features = (kinds[np.arange(NUM) % 6] + 0.2 * rng.normal(size=(NUM, WIDTH))).astype(np.float32)
    assert alike_by_features(centred(features), np.arange(NUM), make_facts(make_images(np.zeros(NUM, int)))) == []


def test_the_walk_leaves_out_copies_and_files_that_cannot_be_read(monkeypatch):
    monkeypatch.setattr(backbone, "open_backbone", lambda model, images: make_frozen().backbone)
    seen: list[int] = []
    monkeypatch.setattr(deep_check, "unlike_their_class", lambda unit, rows, images: seen.extend(rows.tolist()) or [])
    images = make_images(np.zeros(NUM, int))
    equal, readable = np.arange(NUM), np.ones(NUM, bool)
    equal[5], readable[9] = 4, False
    told: list[str] = []
    find_by_features(DataFacts(images, readable, images.splits, equal), tell=told.append)
    assert seen == [number for number in range(NUM) if number not in (5, 9)]
    assert told[0] == f"features: {NUM - 2} of {NUM - 2} images"


def test_memory_is_bounded_by_the_images_compared(monkeypatch):
    monkeypatch.setattr(backbone, "open_backbone", lambda model, images: make_frozen().backbone)
    monkeypatch.setattr(deep_check, "MAX_COMPARED", 30)
    told: list[str] = []
    find_by_features(make_facts(make_images(np.zeros(NUM, int))), tell=told.append)
    assert told[:2] == [
        "60 images differ; 30 of them are drawn to compare features",
        "features: 30 of 30 images",
    ]


def test_without_weights_the_install_line_comes_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "weights_at_hand", lambda name: "")
    with pytest.raises(MissingDependency, match=r"pip install 'catseye\[pretrained\]'"):
        catseye.check(tmp_path, deep=True)
