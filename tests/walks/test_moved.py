"""A run whose images were moved: every command that needs them says where it expects them and takes the new place."""

import json
import shutil
import signal

import numpy as np
import pytest
from safetensors.numpy import load_file

import catseye
from catseye.errors import DataError, Interrupted, UnknownName
from catseye.evaluation.calibrate import calibrate
from catseye.manifest import METADATA_KEY
from catseye.runs import open_run
from catseye.tensor_files import read_tensors, write_tensors
from catseye.training.signals import StopRequest
from tests.conftest import write_tinted

SMALL = {"training.epochs": 1, "training.batch_size": 8}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, trained with a layout that only an option decides, and its images at a new place."""
    root = tmp_path_factory.mktemp("moving")
    for place in ("north", "south"):
        write_tinted(root / "before" / place, 8)
    settings = {**SMALL, "data.layout": "splits"}
    run = catseye.train(root / "before", model="lenet5", seed=1, settings=settings, out=root / "run", device="cpu").path
    (root / "after" / "deeper").mkdir(parents=True)
    (root / "before").rename(root / "after" / "deeper" / "photos")
    return run, root / "after" / "deeper" / "photos", root / "before"


@pytest.fixture
def others(trained, tmp_path):
    """The images but for one that lies in another class."""
    copy = shutil.copytree(trained[1], tmp_path / "others")
    (copy / "north" / "red" / "03.png").rename(copy / "north" / "blue" / "03-red.png")
    return copy


@pytest.mark.parametrize("verb", ["evaluate", "calibrate", "export"])
def test_without_its_images_a_run_says_where_it_expects_them_and_the_option(trained, command, verb):
    run, _, before = trained
    code, _, said = command(verb, run)
    assert code == 1
    assert f"the run expects its images at {before}, which does not exist" in said
    assert "--data NEW_PLACE" in said


@pytest.mark.parametrize("verb", ["calibrate", "export"])
def test_other_images_are_refused_by_the_first_that_differs(trained, others, command, verb):
    run, _, before = trained
    code, _, said = command(verb, run, "--data", others)
    assert code == 1
    assert f"--data must hold the images of the run, which were at {before}; {others} holds others" in said
    assert "north/red/03.png is missing" in said


def test_evaluate_takes_the_new_place_as_an_option_and_as_an_argument(trained, tmp_path, command):
    run, moved, _ = trained
    results = []
    for words in (["--data", moved], [moved]):
        code, out, said = command("evaluate", run, *words, "--out", tmp_path / "report", "--json")
        assert code == 0, said
        results.append(json.loads(out))
    assert results[0] == results[1]
    assert results[0]["num_images"] == len(open_run(run).data["splits"]["test"])
    assert results[0]["trained_on"] == 0
    assert catseye.evaluate(run, data=moved, out=tmp_path / "again", device="cpu").metrics.to_json() == {
        key: value for key, value in results[0].items() if key != "trained_on"
    }
    code, _, said = command("evaluate", run, moved, "--data", moved)
    assert (code, "leave one of them out" in said) == (2, True)


def test_calibrate_and_export_take_it(trained, tmp_path, command):
    run, moved, _ = trained
    copy = shutil.copytree(run, tmp_path / "copy")
    code, _, said = command("calibrate", copy, "--data", moved)
    assert code == 0, said
    assert json.loads((copy / "calibration.json").read_text())["validation"]["num_images"] > 0
    assert calibrate(copy, data=moved, device="cpu").test is not None
    code, _, said = command("export", copy, "--data", moved, "--out", tmp_path / "model")
    assert code == 0, said
    assert catseye.export(copy, data=moved, out=tmp_path / "again", device="cpu").path.exists()


def stop_after_three_batches(monkeypatch):
    asked = []

    def ask(self):
        asked.append(self)
        self.agreed = signal.SIGINT if len(asked) > 3 else None
        return self.agreed

    monkeypatch.setattr(StopRequest, "agree", ask)


def test_resume_goes_on_with_moved_images_and_remembers_them(tmp_path, monkeypatch, command):
    data = write_tinted(tmp_path / "before", 8)
    options = {"model": "lenet5", "seed": 1, "settings": {**SMALL, "training.epochs": 2}, "device": "cpu"}
    whole = catseye.train(data, **options, out=tmp_path / "whole").path
    with monkeypatch.context() as patch:
        stop_after_three_batches(patch)
        with pytest.raises(Interrupted):
            catseye.train(data, **options, out=tmp_path / "run")
    moved = tmp_path / "after"
    data.rename(moved)

    code, _, said = command("train", "--resume", tmp_path / "run")
    assert code == 1
    assert f"expects its images at {data}" in said
    assert "--data NEW_PLACE" in said
    lacking = shutil.copytree(moved, tmp_path / "lacking")
    (lacking / "red" / "00.png").unlink()
    with pytest.raises(DataError, match=r"lacking holds others \(red/00.png is missing\)"):
        catseye.train(lacking, resume=tmp_path / "run", device="cpu")

    code, _, said = command("train", "--resume", tmp_path / "run", "--data", moved, "--device", "cpu")
    assert code == 0, said
    one, other = (load_file(run / "model.safetensors") for run in (tmp_path / "run", whole))
    for name, value in other.items():
        np.testing.assert_array_equal(one[name], value, err_msg=name)
    assert open_run(tmp_path / "run").data["source"] == str(moved)
    assert catseye.evaluate(tmp_path / "run", device="cpu").metrics.num_images > 0, "asks for no --data any more"


def test_an_option_that_export_does_not_take_is_named(trained):
    with pytest.raises(UnknownName, match="unknown option 'dat'; did you mean data"):
        catseye.export(trained[0], dat=trained[1])


def test_a_moved_run_of_before_learns_to_tell_strangers_from_the_new_place(trained, tmp_path):
    run, moved, _ = trained
    older = shutil.copytree(run, tmp_path / "older")
    tensors, _ = read_tensors(older / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("familiarity.")}
    assert len(kept) < len(tensors)
    plain = catseye.load(run, device="cpu").manifest.model_copy(update={"familiarity_threshold": None})
    write_tensors(older / "model.safetensors", kept, {METADATA_KEY: plain.to_json()})
    assert calibrate(older, data=moved, device="cpu").familiarity_is_new
