"""What version 0.1 wrote still opens, answers, resumes and is evaluated: tests/files/version-0.1.zip was made by it."""

import json
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

import catseye
from catseye.cli import app
from catseye.runs import open_run

ARCHIVE = Path(__file__).parents[1] / "files" / "version-0.1.zip"


@pytest.fixture
def old(tmp_path):
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    return tmp_path


@pytest.mark.parametrize("model", ["finished", "exported/model.onnx"])
def test_old_models_answer_as_they_did(old, model):
    expected = json.loads((old / "answers.json").read_text())[model]
    classifier = catseye.load(old / model)
    for image, probabilities in expected.items():
        assert classifier.predict(old / image).probabilities == pytest.approx(probabilities, abs=1e-5)


def test_an_old_run_is_evaluated_and_exported(old):
    evaluation = catseye.evaluate(old / "finished")
    assert evaluation.metrics.num_images == 359
    assert evaluation.metrics.accuracy == pytest.approx(0.8746518, abs=0.003)
    assert catseye.export(old / "finished", out=old / "again").path.exists()


def test_an_old_export_says_where_it_came_from(old):
    told = CliRunner().invoke(app, ["info", str(old / "exported" / "model.onnx"), "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["manifest"]["parity"]["num_images"] == 256


def test_an_old_stopped_run_goes_on(old):
    rows = open_run(old / "stopped").history
    done = CliRunner().invoke(app, ["train", "--resume", str(old / "stopped")])
    assert done.exit_code == 0, done.output
    history = open_run(old / "stopped").history
    assert history[: len(rows)] == rows
    assert len(history) == 60
    assert open_run(old / "stopped").metrics["accuracy"] > 0.9
