"""`catseye check` on pixels that are no 8-bit photographs: 12 bits in 16, floating point, one colour, far too many."""

import json

import numpy as np
import pytest
from PIL import Image

from catseye.data.check.check import check
from tests.stranger_sets import twelve_bits


def rules_of(verdict):
    return {found.rule: found for found in verdict.findings}


def write_grounds(root, kind, num_images, scale=1.0, dtype=np.uint16):
    """Two classes that differ by the number of their spots, every image on its own uneven ground."""
    rng = np.random.default_rng(7)
    for number, label in enumerate(("one", "several")):
        (root / label).mkdir(parents=True)
        for index in range(num_images):
            values = np.asarray(twelve_bits(number, rng)).astype(np.float64) * scale
            Image.fromarray(values.astype(dtype)).save(root / label / f"{index:03d}.{kind}")
    return root


def test_twelve_bits_are_told_and_no_two_of_them_are_taken_for_one(tmp_path, command):
    data = write_grounds(tmp_path / "data", "png", 40)
    code, told, said = command("check", data, "--json")
    assert code == 0, said
    found = {one["rule"]: one for one in json.loads(told)["findings"]}
    assert found["value-range"]["severity"] == "note"
    assert found["value-range"]["title"].startswith("values of more than 8 bits: 0 becomes black and ")
    white = float(found["value-range"]["title"].split(" and ")[1].split(" white")[0])
    assert 2000 < white <= 4095
    assert not {"near-two-labels", "two-labels", "duplicates", "blank"} & set(found)


def test_a_real_copy_among_twelve_bit_images_is_still_found(tmp_path):
    data = write_grounds(tmp_path / "data", "png", 12)
    values = np.asarray(Image.open(data / "one" / "004.png")).astype(np.float64)
    Image.fromarray((values * 0.9).astype(np.uint16)).save(data / "several" / "darker.png")
    found = rules_of(check(data))["near-two-labels"]
    assert found.count == 1


@pytest.mark.parametrize("scale", [1.0, 0.001])
def test_floating_point_tiffs_are_read_by_the_range_of_the_set(tmp_path, scale):
    data = write_grounds(tmp_path / "data", "tiff", 8, scale, np.float32)
    found = rules_of(check(data))
    assert found["value-range"].severity == "note"
    assert not {"unsupported", "cut-off", "no-image", "blank", "near-two-labels"} & set(found)


@pytest.mark.parametrize("values", [np.full((64, 64), 500, np.uint16), np.full((64, 64, 3), 90, np.uint8)])
def test_a_set_of_nothing_but_one_colour_is_refused_by_both_in_the_same_words(tmp_path, command, values):
    for label in ("cat", "dog"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for index in range(6):
            Image.fromarray(values).save(tmp_path / "data" / label / f"{index}.png")
    (found,) = (one for one in check(tmp_path / "data").findings if one.rule == "nothing-to-see")
    assert (found.severity, bool(found.stops)) == ("error", True)
    code, _, said = command("train", tmp_path / "data", "--device", "cpu", "--out", tmp_path / "run")
    assert code == 1
    assert found.title in " ".join(said.split())
    assert not (tmp_path / "run").exists()


def test_a_jpeg_of_120_megapixels_is_too_large_and_not_cut_off(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for index in range(3):
            noise = np.random.default_rng(index + 10 * (label == "cat")).integers(0, 256, (32, 32), np.uint8)
            Image.fromarray(noise).save(tmp_path / label / f"{index}.png")
    Image.new("L", (12_000, 10_000), 128).save(tmp_path / "cat" / "scan.jpg", quality=1)
    found = rules_of(check(tmp_path))
    assert "cut-off" not in found
    assert "12000 x 10000 pixels; at most 100,000,000 are read" in found["too-large"].examples[0].note
    assert (found["too-large"].severity, found["too-large"].count) == ("error", 1)
