"""The parts of a large job without an engine: cutting, writing, resuming, refusing."""

import hashlib
import json
import re
import tracemalloc

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import catseye
from catseye.cli import app
from catseye.errors import DataError, MissingDependency, ModelFileError, SaveError, UsageError
from catseye.prediction import predict as walk
from catseye.prediction.parts import do_part, finished, part_path, to_table
from catseye.prediction.paths import PredictionRow, predict_files, walk_images
from catseye.prediction.plan import PredictionPlan, digest_of_model, make_plan, read_list, read_plan
from catseye.prediction.ray_engine import _share_out, open_classifier
from tests.conftest import encode, random_pixels
from tests.unit.onnx_files import tiny_model

MODEL = "a" * 64


def plan_of(paths, out, **more):
    return make_plan(iter(paths), out, **{"model_sha256": MODEL, "part_size": 3, "top": 2, **more})


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "tints.onnx"
    path.write_bytes(tiny_model().SerializeToString())
    return path


@pytest.fixture
def photos(tmp_path):
    """Eleven images, one of which is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(11):
        content = b"broken" if number == 4 else encode(random_pixels(number, 9, 7))
        (folder / f"{number:02d}.png").write_bytes(content)
    return folder


@pytest.fixture
def engine(monkeypatch):
    """The worker's own work, done by this process; `engine.done` are the parts in the order they were done."""

    class Here:
        done: list[int]
        stop_after = 10**9

        def __call__(self, model, out, parts, workers):
            classifier, plan = open_classifier(model, workers.device, workers.trust), read_plan(out)
            for part in parts:
                if len(self.done) == self.stop_after:
                    raise KeyboardInterrupt
                self.done.append(part)
                yield do_part(classifier, out, plan, part)

    here = Here()
    here.done = []
    monkeypatch.setattr(walk, "run_parts", here)
    return here


@pytest.mark.parametrize(("count", "lengths"), [(1, [1]), (3, [3]), (4, [3, 1]), (10, [3, 3, 3, 1])])
def test_every_image_is_in_one_part(tmp_path, count, lengths):
    paths = [f"p/{number}.png" for number in range(count)]
    plan = plan_of(paths, tmp_path / "out")
    assert [plan.length(part) for part in range(plan.num_parts)] == lengths
    assert [path for part in range(plan.num_parts) for path in plan.images(tmp_path / "out", part)] == paths


def test_odd_names_survive(tmp_path):
    paths = ["a\nb.png", "caf\udce9.png", 'say "x".png', "ä/ö.png", " .png"]
    plan = plan_of(paths, tmp_path / "out", part_size=2)
    assert [path for part in range(3) for path in plan.images(tmp_path / "out", part)] == paths
    assert to_table([PredictionRow("caf\udce9.png", [("cat", 1.0)])], 1)["path"].to_pylist() == ["caf\\xe9.png"]


def test_the_plan_outlives_the_process(tmp_path):
    plan = plan_of(["a", "b"], tmp_path / "out")
    assert read_plan(tmp_path / "out") == plan == plan_of(["a", "b"], tmp_path / "out")
    assert not list((tmp_path / "out").glob(".*.new"))


