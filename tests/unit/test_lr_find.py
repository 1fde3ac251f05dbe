"""The learning-rate finder: the steepest point of a known curve, a stop at divergence, and nothing else touched."""

import io
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import catseye
from catseye.errors import TrainingError, UnknownName, UsageError
from catseye.training.lr_find import HIGHEST, LOWEST, LrCurve, lr_figure, lr_find, steepest
from tests.conftest import write_tinted

module = sys.modules["catseye.training.lr_find"]

QUIET = Console(file=io.StringIO())
QUICK = {"device": "cpu", "console": QUIET, "overrides": ("training.batch_size=16",)}


@pytest.fixture(scope="module")
def tinted(tmp_path_factory):
    return write_tinted(tmp_path_factory.mktemp("data") / "tinted", 20)


@pytest.mark.parametrize("centre", [-4.0, -2.5, -1.0])
def test_the_steepest_point_of_a_falling_sigmoid(centre):
    rates = np.logspace(-6, 1, 200)
    losses = 2 - 1.5 / (1 + np.exp(-4 * (np.log10(rates) - centre)))
    assert math.log10(steepest(rates, losses)) == pytest.approx(centre, abs=0.05)


def test_the_steepest_point_lies_before_the_smallest_loss():
    decade = np.linspace(-6, 1, 141)
    rates = 10**decade
    # Falls gently at -4, rises at -2 and falls much faster at 0: to a value that is not the smallest.
    losses = 3 - np.tanh(decade + 4) + 2.5 * np.tanh(4 * (decade + 2)) - 2 * np.tanh(9 * decade)
    smallest = rates[losses.argmin()]
    assert smallest < 1e-2
    found = steepest(rates, losses)
    assert found <= smallest
    assert math.log10(found) == pytest.approx(-4, abs=0.3)


@pytest.mark.parametrize("losses", [[1.0, 2.0, 3.0, 4.0], [3.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0], [2.0, 1.0, 5.0, 9.0]])
def test_odd_curves_still_give_one_of_their_rates(losses):
    rates = np.logspace(-6, 1, len(losses))
    assert steepest(rates, np.array(losses)) in rates


def test_rates_grow_from_the_lowest_to_the_highest(tinted):
    curve = lr_find(tinted, steps=40, seed=1, **QUICK)
    assert curve.rates.shape == curve.losses.shape
    assert curve.rates[0] == pytest.approx(LOWEST)
    ratios = curve.rates[1:] / curve.rates[:-1]
    np.testing.assert_allclose(ratios, (HIGHEST / LOWEST) ** (1 / 39))
    assert curve.rates[-1] <= HIGHEST * 1.0001
    assert np.isfinite(curve.losses).all()


@pytest.mark.parametrize("model", ["simple", "lenet5"])
def test_the_suggestion_is_a_usable_rate_before_the_minimum(tinted, model):
    curve = lr_find(tinted, model=model, steps=60, seed=0, **QUICK)
    assert 1e-5 <= curve.suggestion <= 3
    assert curve.suggestion < curve.rates[curve.losses.argmin()]
    assert curve.losses.min() < curve.losses[0]


def test_the_same_seed_gives_the_same_curve(tinted):
    one, same, other = (lr_find(tinted, steps=12, seed=seed, **QUICK) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.losses, same.losses)
    assert not np.array_equal(one.losses, other.losses)


class Scripted:
    """Stands in for train_step: losses as written, and the rates that a step would have used."""

    def __init__(self, losses):
        self.losses, self.rates = list(losses), []

    def __call__(self, trainer, batch):
        self.rates.append(trainer.schedule(trainer.step)[0])
        loss = self.losses[len(self.rates) - 1]
        if not math.isfinite(loss):
            raise TrainingError("the loss became nan")
        trainer.step += 1
        return type("Result", (), {"loss": torch.tensor(loss)})()


def test_it_stops_where_the_loss_leaves_its_smallest_value_by_far(tinted, monkeypatch):
    script = Scripted([2.0, 1.9, 1.7, 1.4, 1.2, *[500.0] * 100])
    monkeypatch.setattr(module, "train_step", script)
    curve = lr_find(tinted, steps=100, **QUICK)
    assert len(script.rates) == 6
    assert len(curve.losses) == 5  # the step that diverged is not in the curve
    assert curve.losses[0] == pytest.approx(2.0)  # smoothed without a bias towards zero
    assert curve.suggestion in curve.rates


def test_it_stops_at_a_loss_that_is_not_finite(tinted, monkeypatch):
    script = Scripted([2.0, 1.5, 1.2, 1.0, math.nan, 1.0])
    monkeypatch.setattr(module, "train_step", script)
    assert len(lr_find(tinted, steps=100, **QUICK).losses) == 4
    assert len(script.rates) == 5
    monkeypatch.setattr(module, "train_step", Scripted([math.nan]))
    with pytest.raises(TrainingError, match="not finite from the start"):
        lr_find(tinted, steps=100, **QUICK)


def test_it_takes_no_step_more_than_asked(tinted, monkeypatch):
    script = Scripted([1.0] * 50)
    monkeypatch.setattr(module, "train_step", script)
    assert len(lr_find(tinted, steps=20, **QUICK).losses) == 20
    assert len(script.rates) == 20
    assert max(script.rates) <= HIGHEST * 1.0001


def test_a_run_beside_it_is_not_touched(tinted, tmp_path):
    run = catseye.train(tinted, out=tmp_path / "run", epochs=1, device="cpu", console=QUIET)
    before = {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in run.path.iterdir()}
    images = {file: file.stat().st_mtime_ns for file in tinted.rglob("*")}
    lr_find(tinted, steps=10, **QUICK)
    assert {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in run.path.iterdir()} == before
    assert {file: file.stat().st_mtime_ns for file in tinted.rglob("*")} == images
    assert {file.name for file in tmp_path.iterdir()} == {"run"}


def test_it_trains_as_training_would():
    """Digits are not mirrored in training, so the finder does not mirror them either."""
    said = io.StringIO()
    lr_find("digits", steps=3, device="cpu", console=Console(file=said))
    assert "images are not mirrored" in said.getvalue()


def test_wrong_names_and_settings(tinted):
    with pytest.raises(UnknownName, match="did you mean lenet5"):
        lr_find(tinted, model="lenet", **QUICK)
    with pytest.raises(UsageError, match="unknown setting"):
        lr_find(tinted, device="cpu", console=QUIET, overrides=("training.rate=1",))
    with pytest.raises(UnknownName, match="unknown option 'resume'"):
        lr_find(tinted, resume="runs/one", **QUICK)


def test_the_command_leaves_no_folder_behind_when_it_cannot_start(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from catseye.cli import app

    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["lr-find", "no-such-data", "--device", "cpu"]).exit_code != 0
    assert list(tmp_path.rglob("*")) == []


def test_the_command_writes_the_figure(tinted, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from catseye.cli import app

    monkeypatch.chdir(tmp_path)
    words = [
        "lr-find",
        str(tinted),
        "--steps",
        "12",
        "--device",
        "cpu",
        "--out",
        "found",
        "--set",
        "training.batch_size=16",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "found" / "lr-find.png") as image:
        assert image.width > 300
    assert [file.name for file in (tmp_path / "found").iterdir()] == ["lr-find.png"]


def test_the_image_marks_the_suggestion():
    curve = LrCurve(np.logspace(-6, 1, 10), np.linspace(2, 1, 10), 0.02)
    axes = lr_figure(curve).axes[0]
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["suggestion 0.02"]
    assert axes.lines[1].get_xdata()[0] == 0.02
