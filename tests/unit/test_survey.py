import shutil
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from catseye.data import survey as survey_module
from catseye.data.check.findings import Example, Finding, Verdict
from catseye.data.check.looks import look_at_all
from catseye.data.check.page import render_page
from catseye.data.decode import decode_all
from catseye.data.sources import Reader, open_source
from catseye.data.survey import choose_input_px, survey
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
    assert "is not in a format" in unreadable[1]


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


# --- a file is read at most once ----------------------------------------------------------------------------------


@dataclass
class CountingReader:
    """Reads as another reader does, and counts how often each image was asked for."""

    inner: Reader
    read: Counter = field(default_factory=Counter)

    def __call__(self, index):
        self.read[index] += 1
        return self.inner(index)

    def size_bytes(self, index):
        return self.inner.size_bytes(index)


@pytest.fixture
def counted(images):
    """Ten images in two classes, two of them equal, one of no format; and the counts of their reads."""
    root = images({"cat": 5, "dog": 5})
    shutil.copy(root / "cat" / "000.png", root / "dog" / "copy.png")
    (root / "cat" / "004.png").write_bytes(b"just text")
    found = open_source(root)
    reader = CountingReader(found.read)
    return replace(found, read=reader), reader.read


def test_listing_reads_nothing_and_the_survey_each_file_once(counted):
    found, read = counted
    assert not read
    survey(found)
    assert set(read.values()) == {1}


def test_the_survey_of_many_reads_its_sample_only(counted, monkeypatch):
    found, read = counted
    monkeypatch.setattr(survey_module, "SAMPLE", 3)
    monkeypatch.setattr(found.read, "size_bytes", lambda index: 100 + index)  # no two alike
    survey(found)
    assert sum(read.values()) == 3


def test_the_look_of_check_reads_each_file_once(counted):
    found, read = counted
    look_at_all(found)
    assert read == dict.fromkeys(range(len(found)), 1)


def test_decoding_reads_each_file_once(counted, make_spec):
    found, read = counted
    decode_all(found, np.arange(len(found)), make_spec(16))
    assert read == dict.fromkeys(range(len(found)), 1)


def test_the_page_reads_an_image_of_several_findings_once(counted):
    found, read = counted
    findings = [Finding(rule, "note", 1, "1 image", "look", [Example((0, 5))]) for rule in ("one", "two", "three")]
    render_page(Verdict(found.source, found.names, found.classes, {"not split": [5, 6]}, findings, 0.0), found)
    assert read == {0: 1, 5: 1}
