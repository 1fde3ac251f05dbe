"""`evaluate RUN DATA` where DATA holds images that trained the run: found by content, left out or told."""

import json
import shutil

import pytest

import catseye
from catseye.data.moved import locate_data
from catseye.errors import DataError
from catseye.evaluation.measure import measure
from catseye.runs import open_run
from catseye.runtimes.loading import open_model


@pytest.fixture(scope="module")
def run(shapes, tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    data = shutil.copytree(shapes, root / "data")
    return catseye.train(data, model="lenet5", out=root / "run", epochs=1, device="cpu").run


@pytest.fixture
def data(run):
    from pathlib import Path

    return Path(run.data["source"])


def images_of(run, side):
    return list(run.data["splits"][side].items())


def copy_some(run, side, count, root, start=0):
    """Images of one side under other names."""
    for number, (name, label) in enumerate(images_of(run, side)[:count]):
        folder = root / label
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(f"{run.data['source']}/{name}", folder / f"renamed-{start + number}.png")


def test_the_runs_own_folder_as_data_scores_what_was_held_out(run, data, tmp_path):
    given = catseye.evaluate(run.path, data, out=tmp_path / "a", device="cpu")
    own = catseye.evaluate(run.path, out=tmp_path / "b", device="cpu")
    assert given.metrics.to_json() == own.metrics.to_json()
    assert given.trained_on == 0


def test_a_moved_folder_is_the_same(run, data, tmp_path):
    moved = shutil.copytree(data, tmp_path / "elsewhere" / "data")
    found = catseye.evaluate(run.path, moved, out=tmp_path / "out", device="cpu")
    assert found.metrics.num_images == len(run.data["splits"]["test"])
    validation = measure(open_model(run.path, device="cpu"), split="val", moved=moved)
    assert sorted(validation.names) == sorted(run.data["splits"]["val"])


def test_training_images_under_other_names_are_told_everywhere(run, tmp_path):
    copy_some(run, "train", 30, tmp_path / "new")
    found = catseye.evaluate(run.path, tmp_path / "new", out=tmp_path / "out", device="cpu")
    assert found.trained_on == 30
    assert any(note.startswith("TRAINED ON: 30 of 30 images were used to train") for note in found.notes)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["trained_on"] == 30
    assert "TRAINED ON: 30 of 30" in (tmp_path / "out" / "report.html").read_text()


def test_the_headline_the_json_and_the_page_say_that_a_score_is_trained_on(run, tmp_path, command):
    copy_some(run, "train", 30, tmp_path / "new")
    code, told, said = command("evaluate", run.path, "--data", tmp_path / "new", "--out", tmp_path / "out")
    assert code == 0, said
    (score,) = (line for line in told.splitlines() if line.startswith("trained on"))
    assert score.startswith("trained on 30 of these 30 images, so the score is too high; ")
    assert "95% interval" in score
    assert "TRAINED ON: 30 of 30 images were used to train" in said
    assert json.loads(command("evaluate", run.path, tmp_path / "new", "--json")[1])["trained_on"] == 30
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<span>accuracy, trained on</span>" in page
    assert "too high: 30 of 30 images are training images" in page
    facts = page[page.index('<ul class="facts">') :]
    assert facts.index('<li class="bad">TRAINED ON: 30 of 30') < facts.index("Always guessing")

    code, told, _ = command("evaluate", run.path)
    assert "trained on" not in told
    assert json.loads(command("evaluate", run.path, "--json")[1])["trained_on"] == 0
    assert "trained on</span>" not in (run.path / "report.html").read_text()


def test_where_held_out_images_are_among_them_these_are_scored(run, tmp_path):
    copy_some(run, "train", 20, tmp_path / "new")
    copy_some(run, "test", 12, tmp_path / "new", start=100)
    found = catseye.evaluate(run.path, tmp_path / "new", out=tmp_path / "out", device="cpu")
    assert (found.trained_on, found.metrics.num_images) == (0, 12)
    assert any("its 12 test images are scored, not the 20 images that trained" in note for note in found.notes)


def test_new_images_are_scored_without_a_word(run, images, tmp_path):
    classes = dict.fromkeys(run.data["classes"], 3)
    found = catseye.evaluate(run.path, images(classes), out=tmp_path / "out", device="cpu")
    assert (found.trained_on, found.metrics.num_images) == (0, 9)
    assert not [note for note in found.notes if "train" in note]


def test_an_exported_file_knows_its_own_data_by_the_fingerprint(run, data, tmp_path):
    exported = catseye.export(run.path, out=tmp_path / "file", device="cpu")
    found = catseye.evaluate(exported.path, data, device="cpu")
    assert found.trained_on == found.metrics.num_images
    assert any(note.startswith("TRAINED ON: ") for note in found.notes)


def test_a_run_without_recorded_contents_reads_them_where_they_are(run, tmp_path):
    older = shutil.copytree(run.path, tmp_path / "older")
    recorded = {key: value for key, value in run.data.items() if key not in ("content", "near_copies")}
    (older / "data.json").write_text(json.dumps(recorded))
    copy_some(run, "train", 5, tmp_path / "new")
    assert catseye.evaluate(older, tmp_path / "new", device="cpu").trained_on == 5


def test_moved_data_is_accepted_by_its_fingerprint_alone(run, data, tmp_path):
    recorded = open_run(run.path).data
    moved = shutil.copytree(data, tmp_path / "moved")
    assert locate_data(recorded) == str(data)
    assert locate_data(recorded, moved) == str(moved)
    gone = next(iter(recorded["splits"]["train"]))
    (moved / gone).unlink()
    with pytest.raises(DataError, match=f"{gone} is missing"):
        locate_data(recorded, moved)
    with pytest.raises(DataError, match="which does not exist; give --data NEW_PLACE"):
        locate_data({**recorded, "source": str(tmp_path / "nowhere")})


def test_compare_asks_about_all_of_data_and_says_what_trained_whom(run, data, tmp_path):
    from catseye.evaluation.compare import compare

    exported = shutil.copytree(run.path, tmp_path / "again")
    found = compare([run.path, exported], data, device="cpu")
    num = len(run.data["splits"]["train"])
    assert found.num_images > num
    assert found.notes == (
        f"{run.path}: {num} of these images trained it", f"{exported}: {num} of these images trained it"
    )  # fmt: skip
