"""A loss that runs away stops the run; one that is only high does not."""

import math

import pytest
import torch

from catseye.errors import Diverged
from catseye.training.divergence import WINDOW, LossWatch


def feed(watch, losses):
    for step, loss in enumerate(losses):
        watch.note(torch.tensor(float(loss)), step, 0.1)
    watch.look(len(losses), 0.1)


def test_a_loss_that_falls_or_rises_to_nine_times_its_start_goes_on():
    feed(LossWatch(3), [1.1 * 0.9**step for step in range(90)])
    feed(LossWatch(3), [1.1] + [9.0] * 60)


def test_one_bad_batch_among_twenty_is_no_divergence():
    feed(LossWatch(2), ([0.7] * (WINDOW - 1) + [90.0]) * 3)


@pytest.mark.parametrize("bad", [11.5, 2_033.0, math.inf, math.nan])
def test_ten_times_the_start_stops_with_advice(bad):
    with pytest.raises(Diverged, match=r"more than 10 times its start of 1\.1: .*training\.lr=0\.01.*--pretrained"):
        feed(LossWatch(3), [1.1] + [bad] * 40)


def test_an_epoch_shorter_than_the_window_is_looked_at_when_it_ends():
    watch = LossWatch(3)
    feed(watch, [1.1, 1.2])
    with pytest.raises(Diverged):
        feed(watch, [500.0, 500.0])


def test_a_run_that_begins_high_is_measured_by_its_own_start():
    feed(LossWatch(2), [30.0] + [250.0] * 30)


def test_a_resumed_run_whose_loss_is_low_is_measured_by_guessing():
    feed(LossWatch(10), [0.01] + [2.2] * 30)
