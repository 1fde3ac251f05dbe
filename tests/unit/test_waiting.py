"""The line of a long wait: nothing at first, written over in a terminal, every ten seconds in a log."""

import io

import numpy as np
import pytest
import torch

from catseye.data.loaders import MemoryLoader
from catseye.evaluation.predict import collect_features, collect_logits
from catseye.machine import waiting
from catseye.machine.waiting import Waiting
from catseye.models import registry
from catseye.preprocess import Preprocessing


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def monotonic(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    moved = Clock()
    monkeypatch.setattr(waiting, "time", moved)
    return moved


def steps(stream, clock, num_s, count=10):
    with Waiting("asking", 1000, stream=stream) as line:
        for _ in range(num_s):
            clock.now += 1
            line.step(count)


def test_a_log_gets_a_line_every_ten_seconds(clock):
    stream = io.StringIO()
    steps(stream, clock, 25)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "- asking: 20 of 1,000 images, 10 images/s, 1 min 38 s left"
    assert [line.split()[2] for line in lines] == ["20", "120", "220"]


def test_a_terminal_has_one_line_that_goes_away(clock):
    stream = Terminal()
    steps(stream, clock, 6)
    said = stream.getvalue()
    assert "\n" not in said
    assert said.count("\rasking") == 5
    assert said.split("\r")[-2].isspace()
    assert not said.split("\r")[-1]


def test_one_step_gives_no_rate(clock):
    """The first step may include a start that does not come again: 3 s once promised four minutes."""
    stream = io.StringIO()
    with Waiting("asking", 1000, stream=stream) as line:
        for seconds in (4, 12):
            clock.now += seconds
            line.step()
    assert (
        stream.getvalue() == "- asking: 1 of 1,000 images\n- asking: 2 of 1,000 images, 0.1 images/s, 2 h 13 min left\n"
    )


def test_what_is_over_soon_says_nothing(clock):
    stream = io.StringIO()
    steps(stream, clock, 1)
    assert not stream.getvalue()


def test_other_processes_of_a_training_are_silent(clock, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    stream = io.StringIO()
    steps(stream, clock, 25)
    assert not stream.getvalue()


def test_a_stream_that_is_lost_ends_nothing(clock):
    stream = io.StringIO()
    stream.close()
    steps(stream, clock, 25)


@pytest.mark.parametrize("what", ["asking a model", ""])
def test_a_pass_over_images_says_how_far_it_is(what, clock, capsys):
    network = registry.create("lenet5", num_classes=2, in_channels=1, input_px=32)
    pixels, everything = torch.zeros(8, 1, 32, 32, dtype=torch.uint8), np.arange(8)
    loader = MemoryLoader(pixels.permute(0, 2, 3, 1), torch.zeros(8, dtype=torch.int64), everything, everything, 2)
    spec = Preprocessing(height_px=32, width_px=32, channels=1, mean=(0.5,), std=(0.25,))

    def slowly():
        clock.now += 3

    collect_logits(network, loader, spec, after_batch=slowly, what=what)
    assert ("asking a model: 2 of 8 images" in capsys.readouterr().err) == bool(what)
    network.register_forward_hook(lambda *_: slowly())
    network.features.register_forward_hook(lambda *_: slowly())
    collect_features(network, loader, spec)
    assert "computing features: 2 of 8 images" in capsys.readouterr().err
