"""A run's probabilities are fitted to its validation images, and every export says "unknown" as the run does."""

import json

import numpy as np
import pytest

import catseye
from catseye.errors import CatseyeError, UsageError
from catseye.evaluation import calibrate as module
from catseye.evaluation.calibrate import calibrate
from catseye.evaluation.rejection import choose_threshold
from catseye.exporting.export import export


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Digits, stopped early, so that some answers are wrong."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    settings = {"training.batch_size": 128, "data.val_fraction": 0.4}
    return catseye.train("digits", model="lenet5", epochs=3, out=out, device="cpu", settings=settings).path


def test_training_fits_the_temperature(run):
    manifest = catseye.load(run, device="cpu").manifest
    assert manifest.temperature != 1.0
    assert manifest.unknown_threshold is None
    stored = json.loads((run / "metrics.json").read_text())["calibration"]
    assert stored["temperature"] == manifest.temperature
    assert stored["after"]["loss"] < stored["before"]["loss"]


def test_the_run_and_its_export_say_unknown_alike(run, shapes):
    before = catseye.load(run, device="cpu").manifest
    done = calibrate(run, max_risk=0.01, against=shapes, device="cpu")
    manifest = catseye.load(run, device="cpu").manifest
    assert manifest.temperature == pytest.approx(before.temperature, rel=1e-6)
    assert manifest.unknown_threshold == done.rejection.threshold
    assert done.rejection.risk <= 0.01
    assert 0 < done.test_coverage < 1
    assert done.strangers.num_images == 120
    for value in (done.strangers.auroc_probability, done.strangers.auroc_energy):
        assert 0.5 < value <= 1
    file = export(run, device="cpu").path
    assert catseye.load(file).manifest.unknown_threshold == manifest.unknown_threshold
    paths = sorted(shapes.rglob("*.png"))
    mine, theirs = (list(catseye.load(path).predict_many(paths)) for path in (run, file))
    assert [one.unknown for one in mine] == [one.unknown for one in theirs]
    assert np.mean([one.unknown for one in mine]) == done.strangers.refused > 0.2
    calibrate(run, device="cpu")
    assert catseye.load(run, device="cpu").manifest.unknown_threshold is None


def test_what_cannot_be_reached_is_said_and_changes_nothing(run, monkeypatch):
    content = (run / "model.safetensors").read_bytes()
    monkeypatch.setattr(module, "choose_threshold", lambda _, right, risk: choose_threshold(1.0 * ~right, right, risk))
    with pytest.raises(CatseyeError, match="out of reach"):  # wrong answers are made the confident ones
        calibrate(run, max_risk=0.0, device="cpu")
    assert (run / "model.safetensors").read_bytes() == content


def test_a_run_without_validation_images_stays_as_it_is(shapes, tmp_path):
    settings = {"data.val_fraction": 0.0}
    plain = catseye.train(shapes, out=tmp_path / "plain", epochs=1, device="cpu", settings=settings).path
    assert catseye.load(plain, device="cpu").manifest.temperature == 1.0
    with pytest.raises(UsageError, match="no validation images"):
        calibrate(plain, device="cpu")
