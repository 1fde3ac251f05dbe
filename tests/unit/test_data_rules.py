"""Each rule of the check on data made for it, and the one story that `check` and `train` tell."""

import re
import shutil

import numpy as np
import pytest
import torch

from catseye.counting import agree, count
from catseye.data.check.check import check
from catseye.data.check.data_facts import DataFacts
from catseye.data.check.rules import find_faults
from catseye.data.prepare import prepare
from catseye.data.sources import NOT_SPLIT, TEST, TRAIN, VAL, open_source
from catseye.data.survey import survey
from catseye.errors import DataError
from catseye.settings.schema import DataSettings


def rules(source, sides=None, **more):
    """Rule -> finding, by the rules that need no pixels."""
    images = open_source(source)
    sides = images.splits if sides is None else np.array(sides, np.int8)
    facts = DataFacts(images, np.ones(len(images), bool), sides, survey(images).groups, **more)
    return {found.rule: found for found in find_faults(facts)}


def test_one_class_only_stops_training(images):
    found = rules(images({"cat": 3}), [TRAIN] * 3)["one-class"]
    assert found.severity == "error"
    assert found.stops
    assert "('cat')" in found.title


def test_a_class_without_a_training_image_stops_training(images):
    found = rules(images({"cat": 2, "dog": 2}), [TRAIN, TRAIN, TEST, TEST])["class-without-images"]
    assert found.title == "1 class has no readable training image"
    assert found.stops
    assert found.examples[0].note == "dog"


def test_a_class_missing_from_a_side(images):
    found = rules(images({"bird": 2, "cat": 2, "dog": 2}), [TRAIN, TEST, TRAIN, VAL, TRAIN, TEST])
    assert found["class-missing-in-val"].title == "2 classes have no val image, so their val score means nothing"
    assert found["class-missing-in-test"].title == "1 class has no test image, so its test score means nothing"
    assert not found["class-missing-in-test"].stops


def test_a_side_that_is_not_there_needs_no_word(images):
    assert not [rule for rule in rules(images({"cat": 2, "dog": 2}), [TRAIN, TEST] * 2) if "missing" in rule]


@pytest.fixture
def leaking(images):
    """Two images of train stand in test, one of them under another label."""
    root = images({"train/cat": 12, "train/dog": 12, "test/cat": 3, "test/dog": 3})
    shutil.copy(root / "train" / "cat" / "000.png", root / "test" / "cat" / "000.png")
    shutil.copy(root / "train" / "cat" / "000.png", root / "test" / "dog" / "001.png")
    return root


def test_a_leak_is_one_finding_and_stops_training(leaking):
    found = rules(leaking)
    leak = found["leak-test-train"]
    assert (leak.count, leak.severity, bool(leak.stops)) == (2, "error", True)
    assert leak.title == "2 of 6 test images are also in train"
    assert [rule for rule in found if "leak" in rule] == ["leak-test-train"]
    assert not rules(leaking, allow_leaks=True)["leak-test-train"].stops


def test_a_leak_into_validation_stops_only_where_validation_is_scored(images):
    root = images({"train/cat": 5, "train/dog": 5, "val/cat": 3, "val/dog": 3})
    shutil.copy(root / "train" / "cat" / "000.png", root / "val" / "cat" / "000.png")
    assert rules(root)["leak-val-train"].stops
    for label in ("cat", "dog"):
        (root / "test" / label).mkdir(parents=True)
        shutil.copy(root / "val" / label / "002.png", root / "test" / label / "t.png")
    found = rules(root)
    assert found["leak-val-train"].severity == "error"
    assert not found["leak-val-train"].stops


def test_names_that_differ_by_case_are_told_once(images):
    root = images({"cat": 3, "dog": 3})
    (root / "cat" / "000.png").rename(root / "cat" / "A.png")
    (root / "cat" / "001.png").rename(root / "cat" / "a.png")
    found = rules(root, [TRAIN] * 6)
    assert found["name-twins"].title.startswith("1 file name differs from another one only by case")
    assert "class-twins" not in found
    shutil.copytree(root / "cat", root / "Cat")
    found = rules(root, [TRAIN] * 9)
    assert found["class-twins"].title.startswith("1 pair of classes differs")
    assert "name-twins" not in found


