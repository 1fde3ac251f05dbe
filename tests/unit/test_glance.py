"""A glance: images per class and typical size, whatever the source, without reading everything."""

import numpy as np
import pytest

from catseye.data.glance import GLANCED, take_glance
from catseye.data.sources import open_source
from catseye.errors import DataError


def test_counts_are_those_that_will_train(images):
    whole = open_source(images({"cat": 20, "dog": 10}, height=40, width=90))
    seen = take_glance(whole, held_out=0.3)
    assert seen.class_counts == (14, 7)
    assert seen.side_px == 60


def test_a_given_split_is_taken_as_it_is(images):
    given = open_source(images({"train/cat": 8, "train/dog": 4, "val/cat": 3, "val/dog": 3}))
    assert take_glance(given, held_out=0.3).class_counts == (8, 4)


def test_few_images_are_read(images):
    whole = open_source(images({"cat": 100, "dog": 100}))
    read = []
    counting = type(whole)(
        whole.source, whole.classes, whole.names, whole.labels, whole.splits,
        lambda index: read.append(index) or whole.read(index),
    )  # fmt: skip
    take_glance(counting, held_out=0.3)
    assert len(read) == GLANCED == len(np.unique(read))


def test_unreadable_images_are_passed_over_and_nothing_but_those_is_an_error(tmp_path, images):
    root = images({"cat": 5, "dog": 5}, height=16, width=16)
    (root / "cat" / "broken.png").write_bytes(b"no image")
    assert take_glance(open_source(root), held_out=0.3).side_px == 16
    for name in ("a", "b"):
        (tmp_path / "bad" / name).mkdir(parents=True)
        (tmp_path / "bad" / name / "x.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="can be read"):
        take_glance(open_source(tmp_path / "bad"), held_out=0.3)
