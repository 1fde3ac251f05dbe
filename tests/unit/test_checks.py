import shutil

import numpy as np
import pytest

from catseye.data.checks import check_split, choose_input_px, survey
from catseye.data.sources import TEST, TRAIN, VAL, open_source
from catseye.errors import DataError
from tests.conftest import encode, random_pixels


def test_equal_files_share_a_group(images):
    root = images({"cat": 3, "dog": 2})
    shutil.copy(root / "cat" / "000.png", root / "dog" / "copy.png")
    shutil.copy(root / "cat" / "000.png", root / "cat" / "again.png")
    found = open_source(root)
    groups = survey(found).groups
    same = {name for name, group in zip(found.names, groups, strict=True) if group == groups[0]}
    assert same == {"cat/000.png", "cat/again.png", "dog/copy.png"}
    assert survey(found).num_duplicates == 2
    assert len(set(groups.tolist())) == 5


def test_files_of_equal_size_but_other_bytes_are_no_duplicates(tmp_path):
    for index in range(3):
        (tmp_path / str(index)).mkdir()
        (tmp_path / str(index) / "a.bmp").write_bytes(encode(random_pixels(index), "BMP"))
    found = survey(open_source(tmp_path))
    assert found.num_duplicates == 0


def test_equal_arrays_are_duplicates():
    images = open_source("digits")
    images.read.pixels[5] = images.read.pixels[3]
    found = survey(images)
    assert found.groups[5] == found.groups[3]


def test_unreadable_images_are_listed_by_name_and_reason(images):
    root = images({"cat": 3, "dog": 2})
    (root / "cat" / "000.png").write_bytes(b"")
    (root / "cat" / "001.png").write_bytes(b"just text")
    (root / "dog" / "000.png").unlink()
    (root / "dog" / "000.png").symlink_to("nowhere")
    found = open_source(root)
    unreadable = survey(found).unreadable
    assert sorted(found.names[index] for index in unreadable) == ["cat/000.png", "cat/001.png", "dog/000.png"]
    for index, reason in unreadable.items():
        assert found.names[index] in reason
    assert "0 bytes" in unreadable[0]
    assert "no image" in unreadable[1]


def test_nothing_readable_is_an_error_with_the_first_reason(images):
    root = images({"cat": 1, "dog": 1})
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 2 images can be read; first reason: cat/000\.png is empty"):
        survey(open_source(root))


def write(root, pixels):
    for index, image in enumerate(pixels):
        folder = root / f"class{index % 2}"
        folder.mkdir(exist_ok=True)
        (folder / f"{index}.png").write_bytes(encode(image))
    return survey(open_source(root))


def test_grey_files_are_grey(tmp_path):
    assert write(tmp_path, [random_pixels(seed, channels=1) for seed in range(4)]).greyscale


def test_colour_files_with_equal_channels_are_grey(tmp_path):
    assert write(tmp_path, [np.repeat(random_pixels(s, channels=1)[..., None], 3, 2) for s in range(4)]).greyscale


def test_one_coloured_pixel_makes_it_colour(tmp_path):
    pixels = [np.repeat(random_pixels(s, channels=1)[..., None], 3, 2) for s in range(4)]
    pixels[3][7, 7] = (1, 2, 3)
    assert not write(tmp_path, pixels).greyscale


def test_the_median_side(tmp_path):
    shapes = [(10, 10), (20, 20), (90, 40), (8, 8), (100, 100)]
    assert write(tmp_path, [random_pixels(i, *shape) for i, shape in enumerate(shapes)]).median_px == 20


def test_the_fingerprint_changes_with_the_data(images):
    root = images({"cat": 2, "dog": 2})
    before = survey(open_source(root)).sha256
    assert survey(open_source(root)).sha256 == before
    assert survey(open_source(root), seed=5).sha256 == before
    (root / "cat" / "001.png").rename(root / "dog" / "001b.png")
    moved = survey(open_source(root)).sha256
    (root / "dog" / "000.png").write_bytes(encode(random_pixels(0, 20, 20)))
    assert len({before, moved, survey(open_source(root)).sha256}) == 3


@pytest.mark.parametrize(
    ("median", "side"), [(1, 32), (8, 32), (28, 32), (32, 32), (47, 32), (49, 64), (64, 64), (200, 192), (5000, 224)]
)
def test_the_input_size_follows_the_median(median, side):
    assert choose_input_px(median) == side


# --- sentences about classes and splits ---------------------------------------------------------------------------


def test_one_class_only_is_an_error(images):
    found = open_source(images({"cat": 3}))
    with pytest.raises(DataError, match=r"one class only \('cat'\)"):
        check_split(found, np.zeros(3, np.int8), survey(found))


def test_a_class_without_a_training_image_is_an_error(images):
    found = open_source(images({"cat": 2, "dog": 2}))
    with pytest.raises(DataError, match="class 'dog' has no readable training image"):
        check_split(found, np.array([TRAIN, TRAIN, TEST, TEST], np.int8), survey(found))


def test_a_class_missing_from_a_side_is_noted(images):
    found = open_source(images({"bird": 2, "cat": 2, "dog": 2}))
    splits = np.array([TRAIN, TEST, TRAIN, VAL, TRAIN, TEST], np.int8)
    notes = check_split(found, splits, survey(found))
    assert notes == [
        "no val image of class bird, dog: its score there says nothing",
        "no test image of class cat: its score there says nothing",
    ]


def test_a_side_that_is_not_there_needs_no_note(images):
    found = open_source(images({"cat": 2, "dog": 2}))
    assert check_split(found, np.array([TRAIN, TEST] * 2, np.int8), survey(found)) == []


def test_duplicates_on_one_side_are_noted(images):
    root = images({"cat": 2, "dog": 2})
    shutil.copy(root / "cat" / "000.png", root / "cat" / "001.png")
    found = open_source(root)
    notes = check_split(found, np.array([TRAIN, TRAIN, TRAIN, TEST], np.int8), survey(found))
    assert "1 images repeat another one byte for byte; they stay on one side" in notes


def test_a_given_split_that_leaks_is_told(images):
    root = images({"train/cat": 2, "train/dog": 2, "test/cat": 2, "test/dog": 2})
    shutil.copy(root / "train" / "cat" / "000.png", root / "test" / "cat" / "000.png")
    shutil.copy(root / "train" / "cat" / "000.png", root / "test" / "dog" / "001.png")
    found = open_source(root)
    notes = check_split(found, found.splits, survey(found))
    assert notes == [
        "2 images repeat another one byte for byte",
        "2 held-out images are also training images: the given split leaks, its score is too good",
    ]