# --- one story ----------------------------------------------------------------------------------------------------

CPU = torch.device("cpu")


def train_says(root, **settings):
    chosen = DataSettings(workers=0, **settings)
    return prepare(open_source(root), chosen, batch_size=4, seed=0, device=CPU)


def broken(kind, images):
    if kind == "one class":
        return images({"cat": 12})
    if kind == "a class is held out whole":
        return images({"train/cat": 9, "train/dog": 9, "test/cat": 3, "test/bird": 3})
    if kind == "one image a class":
        return images({"cat": 1, "dog": 1, "fly": 1})
    if kind == "copies of one image a class":
        root = images({"cat": 1, "dog": 1})
        for number in range(4):
            shutil.copy(root / "cat" / "000.png", root / "cat" / f"copy{number}.png")
        return root
    root = images({"train/cat": 9, "train/dog": 9, "test/cat": 3, "test/dog": 3})
    if kind == "leak":
        shutil.copy(root / "train" / "cat" / "000.png", root / "test" / "cat" / "leak.png")
    if kind == "all of a class are damaged":
        for path in (root / "train" / "cat").iterdir():
            path.write_bytes(b"")
    if kind == "group on two sides":
        (root / "train" / "cat" / "000.png").rename(root / "train" / "cat" / "p1_left.png")
        (root / "test" / "dog" / "000.png").rename(root / "test" / "dog" / "p1_right.png")
    return root


@pytest.mark.parametrize(
    "kind",
    [
        "one class",
        "a class is held out whole",
        "leak",
        "all of a class are damaged",
        "group on two sides",
        "one image a class",
        "copies of one image a class",
    ],
)
def test_what_train_refuses_check_calls_an_error(kind, images):
    root = broken(kind, images)
    pattern = r"^(p\d)_" if kind == "group on two sides" else ""
    stops = [found for found in check(root, group_by=pattern).findings if found.stops]
    assert stops
    assert stops[0].severity == "error"
    with pytest.raises(DataError) as refusal:
        train_says(root, group_by=pattern)
    assert stops[0].title in str(refusal.value)
    assert stops[0].advice in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "largest"),
    [("one image a class", "'cat', has 1 image"), ("copies of one image a class", "'cat', has 5 images, copies")],
)
def test_nothing_to_hold_out_names_the_class_its_count_and_the_number_that_works(kind, largest, images):
    with pytest.raises(DataError) as refusal:
        train_says(broken(kind, images))
    assert largest in str(refusal.value)
    assert "at least one class has 2 images" in str(refusal.value)


def test_two_images_a_class_are_enough(images):
    root = images({f"c{number:02d}": 2 for number in range(20)})
    assert not [found for found in check(root).findings if found.stops]
    assert train_says(root).counts == {"train": 28, "val": 4, "test": 8}


def test_what_check_lets_pass_train_takes(images):
    root = images({"cat": 12, "dog": 12})
    assert not [found for found in check(root).findings if found.stops]
    assert train_says(root).counts == {"train": 18, "val": 2, "test": 4}


def test_train_says_a_leak_once(leaking):
    prepared = train_says(leaking, allow_leaks=True)
    said = "\n".join([*prepared.notes, *prepared.verdict.lines()])
    assert len(re.findall("also in train", said)) == 1
    assert len(re.findall("byte for byte", said)) == 1


def test_unreadable_images_are_told_once(images):
    root = images({"cat": 12, "dog": 12})
    (root / "cat" / "000.png").write_bytes(b"text")
    prepared = train_says(root)
    said = "\n".join([*prepared.notes, *prepared.verdict.lines()])
    assert len(re.findall(r"1 image cannot be read and is left out \(e\.g\. cat/000\.png", said)) == 1
    assert prepared.splits[0] == NOT_SPLIT


def test_counts_agree():
    assert [count(number, "class") for number in (0, 1, 2)] == ["0 classes", "1 class", "2 classes"]
    assert [count(2, noun) for noun in ("copy", "day", "box", "batch")] == [
        "2 copies",
        "2 days",
        "2 boxes",
        "2 batches",
    ]
    assert count(3, "person", "people") == "3 people"
    assert (agree(1, "is", "are"), agree(0, "is", "are")) == ("is", "are")
