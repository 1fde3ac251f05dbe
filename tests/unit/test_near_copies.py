"""Near duplicates at the second look, and the split that keeps them together."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from catseye.data.check.check import check
from catseye.data.check.copies import Glances, copy_groups, find_copies
from catseye.data.check.duplicates import find_twins
from catseye.data.check.looks import make_thumb
from catseye.data.check.second_look import SetMean, own_parts, same_in_every_part, tolerances
from catseye.data.prepare import prepare
from catseye.data.sources import TEST, TRAIN, ImageSet, open_source
from catseye.data.survey import survey
from catseye.settings.schema import DataSettings
from tests.conftest import encode
from tests.photos import as_jpeg, brighter, photo, resized

CPU = torch.device("cpu")


def vase(seed: int) -> np.ndarray:
    """A vase of its own outline on one table before one wall."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (120, 120), (190, 196, 204))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 95, 120, 120), fill=(96, 70, 50))
    widths = rng.uniform(8, 26, 7)
    right = [(60 + width, 30 + 10 * step) for step, width in enumerate(widths)]
    left = [(120 - x, y) for x, y in reversed(right)]
    draw.polygon(right + left, fill=(70, 92, 140))
    draw.rectangle((86, 80, 112, 95), fill=(150, 60, 40))  # on one side: a mirror image is another one
    return np.asarray(image)


