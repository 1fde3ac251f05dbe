"""Images that DATA lists without a label: left out of training, asked about in review, then trained on."""

import numpy as np
import pytest
from PIL import Image

import catseye
from catseye.data.sources import NOT_SPLIT, TEST, TRAIN, open_source
from catseye.data.sources.corrections import (
    HEADER,
    Correction,
    describe_corrections,
    parse_corrections,
    standing,
    uncorrected,
)
from catseye.data.sources.image_set import content_digest
from catseye.data.sources.missing_labels import NO_LABEL, with_unlabelled
from catseye.data.survey import fingerprint_images
from catseye.embedding.embed import embed_what_is_new
from catseye.errors import UsageError
from catseye.review.desk import Desk
from catseye.review.items import make_queue
from catseye.review.log import CorrectionLog
from catseye.review.material import gather_material, list_data
from catseye.settings.schema import DataSettings
from tests.unit.test_teach import make_frozen

NOW = "2026-11-26T10:00:00+00:00"
EACH, WITHOUT = 24, 6
INK = {"rust": (190, 60, 30), "moss": (60, 150, 50), "slate": (70, 80, 110)}


def write(path, kind: str, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([number, *INK[kind]]).normal(0, 25, (20, 24, 3))
    Image.fromarray((np.array(INK[kind]) + noise).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two class folders, and `unlabelled` with images of both and one of a third kind."""
    root = tmp_path / "stones"
    for kind in ("rust", "moss"):
        for number in range(EACH):
            write(root / kind / f"{number:02d}.png", kind, number)
    for number in range(WITHOUT):
        write(root / "unlabelled" / f"{number}.png", ("rust", "moss", "slate")[number % 3], 100 + number)
    return root


@pytest.fixture
def listed(folder):
    """The same as a list with empty cells."""
    lines = [f"{p.relative_to(folder.parent).as_posix()},{'' if p.parent.name == 'unlabelled' else p.parent.name}"
             for p in sorted(folder.rglob("*.png"))]  # fmt: skip
    path = folder.parent / "stones.csv"
    path.write_text("\n".join(["path,label", *lines]) + "\n")
    return path


@pytest.fixture(params=["folder", "list"])
def data(request, folder, listed):
    return folder if request.param == "folder" else listed


def decide(data, *labels: tuple[str, str]):
    """A file of corrections about images in `unlabelled`: (name, new label)."""
    root, rows = data.parent / "stones" / "unlabelled", []
    for name, new in labels:
        content = (root / name).read_bytes()
        digest = content_digest(content).hex()
        rows.append(Correction(f"unlabelled/{name}", digest, len(content), "", new, "relabel", "ann", NOW))
    path = data.parent / "corrections.csv"
    path.write_bytes(HEADER + b"".join(row.row() for row in rows))
    return DataSettings(corrections=str(path))


def test_they_are_left_out_with_their_number(data):
    found = open_source(data)
    assert found.classes == ("moss", "rust")
    assert len(found) == 2 * EACH
    assert f"{WITHOUT} " in "".join(found.notes)
    assert "left out" in "".join(found.notes)
    assert "catseye review" in "".join([*found.notes, *found.remarks])
    whole = with_unlabelled(found)
    assert len(whole) == 2 * EACH + WITHOUT
    assert set(whole.labels[2 * EACH :].tolist()) == {NO_LABEL}
    assert whole.read(2 * EACH) == (data.parent / "stones" / "unlabelled" / "0.png").read_bytes()


def test_what_the_user_names_a_class_is_one(folder):
    assert open_source(folder, settings=DataSettings(layout="classes")).classes == ("moss", "rust", "unlabelled")


def test_beside_a_single_class_the_name_is_that_of_a_class(folder):
    (folder / "moss").rename(folder.parent / "moss")
    found = open_source(folder)
    assert found.classes == ("rust", "unlabelled")
    assert found.unlabelled is None


def test_a_decision_gives_them_a_label_and_moves_no_other_image(data):
    given = open_source(data)
    found = open_source(data, settings=decide(data, ("0.png", "rust"), ("2.png", "slate")))
    assert len(found) == 2 * EACH + 2
    assert [found.classes[label] for label in found.labels[-2:]] == ["rust", "slate"]
    assert found.splits[-2:].tolist() == [TRAIN, TRAIN]
    assert set(found.splits[:-2].tolist()) == {NOT_SPLIT}
    assert "2 images without a label now have one" in describe_corrections(found.corrected)
    assert found.corrected.num_relabelled == found.corrected.num_unmatched == 0
    before = uncorrected(found)
    assert (before.classes, list(before.names)) == (given.classes, list(given.names))
    assert fingerprint_images(before) == fingerprint_images(given)


def test_a_list_says_on_which_side_they_are(listed):
    lines = listed.read_text().splitlines()
    sides = ["split", *("train" if number % 3 else "test" for number in range(len(lines) - 1))]
    listed.write_text("\n".join(f"{line},{side}" for line, side in zip(lines, sides, strict=True)) + "\n")
    found = open_source(listed, settings=decide(listed, ("0.png", "rust"), ("1.png", "moss"), ("2.png", "moss")))
    wanted = {line.split(",")[0].rpartition("/")[2]: line.endswith("test") for line in listed.read_text().splitlines()
              if "unlabelled" in line}  # fmt: skip
    there = {
        name.rpartition("/")[2]: side == TEST
        for name, side in zip(list(found.names)[-3:], found.splits[-3:], strict=True)
    }
    assert there == {name: wanted[name] for name in there}


@pytest.fixture
def desk(data, tmp_path):
    images = list_data(data, DataSettings(), None, None)
    log = CorrectionLog(tmp_path / "c.csv", "ann")
    keep = tmp_path / "features.npz"
    material = gather_material(images, log.standing, make_frozen().backbone, keep, lambda line: None)
    yield Desk(material, make_queue(material), log, "here")
    log.close()


def test_review_asks_for_them_last_and_takes_labels(desk, data, tmp_path):
    numbers = [number for number, item in enumerate(desk.queue) if item.kind == "unlabelled"]
    assert len(numbers) == WITHOUT
    assert numbers[-1] == len(desk.queue) - 1
    told = desk.question(numbers[0])
    assert told["images"][0]["label"] == told["images"][0]["given"] == "no label"
    assert told["likely"] in ("moss", "rust")
    assert told["likely"] in told["reason"]
    with pytest.raises(UsageError, match="press R and choose its class"):
        desk.decide(numbers[0], "keep")
    with pytest.raises(UsageError, match="press R and choose its class"):
        desk.decide(numbers[0], "merge", "moss")
    desk.decide(numbers[0], "relabel", "slate")
    desk.decide(numbers[1], "drop")
    desk.decide(numbers[2], "unsure")
    rows = parse_corrections((tmp_path / "c.csv").read_bytes(), "c")[0]
    assert [(row.kind, row.old, row.new) for row in rows] == [
        ("relabel", "", "slate"), ("drop", "", ""), ("unsure", "", "")]  # fmt: skip
    assert desk.question(numbers[0])["images"][0]["label"] == "slate"
    assert desk.question(numbers[1])["images"][0]["label"] == "left out"
    assert len(standing(rows).by_digest) == 3
    found = open_source(data, settings=DataSettings(corrections=str(tmp_path / "c.csv")))
    assert len(found) == 2 * EACH + 1
    assert "correction" in desk.worth()["sentence"]


def test_training_takes_them(data, tmp_path):
    settings = decide(data, ("0.png", "rust"), ("3.png", "rust"), ("1.png", "moss"))
    options = {"model": "lenet5", "epochs": 1, "device": "cpu"}
    plain = catseye.train(data, out=tmp_path / "plain", **options)
    more = catseye.train(data, out=tmp_path / "more", settings={"data.corrections": settings.corrections}, **options)
    sides = [run.run.data["splits"] for run in (plain, more)]
    assert set(sides[1]["train"]) - set(sides[0]["train"]) == {
        name for name in sides[1]["train"] if "unlabelled" in name
    }
    assert len(sides[1]["train"]) == len(sides[0]["train"]) + 3
    assert [sides[0][side] for side in ("val", "test")] == [sides[1][side] for side in ("val", "test")]
    assert more.run.data["corrections"]["num_labelled"] == 3
    assert more.run.data["corrections"]["data_sha256"] == plain.run.data["sha256"]


def test_images_that_came_after_the_first_review_are_embedded_too(folder, tmp_path):
    backbone, keep = make_frozen().backbone, tmp_path / "features.npz"
    first = embed_what_is_new(list_data(folder, DataSettings(), None, None), backbone, keep, lambda line: None)
    (folder / "moss" / "03.png").unlink()
    write(folder / "moss" / "new.png", "moss", 500)
    (folder / "rust" / "cut.png").write_bytes(b"\x89PNG")
    told: list[str] = []
    images = list_data(folder, DataSettings(), None, None)
    found = embed_what_is_new(images, backbone, keep, told.append)
    assert told == ["2 of 2 new images"]
    assert set(found.names) == {*first.names, "moss/new.png"} - {"moss/03.png"}
    rows = {name: row for row, name in enumerate(first.names)}
    for row, name in enumerate(found.names):
        assert found.digests[row] == content_digest((folder / name).read_bytes()).hex()
        if name in rows:
            np.testing.assert_array_equal(found.values[row], first.values[rows[name]])
        assert images.labels[list(images.names).index(name)] == found.labels[row]