@pytest.mark.parametrize(
    ("paths", "more", "message"),
    [
        ("abd", {}, "others"),
        ("abcd", {}, "3 images, and now there are 4"),
        ("abc", {"model_sha256": "b" * 64}, "another model"),
        ("abc", {"part_size": 4}, "--part-size is 4"),
        ("abc", {"top": 3}, "--top 2, and now it is 3"),
    ],
)
def test_a_folder_of_another_call_is_refused(tmp_path, paths, more, message):
    before = plan_of("abc", tmp_path / "out")
    with pytest.raises(UsageError, match=message):
        plan_of(paths, tmp_path / "out", **more)
    assert read_plan(tmp_path / "out") == before
    assert before.images(tmp_path / "out", 0) == ["a", "b", "c"]


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        plan_of("abc", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_nothing_to_do_is_said(tmp_path):
    with pytest.raises(DataError, match="nothing to classify"):
        plan_of([], tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="--out"):
        plan_of("abc", tmp_path / "file" / "out")


@pytest.mark.parametrize(
    "text", ["{", "1", "[]", '"a"', "{}", "[" * 100_000, '{"offsets": 1}', "WHOLE-1", "WHOLE0"], ids=range(9)
)
def test_a_damaged_plan_is_said(text, tmp_path):
    """No JSON, another kind of JSON, too deep, and numbers with which no part could be found."""
    plan_of("abc", tmp_path)
    whole = (tmp_path / "plan.json").read_text()
    text = {
        "WHOLE-1": whole.replace('"num_images": 3', '"num_images": -1'),
        "WHOLE0": re.sub(r'"part_size": \d+', '"part_size": 0', whole),
    }.get(text, text)
    assert text != whole
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(UsageError, match="damaged"):
        read_plan(tmp_path)


def test_memory_does_not_grow_with_the_list(tmp_path):
    """Forty thousand paths of 100 characters are 6 MB as strings."""
    tracemalloc.start()
    try:
        plan_of((f"{number:0100d}.png" for number in range(40_000)), tmp_path / "out", part_size=1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_walking_is_in_the_order_of_whole_paths(tmp_path, monkeypatch):
    for name in ("a/x.png", "a-b/x.png", "a.png", "a/b/c.PNG", "b/é.jpg", ".hidden/x.png", "b/.x.png", "z/note.txt"):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_bytes(b"")
    (tmp_path / "p" / "loop").symlink_to(tmp_path / "p")
    monkeypatch.chdir(tmp_path)
    wanted = sorted(f"p/{name}" for name in ("a/x.png", "a-b/x.png", "a.png", "a/b/c.PNG", "b/é.jpg"))
    assert list(walk_images(["p"])) == list(walk_images(["p/"])) == wanted
    monkeypatch.chdir(tmp_path / "p")
    assert list(walk_images(["."])) == [name[2:] for name in wanted]


def test_a_part_is_what_predict_says(model, photos, tmp_path):
    """To the bit, and the bad image is a row with its error."""
    out, paths = tmp_path / "out", [str(path) for path in sorted(photos.iterdir())]
    plan = plan_of(paths, out, part_size=100)
    told = do_part(catseye.load(model), out, plan, 0)
    assert told == {"part": 0, "images": 11, "failed": 1}
    found = pq.read_table(part_path(out, 0)).to_pylist()
    for row, wanted in zip(found, predict_files(catseye.load(model), paths, top=2), strict=True):
        assert row["path"] == wanted.path
        if wanted.error:
            assert row == {**dict.fromkeys(row), "path": wanted.path, "error": wanted.error}
        else:
            answers = [(row["class"], row["probability"]), (row["class_2"], row["probability_2"])]
            assert answers == wanted.top
            assert (row["unknown"], row["error"]) == (False, None)
    assert sum(row["error"] is not None for row in found) == 1


def test_more_classes_than_there_are(model, photos, tmp_path):
    plan = plan_of([str(photos / "00.png")], tmp_path / "out", top=9)
    do_part(catseye.load(model), tmp_path / "out", plan, 0)
    names = pq.read_table(part_path(tmp_path / "out", 0)).column_names
    assert names == [
        "path",
        "class",
        "probability",
        "class_2",
        "probability_2",
        "class_3",
        "probability_3",
        "unknown",
        "error",
    ]


def test_only_whole_parts_of_this_model_count(model, photos, tmp_path):
    out, paths = tmp_path / "out", [str(path) for path in sorted(photos.iterdir())]
    plan = plan_of(paths, out)
    classifier = catseye.load(model)
    assert finished(out, plan) == {}
    for part in range(plan.num_parts):
        do_part(classifier, out, plan, part)
    assert finished(out, plan) == {0: 0, 1: 1, 2: 0, 3: 0}
    part_path(out, 0).write_bytes(part_path(out, 0).read_bytes()[:-20])
    part_path(out, 1).write_bytes(part_path(out, 2).read_bytes())
    part_path(out, 3).write_bytes(b"")
    assert finished(out, plan) == {2: 0}
    other = PredictionPlan(**{**vars(plan), "model_sha256": "b" * 64})
    assert finished(out, other) == {}


def fingerprints(out):
    return {p.name: (p.stat().st_mtime_ns, p.stat().st_ino, p.read_bytes()) for p in out.glob("part-*")}


def test_a_second_call_does_what_is_missing(model, photos, tmp_path, engine):
    out, said = tmp_path / "out", []
    first = walk.predict_in_parts(model, walk_images([str(photos)]), out, part_size=3, tell=said.append)
    assert (first.num_images, first.num_failed, first.num_parts, first.num_parts_before) == (11, 1, 4, 0)
    assert engine.done == [0, 1, 2, 3]
    before = fingerprints(out)
    (out / "part-000002.parquet").unlink()
    engine.done.clear()
    second = walk.predict_in_parts(model, walk_images([str(photos)]), out, part_size=3)
    assert engine.done == [2]
    assert (second.num_parts_before, second.num_images_now, second.num_failed) == (3, 3, 1)
    after = fingerprints(out)
    del before["part-000002.parquet"], after["part-000002.parquet"]
    assert after == before
    engine.done.clear()
    third = walk.predict_in_parts(model, walk_images([str(photos)]), out, part_size=3)
    assert (engine.done, third.num_images_now, third.num_parts_before) == ([], 0, 4)
    assert "4 parts to do" in said[0]


def test_control_c_keeps_what_is_done(model, photos, tmp_path, engine):
    from catseye.errors import Interrupted

    engine.stop_after = 2
    with pytest.raises(Interrupted, match="repeat the same command") as stopped:
        walk.predict_in_parts(model, walk_images([str(photos)]), tmp_path / "out", part_size=3)
    assert stopped.value.exit_code == 130
    engine.stop_after = 10**9
    engine.done.clear()
    walk.predict_in_parts(model, walk_images([str(photos)]), tmp_path / "out", part_size=3)
    assert engine.done == [2, 3]


def test_two_calls_at_a_time_are_one_too_many(model, photos, tmp_path, engine):
    with walk._alone(tmp_path / "out"), pytest.raises(UsageError, match="another process is writing to"):
        walk.predict_in_parts(model, walk_images([str(photos)]), tmp_path / "out")
    assert engine.done == []
    walk.predict_in_parts(model, walk_images([str(photos)]), tmp_path / "out")


def test_the_digest_is_that_of_what_is_computed_with(model, tmp_path):
    assert digest_of_model(model) == hashlib.sha256(model.read_bytes()).hexdigest()
    (tmp_path / "m.xml").write_text("graph")
    (tmp_path / "m.bin").write_bytes(b"1")
    one = digest_of_model(tmp_path / "m.xml")
    (tmp_path / "m.bin").write_bytes(b"2")
    assert digest_of_model(tmp_path / "m.xml") != one
    with pytest.raises(ModelFileError, match=r"model\.safetensors cannot be read"):
        digest_of_model(tmp_path)


def test_a_list_of_paths(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"a.png\r\n\nsub/b c.png\ncaf\xe9.png")
    assert list(read_list(tmp_path / "list.txt")) == ["a.png", "sub/b c.png", "caf\udce9.png"]
    with pytest.raises(DataError, match="--list"):
        list(read_list(tmp_path / "none.txt"))


def test_workers_ask_for_what_there_is():
    assert _share_out({"CPU": 4.0}, 0, 100, "auto") == (4, None)
    assert _share_out({"CPU": 4.0}, 2, 100, "cpu") == (2, None)
    assert _share_out({"CPU": 4.0}, 4, 3, "cpu") == (3, None)
    assert _share_out({"CPU": 8.0, "GPU": 1.0}, 4, 100, "cuda") == (4, 0.25)
    assert _share_out({"CPU": 8.0, "GPU": 4.0}, 2, 100, "cuda") == (2, 1.0)
    with pytest.raises(UsageError, match="at most the cores that Ray has, 4; got 5"):
        _share_out({"CPU": 4.0}, 5, 100, "auto")
    with pytest.raises(UsageError, match="needs a GPU"):
        _share_out({"CPU": 4.0}, 2, 100, "cuda")


def test_without_the_extra(monkeypatch, model, photos, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"pip install 'catseye\[batch\]'"):
        walk.predict_in_parts(model, walk_images([str(photos)]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "rai"], "unknown engine 'rai'"),
        (["--engine", "ray"], "got no --out"),
        (["--engine", "ray", "--out", "o", "--csv", "c"], "got --csv"),
        (["--out", "o"], "--out needs --engine ray"),
        (["--workers", "2"], "--workers needs --engine ray"),
        (["--part-size", "2"], "--part-size needs --engine ray"),
    ],
)
def test_words_that_do_not_fit(model, photos, words, message):
    done = CliRunner().invoke(app, ["predict", str(model), str(photos), *words])
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)


def test_the_command(model, photos, tmp_path, engine):
    (tmp_path / "list.txt").write_text(f"{photos / '00.png'}\n{photos / 'none.png'}\n")
    words = ["--list", str(tmp_path / "list.txt"), "--engine", "ray", "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, ["predict", str(model), *words])
    assert json.loads(done.stdout)["num_images"] == 2
    assert "1 of 2 images could not be read" in str(done.exception)
    done = CliRunner().invoke(app, ["predict", str(model), "--list", str(tmp_path / "list.txt"), "--json"])
    assert [row["path"] for row in json.loads(done.stdout)] == [str(photos / "00.png"), str(photos / "none.png")]
    done = CliRunner().invoke(app, ["predict", str(model)])
    assert "nothing to classify" in str(done.exception)
