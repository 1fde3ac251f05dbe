"""Data that is odd as a whole gets an explicit verdict before anything is trained (fault 49)."""

import pytest

from catseye.errors import DataError
from tests.faults.conftest import train

TINY = {"training.epochs": 1, "training.batch_size": 4}


def test_an_empty_folder_is_no_class_and_said(images, tmp_path):
    root = images({"cat": 5, "dog": 5})
    (root / "bird").mkdir()
    run, said = train(root, tmp_path / "run", TINY)
    assert "1 folder contains no images and is not a class: 'bird'" in said
    assert run.data["classes"] == ["cat", "dog"]


def test_a_single_class(images, tmp_path):
    with pytest.raises(DataError, match=r"a classifier needs two or more classes; there is only one class \('cat'\)"):
        train(images({"cat": 8}), tmp_path / "run", TINY)
    assert not (tmp_path / "run").exists()


def test_duplicates_across_the_given_splits(images, tmp_path):
    root = images({"train/cat": 6, "train/dog": 6, "test/cat": 2, "test/dog": 2})
    (root / "test" / "cat" / "again.png").write_bytes((root / "train" / "cat" / "000.png").read_bytes())
    settings = TINY | {"data.val_fraction": 0.0, "training.keep": "last"}
    with pytest.raises(DataError, match=r"1 of 5 test images is also in train \(e\.g\. test/cat/again\.png"):
        train(root, tmp_path / "refused", settings)
    run, said = train(root, tmp_path / "run", settings | {"data.allow_leaks": True})
    assert "1 of 5 test images is also in train" in said
    remembered = {"rule": "leak-test-train", "severity": "error", "count": 1}
    assert remembered in run.data["check"], "the run remembers it"


def test_classes_that_differ_by_case_only(images, tmp_path):
    _, said = train(images({"Cat": 5, "cat": 5, "dog": 5}), tmp_path / "run", TINY)
    assert "1 pair of classes differs only by case or white space" in said
    assert "'Cat' and 'cat'" in said
    assert "the same folder on Windows and macOS" in said


def test_files_that_differ_by_case_only(images, tmp_path):
    root = images({"cat": 5, "dog": 5})
    (root / "cat" / "000.PNG").write_bytes((root / "cat" / "001.png").read_bytes())
    _, said = train(root, tmp_path / "run", TINY)
    assert "1 file name differs from another one only by case" in said
    assert "cat/000.PNG" in said
    quiet = train(images({"cat": 5, "dog": 5}, root="other"), tmp_path / "quiet", TINY)[1]
    assert "by case" not in quiet
