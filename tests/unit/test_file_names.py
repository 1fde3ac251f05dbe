"""Classes in the names of files, and sets for another task: offered or told, and never read as one class."""

import pytest

from catseye.data.check.check import check
from catseye.data.sources import NOT_SPLIT, TEST, TRAIN, open_source
from catseye.errors import DataError
from catseye.settings.schema import DataSettings
from tests.conftest import encode, random_pixels

PNG = encode(random_pixels(0))


def put(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG if path.suffix == ".png" else b"0 .5 .5 .1 .1\n")
    return root


def numbered(*starts, folder=""):
    return [f"{folder}{start}{number}.png" for start in starts for number in range(3)]


def by_name(root):
    return open_source(root, settings=DataSettings(layout="names"))


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (numbered("oak.", "elm."), ("elm", "oak")),
        (numbered("Scots_pine_", "elm_"), ("Scots_pine", "elm")),
        (numbered("n0144_", "n0291_"), ("n0144", "n0291")),
        (["oak (1).png", "oak (2).png", "elm-3.png", "elm-4.png"], ("elm", "oak")),
    ],
)
def test_names_that_begin_with_a_class_are_offered_and_read(names, classes, tmp_path):
    put(tmp_path, *names)
    with pytest.raises(DataError, match="--layout names"):
        open_source(tmp_path)
    images = by_name(tmp_path)
    assert images.classes == classes
    assert len(images) == len(names)
    assert set(images.splits.tolist()) == {NOT_SPLIT}
    for name, label in zip(images.names, images.labels, strict=True):
        assert name.startswith(images.classes[label])


def test_folders_give_the_sides_where_one_of_them_holds_out(tmp_path):
    put(tmp_path, *numbered("oak.", "elm.", folder="train/"), *numbered("oak.", "elm.", folder="test/"))
    images = by_name(tmp_path)
    side = {name: int(side) for name, side in zip(images.names, images.splits, strict=True)}
    assert all(side[name] == (TRAIN if name.startswith("train/") else TEST) for name in images.names)


def test_images_with_no_class_in_the_name_are_left_out_and_counted(tmp_path):
    """As on Kaggle: the names of train/ say the class, those of the other folder are numbers."""
    put(tmp_path, *numbered("oak.", "elm.", folder="train/"), *numbered("", folder="test1/"))
    with pytest.raises(DataError, match="begin with 'elm', 'oak'"):
        open_source(tmp_path)
    images = by_name(tmp_path)
    assert len(images) == 6
    assert images.notes == ("3 images with no class in the name are left out",)
    assert set(images.splits.tolist()) == {NOT_SPLIT}


def test_a_sample_of_a_submission_does_not_hide_the_names(tmp_path):
    put(tmp_path, *numbered("oak.", "elm.", folder="train/"), *numbered("", folder="test1/"), "sampleSubmission.csv")
    with pytest.raises(DataError, match="begin with 'elm', 'oak'"):
        open_source(tmp_path)


def test_masks_with_the_names_of_their_images_are_left_out(tmp_path):
    put(tmp_path, *numbered("oak_", "elm_", folder="images/"), *numbered("oak_", "elm_", folder="annotations/trimaps/"))
    with pytest.raises(DataError, match="begin with 'elm', 'oak'"):
        open_source(tmp_path)
    images = by_name(tmp_path)
    assert all(name.startswith("images/") for name in images.names)
    assert images.notes == ("6 images in 'annotations/trimaps/' are left out as masks",)


def test_names_of_splits_are_not_offered_as_classes(tmp_path):
    put(tmp_path, *numbered("train_", "test_", "IMG_"))
    with pytest.raises(DataError) as refused:
        open_source(tmp_path)
    assert "--layout names" not in str(refused.value)


@pytest.mark.parametrize("names", [numbered("IMG_"), numbered(""), ["a.png", "b.png", "c.png"]])
def test_other_names_are_not_offered(names, tmp_path):
    put(tmp_path, *names)
    with pytest.raises(DataError) as refused:
        open_source(tmp_path)
    assert "--layout names" not in str(refused.value)


def test_names_without_classes_are_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"--layout names .* got 0\.png"):
        by_name(put(tmp_path, *numbered("")))


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ([*numbered("", folder="images/train/"), "labels/train/0.txt", "labels/train/1.txt"], "YOLO"),
        ([*numbered("", folder="JPEGImages/"), "Annotations/0.xml", "Annotations/2.xml"], "Pascal VOC"),
        ([*numbered("", folder="images/"), "annotations/instances.json"], "COCO"),
        ([*numbered("", folder="train/"), *numbered("", folder="val/"), "labels/0.txt", "labels/1.txt"], "YOLO"),
    ],
)
def test_a_set_with_boxes_is_called_so(names, kind, tmp_path):
    with pytest.raises(DataError, match=rf"\({kind}\).*whole images"):
        open_source(put(tmp_path, *names))


def test_classes_with_a_text_beside_every_image_are_classes(tmp_path):
    """A caption or a camera's notes beside each image make no boxes of it."""
    names = [*numbered("", folder="oak/"), *numbered("", folder="elm/")]
    put(tmp_path, *names, *(name.replace(".png", ".txt") for name in names))
    assert open_source(tmp_path).classes == ("elm", "oak")


def test_check_reads_names_too(tmp_path):
    names = numbered("oak.", "elm.")
    put(tmp_path, *names)
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(encode(random_pixels(number)))
    found = check(tmp_path, settings=DataSettings(layout="names"))
    assert (list(found.names), found.classes) == (sorted(names), ("elm", "oak"))
    with pytest.raises(DataError, match="--layout names"):
        check(tmp_path)
