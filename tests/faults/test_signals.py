"""SIGINT, SIGTERM and SIGKILL at chosen places: saved, the right exit code, and the same weights after --resume."""

import signal
import time

import pytest

from catseye.errors import Interrupted
from tests.conftest import deliver
from tests.faults.conftest import (
    STEPS,
    STREAMED,
    assert_same_weights,
    at_step,
    in_save,
    in_validation,
    send,
    send_group,
    train,
    words,
)

PLACES = {"mid-batch": (at_step, 5), "mid-validation": (in_validation, 0), "mid-save": (in_save, 0)}


@pytest.mark.parametrize(
    ("place", "number", "code"),
    [
        ("mid-batch", signal.SIGTERM, 143),
        ("mid-batch", signal.SIGINT, 130),
        ("mid-validation", signal.SIGTERM, 143),
        ("mid-save", signal.SIGTERM, 143),
    ],
)
def test_a_signal_saves_and_exits(tinted, whole, tmp_path, start, place, number, code):
    fault, where = PLACES[place]
    child = start(words(tinted, tmp_path / "run"), fault, where, send, number)
    assert child.wait() == code, child.said
    assert f"--resume {tmp_path / 'run'}" in child.said
    assert "Traceback" not in child.said
    _, said = train(None, None, resume=tmp_path / "run")
    # Mid-validation: the epoch's batches are all done, none is learnt from twice.
    where = {"mid-batch": "epoch 2, batch 3", "mid-validation": "epoch 1, batch 5", "mid-save": "epoch 2, batch 1"}
    assert where[place] in said
    assert_same_weights(tmp_path / "run", whole)


def test_a_signal_while_the_result_is_measured(tinted, whole, tmp_path, start):
    child = start(words(tinted, tmp_path / "run"), in_validation, 2, send, signal.SIGTERM)
    assert child.wait() == 143, child.said
    run, _ = train(None, None, resume=tmp_path / "run")
    assert len(run.history) == 2
    assert run.checkpoints == []
    assert_same_weights(tmp_path / "run", whole)


@pytest.mark.parametrize(("numbers", "code"), [((signal.SIGTERM,) * 2, -15), ((signal.SIGINT, signal.SIGTERM), -15)])
def test_a_second_signal_exits_at_once(tinted, tmp_path, start, numbers, code):
    child = start(words(tinted, tmp_path / "run"), at_step, 5, send_twice, *numbers)
    assert child.wait() == code
    assert "saved" not in child.said


def send_twice(first, second):
    send(first)
    time.sleep(0)  # the interpreter answers the first one here
    send(second)
    raise AssertionError("still alive")


def test_a_signal_to_the_whole_group_takes_no_worker_before_the_run_is_saved(tinted, whole_streamed, tmp_path, start):
    """Ctrl-C in a terminal and a service manager's stop reach the workers too."""
    settings = STREAMED | {"data.workers": 2}
    child = start(words(tinted, tmp_path / "run", settings), at_step, 2, send_group, signal.SIGTERM)
    assert child.wait() == 143, child.said
    train(None, None, resume=tmp_path / "run")
    assert_same_weights(tmp_path / "run", whole_streamed)


def stopped_at(step, tinted, out, settings, monkeypatch):
    with monkeypatch.context() as patch:
        at_step(patch.setattr, step, deliver, signal.SIGINT)
        with pytest.raises(Interrupted) as caught:
            train(tinted, out, settings)
    assert caught.value.exit_code == 130


def check_resume_at(step, workers, tinted, whole_streamed, tmp_path, monkeypatch):
    stopped_at(step, tinted, tmp_path / "run", STREAMED | {"data.workers": workers}, monkeypatch)
    train(None, None, resume=tmp_path / "run")
    assert_same_weights(tmp_path / "run", whole_streamed)


@pytest.mark.parametrize(("step", "workers"), [(0, 0), (STEPS - 1, 0), (STEPS + 1, 2)])
def test_resume_is_bit_equal(step, workers, tinted, whole_streamed, tmp_path, monkeypatch):
    check_resume_at(step, workers, tinted, whole_streamed, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("step", range(2 * STEPS))
def test_resume_at_every_batch_is_bit_equal(step, workers, tinted, whole_streamed, tmp_path, monkeypatch):
    check_resume_at(step, workers, tinted, whole_streamed, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_stopped_after_every_batch_is_bit_equal(optimizer, tinted, tmp_path, monkeypatch):
    settings = {"training.optimizer": optimizer, "training.lr": 0.01}
    whole = train(tinted, tmp_path / "whole", settings)[0].path
    stopped_at(0, tinted, tmp_path / "run", settings, monkeypatch)
    for _ in range(2 * STEPS - 1):
        with monkeypatch.context() as patch:
            at_step(patch.setattr, 0, deliver, signal.SIGINT)
            with pytest.raises(Interrupted):
                train(None, None, resume=tmp_path / "run")
    train(None, None, resume=tmp_path / "run")
    assert_same_weights(tmp_path / "run", whole)


@pytest.mark.parametrize(("step", "found"), [(STEPS + 2, "epoch 2, batch 3"), (0, "epoch 1, batch 1")])
def test_sigkill_loses_no_more_than_the_time_between_two_saves(step, found, tinted, whole_streamed, tmp_path, start):
    settings = STREAMED | {"data.workers": 2, "training.checkpoint_s": 0}  # a save after every batch
    child = start(words(tinted, tmp_path / "run", settings), at_step, step, send, signal.SIGKILL)
    assert child.wait() == -9
    # At once: the workers are gone with the trainer and hold no lock on the folder.
    run, said = train(None, None, resume=tmp_path / "run")
    assert found in said
    assert_same_weights(run.path, whole_streamed)


@pytest.mark.parametrize("again", ["--resume", "--out"])
def test_a_second_trainer_is_refused(again, tinted, whole, tmp_path, start):
    first = start(words(tinted, tmp_path / "run"), at_step, 2, time.sleep, 4)
    first.wait_for(tmp_path / "run" / "settings.toml")
    other = {"--resume": ["train", "--resume", tmp_path / "run"], "--out": words(tinted, tmp_path / "run")}[again]
    second = start(other)
    assert second.wait() == 2
    rule = "another process is training in" if again == "--resume" else "is not empty"
    assert rule in second.said
    assert "Traceback" not in second.said
    assert first.wait() == 0, first.said
    assert_same_weights(tmp_path / "run", whole)