def turned(seed: int) -> np.ndarray:
    """A light image of a few spots, turned, with black corners."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (120, 100), (225, 215, 190))
    draw = ImageDraw.Draw(image)
    for _ in range(9):
        x, y, r = *rng.uniform(15, 100, 2), rng.uniform(5, 11)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.integers(170, 210, 3).tolist()))
    return np.asarray(image.rotate(float(rng.uniform(-15, 15)), fillcolor=(0, 0, 0)))


def searched(arrays):
    thumbs = np.stack([make_thumb(Image.fromarray(pixels)) for pixels in arrays])
    num = len(arrays)
    sides = np.array([min(pixels.shape[:2]) for pixels in arrays], np.int32)
    images = ImageSet("arrays", ("a",), [str(i) for i in range(num)], np.zeros(num, np.int64),
                      np.zeros(num, np.int8), lambda index: arrays[index])  # fmt: skip
    glances = Glances(thumbs, sides, np.zeros(num, bool))
    return find_twins(thumbs, np.ones(num, bool)), find_copies(images, glances, np.ones(num, bool))


@pytest.mark.parametrize("draw", [vase, turned])
def test_different_things_in_one_framing_are_no_copies(draw):
    first, both = searched([draw(seed) for seed in range(60)])
    assert len(first.pairs) > 10  # the first look alone takes them for copies
    assert len(both.pairs) == 0


@pytest.mark.parametrize("draw", [vase, turned, photo])
def test_copies_among_them_are_found(draw):
    """Of 15 copies of each kind at most one of those that the first look finds is lost: recall stays as it was."""
    arrays = [draw(seed) for seed in range(30)]
    changes = (
        lambda pixels: as_jpeg(pixels, 50),
        lambda pixels: resized(pixels, 0.6),
        lambda pixels: as_jpeg(brighter(pixels, 0.8), 75),
        lambda pixels: pixels[1:-1, 1:-1],
    )
    for change in changes:
        first, both = searched(arrays + [change(pixels) for pixels in arrays[:15]])
        right = {(i, 30 + i) for i in range(15)}
        candidates, found = (set(map(tuple, twins.pairs.tolist())) for twins in (first, both))
        assert found <= right
        assert len(found) >= len(candidates & right) - 1 >= 11


def test_the_sets_mean_image_is_left_out_of_the_comparison():
    thumbs = np.stack([make_thumb(Image.fromarray(vase(seed))) for seed in range(40)])
    mean = SetMean.of(thumbs, np.ones(40, bool))
    np.testing.assert_allclose(mean.without(thumbs[:1].astype(np.float32), thumbs[1:2].astype(np.float32))[0],
                               thumbs[2:].mean(0), atol=1e-3)  # fmt: skip
    others, _ = own_parts(thumbs[:20], thumbs[20:], mean)
    itself, _ = own_parts(thumbs[:20], thumbs[:20], mean)
    assert itself == pytest.approx(1, abs=1e-4)
    assert others.mean() < 0.5


def test_one_part_that_differs_is_enough():
    pixels = np.asarray(Image.fromarray(photo(3)).resize((64, 64)))
    patched = pixels.copy()
    patched[20:32, 20:32] = 255 - patched[20:32, 20:32]
    allowed = tolerances(np.full(2, 900, np.float32), np.full(2, 64), np.zeros(2, bool))
    stacked = np.stack([pixels, pixels])
    assert same_in_every_part(stacked, np.stack([pixels, patched]), allowed).tolist() == [True, False]


def test_tiny_images_are_not_compared():
    assert len(searched([photo(1, 12, 12), photo(1, 12, 12)])[1].pairs) == 0


# --- the split ----------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path):
    """20 photos with labels that mean nothing, each saved four times: other size, quality and brightness."""
    rng = np.random.default_rng(0)
    for seed in range(20):
        folder = tmp_path / "data" / ("heads", "tails")[seed % 2]
        folder.mkdir(parents=True, exist_ok=True)
        for copy in range(4):
            pixels = brighter(resized(photo(seed), rng.uniform(0.6, 1)), rng.uniform(0.85, 1.15))
            content = encode(pixels, "JPEG", quality=int(rng.integers(60, 95)))
            (folder / f"{rng.integers(10**9):09d}-{seed:02d}{copy}.jpg").write_bytes(content)
    return tmp_path / "data"


def sides_of(prepared):
    """Photo -> the sides on which its copies are."""
    found = {}
    for name, side in zip(prepared.images.names, prepared.splits.tolist(), strict=True):
        found.setdefault(name[-7:-5], set()).add(side)
    return found


def prepared_of(root, **settings):
    return prepare(open_source(root), DataSettings(workers=0, **settings), batch_size=8, seed=0, device=CPU)


def test_no_near_pair_is_parted(copied):
    prepared = prepared_of(copied)
    assert all(len(sides) == 1 for sides in sides_of(prepared).values())
    assert prepared.counts["test"] >= 8
    assert sorted(map(len, prepared.near_copies)) == [4] * 20
    parted = prepared_of(copied, near_copies="ignore")
    assert sum(len(sides) > 1 for sides in sides_of(parted).values()) > 5
    assert parted.near_copies is None


def test_a_given_split_with_near_pairs_across_is_told_once(copied, tmp_path):
    root = tmp_path / "given"
    for number, path in enumerate(sorted(copied.rglob("*.jpg"), key=lambda path: path.name[-7:])):
        folder = root / ("test" if number % 4 == 0 else "train") / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes())
    said = prepared_of(root).verdict.lines()
    told = [line for line in said if "near duplicate" in line]
    assert told[0].startswith("check: warning: 20 test images have a near duplicate in train (e.g. ")
    assert len([line for line in told if "in train" in line]) == 1


def test_published_splits_are_not_searched(copied):
    published = replace(open_source(copied), published=True)
    prepared = prepare(published, DataSettings(workers=0), batch_size=8, seed=0, device=CPU)
    assert prepared.near_copies is None
    assert sum(len(sides) > 1 for sides in sides_of(prepared).values()) > 5


def test_the_search_of_train_reads_each_file_once(copied):
    images = open_source(copied)
    read = []

    class Counting:
        def __call__(self, index):
            read.append(index)
            return images.read(index)

        size_bytes = images.read.size_bytes

    without_copies = [index for index, name in enumerate(images.names) if name.endswith("0.jpg")]
    few = ImageSet(images.source, images.classes, images.names, images.labels, images.splits, Counting())
    survey(few, near=True)
    assert max(np.bincount(read)) == 2  # one look at all, one at the candidates
    read.clear()
    names = [images.names[index] for index in without_copies]

    class Fewer(Counting):
        def __call__(self, index):
            return super().__call__(without_copies[index])

        def size_bytes(self, index):
            return images.read.size_bytes(without_copies[index])

    alone = ImageSet(images.source, images.classes, names, images.labels[without_copies],
                     images.splits[without_copies], Fewer())  # fmt: skip
    survey(alone, near=True)
    assert sorted(read) == without_copies


def test_check_and_train_find_the_same_pairs(copied):
    images = open_source(copied)
    found = survey(images, near=True)
    verdict = check(copied)
    told = next(one for one in verdict.findings if one.rule == "near-duplicates")
    assert told.count == 80
    assert "that of catseye train does not" in told.title
    assert {frozenset(pair) for pair in found.near.pairs.tolist()} == {frozenset(one.images) for one in told.examples}
    groups = copy_groups(images, found.groups, found.near)
    assert json.loads(json.dumps(groups)) == groups


def test_equal_and_near_copies_make_one_group(tmp_path):
    for seed in range(12):
        folder = tmp_path / "ab"[seed % 2]
        folder.mkdir(exist_ok=True)
        content = io.BytesIO()
        Image.fromarray(photo(seed)).save(content, "PNG")
        (folder / f"{seed:02d}.png").write_bytes(content.getvalue())
    (tmp_path / "a" / "equal.png").write_bytes((tmp_path / "a" / "00.png").read_bytes())
    (tmp_path / "b" / "near.jpg").write_bytes(encode(photo(0), "JPEG", quality=70))
    prepared = prepared_of(tmp_path)
    assert prepared.near_copies == [["a/00.png", "a/equal.png", "b/near.jpg"]]
    sides = dict(zip(prepared.images.names, prepared.splits.tolist(), strict=True))
    assert len({sides[name] for name in prepared.near_copies[0]}) == 1
    assert {TRAIN, TEST} <= set(sides.values())
