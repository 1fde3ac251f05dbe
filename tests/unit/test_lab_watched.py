import time
from inspect import signature

import numpy as np
import pytest

from catseye.evaluation.metrics import confusion_matrix
from catseye.lab.chapters.training.answers import Start
from catseye.lab.chapters.training.watched import NUM_GUESSES, Watched
from catseye.runs import open_run
from catseye.training.train import train

SETTINGS = {"model.name": "lenet5", "training.epochs": 2, "augment.hflip": 0.0, "seed": 3}


@pytest.fixture(scope="module")
def events():
    return [event for event in Watched("digits", SETTINGS, first={"kind": "command"}) if event["kind"] != "wait"]


def test_what_was_learned_is_handed_over():
    kept = []
    list(Watched("digits", {**SETTINGS, "training.epochs": 1}, keep=lambda *found: kept.append(found)))
    ((model, manifest),) = kept
    assert manifest.architecture.name == "lenet5"
    assert not model.training


def test_the_events_are_those_of_the_ordinary_run(events, tmp_path):
    ordinary = train("digits", recipe="quick", settings=SETTINGS, out=tmp_path / "run", device="cpu")
    kinds = [event["kind"] for event in events]
    assert kinds[:2] == ["command", "begin"]
    assert kinds[-1] == "end"
    assert set(kinds) == {"command", "begin", "step", "epoch", "end"}
    rows = [event["row"] for event in events if event["kind"] == "epoch"]
    for mine, theirs in zip(rows, open_run(ordinary.path).history, strict=True):
        for key in ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"):
            assert mine[key] == theirs[key], key
    assert events[-1]["accuracy"] == ordinary.metrics.accuracy
    assert events[-1]["side"] == "test"


def test_an_epoch_shows_filters_confusion_and_guesses(events):
    first, second = (event for event in events if event["kind"] == "epoch")
    for event in (first, second):
        confusion = np.array(event["confusion"])
        assert confusion.shape == (10, 10)
        assert np.trace(confusion) / confusion.sum() == pytest.approx(event["row"]["val_accuracy"])
        truth, guess = (np.array([one[key] for one in event["guesses"]]) for key in ("truth", "guess"))
        assert (confusion_matrix(truth, guess, 10) <= confusion).all()
        assert np.array(event["filters"]).shape == (6, 1, 5, 5)
    assert first["filters"] != second["filters"]
    assert len(second["guesses"]) == NUM_GUESSES


def test_a_stop_is_answered_at_the_next_step():
    watched = Watched("digits", {**SETTINGS, "training.epochs": 1000})
    for event in watched:
        if event["kind"] == "step":
            watched.stop(wait_s=60)
            break
    assert not watched.running
    assert list(watched)[-1] == {"kind": "stopped"}


def test_a_run_that_nobody_reads_ends():
    watched = Watched("digits", {**SETTINGS, "training.epochs": 1000})
    watched.close()  # before the first event was read
    begun = time.monotonic()
    while watched.running and time.monotonic() - begun < 120:
        time.sleep(0.02)
    assert not watched.running


def test_a_rate_that_is_too_large_is_told_without_a_folder_that_is_gone():
    exploding = {"model.name": "tower", "model.depth": 10, "model.norm": False, "training.schedule": "constant"}
    watched = Watched("digits", {**SETTINGS, **exploding, "training.lr": 100.0, "training.clip_norm": 0.0})
    last = list(watched)[-1]
    assert last["kind"] == "failed"
    assert "try a smaller training.lr" in last["error"]
    assert "resume" not in last["error"]
    assert "catseye-watched" not in last["error"]


def test_a_wrong_setting_is_told():
    assert list(Watched("digits", {"training.momentum": 3}))[-1]["kind"] == "failed"


def test_the_command_names_the_recipe_that_the_page_trains_with():
    """Without one a terminal takes auto, which decides otherwise for these images."""
    assert Start().command.startswith("catseye train digits --recipe quick --model lenet5 --epochs 10 ")
    assert signature(Watched).parameters["recipe"].default == "quick"
