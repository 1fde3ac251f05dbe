"""Runs side by side: paired test, spread of seeds, and a plain word about noise."""

import json
import sys

import pytest

import catseye
from catseye import cli
from catseye.errors import UsageError
from catseye.evaluation.compare import compare

SMALL = {"training.batch_size": 16, "training.lr": 0.02}


@pytest.fixture(scope="module")
def runs(shapes, tmp_path_factory):
    """Two good runs that differ in their seed, and one that learned nothing."""
    root = tmp_path_factory.mktemp("runs")
    plan = {"good-0": (4, 0, SMALL), "good-1": (4, 1, SMALL), "idle": (1, 0, {**SMALL, "training.lr": 1e-9})}
    for name, (epochs, seed, settings) in plan.items():
        catseye.train(shapes, out=root / name, epochs=epochs, seed=seed, device="cpu", settings=settings)
    return root


def test_a_trained_network_beats_an_untrained_one_and_seeds_are_noise(runs, shapes):
    found = compare([runs / "idle", runs / "good-0", runs / "good-1"], shapes, device="cpu")
    assert found.num_images == 120
    better, also = found.pairs
    assert better.real
    assert also.real
    assert better.p < 0.001
    assert better.other_only > better.first_only
    assert [len(group.names) for group in found.groups] == [1, 2]
    assert found.groups[0].spread is None
    assert found.groups[1].spread is not None
    (seeds,) = compare([runs / "good-0", runs / "good-1"], shapes, device="cpu").pairs
    assert not seeds.real
    assert seeds.verdict.startswith("noise")
    json.dumps(found.to_json(), allow_nan=False)


def test_without_data_only_images_count_that_no_run_has_seen(runs):
    found = compare([runs / "good-0", runs / "good-1"], device="cpu")
    tests = [
        set(json.loads((runs / name / "data.json").read_text())["splits"]["test"]) for name in ("good-0", "good-1")
    ]
    assert found.num_images == len(tests[0] & tests[1]) < 24
    assert "held out by every run" in found.notes[0]


def test_the_command_says_noise(runs, monkeypatch, capsys):
    words = ["catseye", "compare", runs / "good-0", runs / "good-1", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    cli.main()
    told = capsys.readouterr().out
    assert "noise" in told
    assert "seed" in told


def test_what_cannot_be_compared(runs, tmp_path):
    with pytest.raises(UsageError, match="two models or more"):
        compare([runs / "idle"])
    with pytest.raises(UsageError, match="the same model twice"):
        compare([runs / "idle", str(runs / "idle") + "/"])
    other = catseye.train("digits", model="lenet5", epochs=1, out=tmp_path / "digits", device="cpu").path
    with pytest.raises(UsageError, match="other classes"):
        compare([runs / "idle", other], device="cpu")
