"""Decisions about labels from the file to the comparison: train, evaluate, export's images, compare."""

import json
import shutil

import pytest

import catseye
from catseye.data.sources.corrections import Correction
from catseye.data.sources.image_set import content_digest
from catseye.errors import UsageError
from catseye.evaluation.compare import compare
from catseye.review.log import CorrectionLog
from catseye.runs import open_run
from tests.walks.conftest import snapshot

SMALL = {"training.batch_size": 16, "training.lr": 0.02}
WRONG = [("circle", "square", 3), ("circle", "stripes", 11), ("square", "circle", 20), ("stripes", "circle", 5),
         ("stripes", "square", 31), ("square", "stripes", 17)]  # fmt: skip


@pytest.fixture(scope="module")
def mislabelled(shapes, tmp_path_factory):
    """The shapes with six images in wrong folders, and one of noise that belongs to none."""
    root = tmp_path_factory.mktemp("wrong") / "shapes"
    shutil.copytree(shapes, root)
    for true, said, number in WRONG:
        (root / true / f"{number:03d}.png").rename(root / said / f"{true}-{number}.png")
    shutil.copy(shapes.parent / "shapes" / "circle" / "000.png", root / "square" / "other.png")
    return root


@pytest.fixture(scope="module")
def corrections(mislabelled):
    path = mislabelled.parent / "corrections.csv"
    log = CorrectionLog(path, "ann")

    def row(name, kind, new):
        content = (mislabelled / name).read_bytes()
        old = name.split("/")[0]
        return Correction(name, content_digest(content).hex(), len(content), old, new, kind, "ann", log.stamp())

    log.append([row(f"{said}/{true}-{number}.png", "relabel", true) for true, said, number in WRONG])
    log.close()
    return path


@pytest.fixture(scope="module")
def runs(mislabelled, corrections, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    before = snapshot(mislabelled)
    for name, file in (("old", None), ("new", corrections)):
        settings = {**SMALL, **({"data.corrections": str(file)} if file else {})}
        catseye.train(mislabelled, out=root / name, model="lenet5", epochs=3, device="cpu", settings=settings)
    assert snapshot(mislabelled) == before
    return root


def test_corrections_move_no_image_to_another_side(runs):
    old, new = (open_run(runs / name).data["splits"] for name in ("old", "new"))
    for side in ("train", "val", "test"):
        assert set(old[side]) == set(new[side])
    labels = {name: label for names in new.values() for name, label in names.items()}
    assert all(labels[f"{said}/{true}-{number}.png"] == true for true, said, number in WRONG)


def test_the_run_keeps_and_records_what_was_decided(runs, corrections):
    assert (runs / "new" / "corrections.csv").read_bytes() == corrections.read_bytes()
    told = open_run(runs / "new").data["corrections"]
    assert (told["num_decisions"], told["num_relabelled"], told["num_left_out"], told["num_unmatched"]) == (6, 6, 0, 0)
    assert told["data_sha256"] == open_run(runs / "old").data["sha256"]
    assert open_run(runs / "old").data.get("corrections") is None


def test_compare_holds_both_to_the_corrected_labels(runs):
    found = compare([runs / "old", runs / "new"], device="cpu")
    (worth,) = found.corrections
    assert worth.num_corrections == 6
    assert worth.num_images == len(open_run(runs / "new").data["splits"]["test"])
    assert worth.accuracy_after == pytest.approx(open_run(runs / "new").metrics["accuracy"])
    assert worth.low <= worth.accuracy_after - worth.accuracy_before <= worth.high
    assert found.to_lines()[-1].startswith("6 corrections, accuracy ")
    assert "paired, p = " in found.to_lines()[-1]
    json.dumps(found.to_json(), allow_nan=False)
    flipped = compare([runs / "new", runs / "old"], device="cpu")
    assert not flipped.corrections
    assert flipped.rows[0].accuracy == found.rows[1].accuracy


def test_a_grown_file_changes_no_run(runs, mislabelled, corrections, tmp_path):
    """What was decided later is not what the run was trained with."""
    before = catseye.evaluate(runs / "new", out=tmp_path).metrics.accuracy
    whole = corrections.read_bytes()
    log = CorrectionLog(corrections)
    log.append([Correction("", "", 0, "circle", "square", "merge", "ann", log.stamp())])
    log.close()
    try:
        assert catseye.evaluate(runs / "new", out=tmp_path).metrics.accuracy == before
    finally:
        corrections.write_bytes(whole)


def test_a_moved_folder_is_still_the_runs_own(runs, mislabelled, tmp_path):
    shutil.copytree(mislabelled, tmp_path / "elsewhere")
    found = catseye.evaluate(runs / "new", tmp_path / "elsewhere", out=tmp_path / "out")
    assert found.trained_on == 0
    assert found.metrics.num_images == open_run(runs / "new").metrics["num_images"]
    assert found.metrics.accuracy == pytest.approx(open_run(runs / "new").metrics["accuracy"])


def test_merged_and_left_out(runs, mislabelled, corrections, tmp_path):
    path = tmp_path / "more.csv"
    path.write_bytes(corrections.read_bytes())
    log = CorrectionLog(path)
    content = (mislabelled / "square" / "other.png").read_bytes()
    drop = Correction("o", content_digest(content).hex(), len(content), "", "", "drop", "ann", log.stamp())
    log.append([drop, Correction("", "", 0, "stripes", "square", "merge", "ann", log.stamp())])
    log.close()
    settings = {**SMALL, "data.corrections": str(path)}
    trained = catseye.train(
        mislabelled, out=tmp_path / "run", model="lenet5", epochs=1, device="cpu", settings=settings
    )
    assert trained.run.data["classes"] == ["circle", "square"]
    assert trained.run.data["corrections"]["num_left_out"] == 2  # the copy in circle has the same content
    names = {name for each in trained.run.data["splits"].values() for name in each}
    assert not {"square/other.png", "circle/000.png"} & names
    found = compare([runs / "old", trained.path], device="cpu")
    assert [len(row.name) > 0 for row in found.rows] == [True, True]
    assert found.corrections[0].num_corrections == 8
    shutil.copytree(trained.path, tmp_path / "plain")
    record = json.loads((tmp_path / "plain" / "data.json").read_text())
    del record["corrections"]
    (tmp_path / "plain" / "data.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="other classes"):
        compare([runs / "old", tmp_path / "plain"], mislabelled, device="cpu")


def test_the_command_says_what_was_applied(mislabelled, corrections, command, tmp_path):
    words = ["train", mislabelled, "--corrections", corrections, "-m", "lenet5", "-e", "1", "--device", "cpu"]
    code, _, told = command(*words, "--out", "run")
    assert code == 0, told
    assert f"corrections: 6 decisions in {corrections}: 6 images relabelled, 0 left out" in told
    assert open_run(tmp_path / "run").data["corrections"]["num_relabelled"] == 6


def test_a_missing_file_stops_the_command(shapes, command):
    code, _, told = command("train", shapes, "--corrections", "none.csv", "--out", "run")
    assert code == 1
    assert "none.csv cannot be read" in told


def test_what_was_labelled_is_data(shapes, corrections, command, tmp_path, monkeypatch):
    """The list of `catseye label` is read by train as DATA: its paths are relative to it."""
    log = CorrectionLog(tmp_path / "labels.csv", "ann")
    for kind in ("circle", "square"):
        for number in range(8):
            path = shapes / kind / f"{number:03d}.png"
            content = path.read_bytes()
            digest = content_digest(content).hex()
            log.append([Correction(str(path), digest, len(content), "", kind, "relabel", "ann", log.stamp())])
    log.append([Correction(str(path), digest, len(content), "", "", "drop", "ann", log.stamp())])
    log.close()
    code, _, told = command("train", "labels.csv", "-m", "lenet5", "-e", "1", "--device", "cpu", "--out", "run")
    assert code == 0, told
    splits = open_run(tmp_path / "run").data["splits"]
    assert sum(len(names) for names in splits.values()) == 15
