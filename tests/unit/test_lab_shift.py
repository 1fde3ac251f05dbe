"""Chapter 10's three networks: what moves, what stays, and that what is said of them is measured."""

import numpy as np
import pytest
import torch

from catseye.lab.bench import Workbench
from catseye.lab.chapters.shift import answers, maths
from catseye.lab.questions import Nothing


@pytest.fixture(scope="module")
def bench():
    bench = Workbench("lenet5")
    bench.keep("shift:contest", maths.Contest(epochs=1))
    return bench


def test_a_convolutions_answer_moves_with_the_digit_and_a_dense_one_does_not():
    torch.manual_seed(0)
    digit = torch.rand(1, 8, 8)
    network = maths.convolutional()
    maps = network[:2](maths.place_digits(digit, 0, 0)), network[:2](maths.place_digits(digit, 2, -1))
    inside = slice(4, 12)
    assert torch.allclose(maps[0][..., inside, inside], torch.roll(maps[1], (-2, 1), (2, 3))[..., inside, inside])
    dense = maths.dense()
    assert not torch.allclose(dense(maths.place_digits(digit)), dense(maths.place_digits(digit, 0, 1)), atol=1e-3)


def test_the_answers_are_those_of_the_networks(bench):
    found = answers.contest(bench, Nothing())
    contest = bench.kept("shift:contest")
    assert [one["name"] for one in found["contestants"]] == ["dense", "dense_shifted", "convolution"]
    assert {len(values) for values in found["accuracies"].values()} == {2 * maths.FURTHEST_PX + 1}
    moved = maths.place_digits(contest.test, 0, 2)
    with torch.no_grad():
        right = (contest.contestants[2].model(moved).argmax(1) == contest.test_labels).float().mean()
    assert found["accuracies"]["convolution"][maths.FURTHEST_PX + 2] == pytest.approx(float(right))
    one = answers.answer_shift(bench, answers.ShiftDigit(digit=3, right=-4, down=4))
    assert one["label"] == found["labels"][3]
    assert np.array(one["pixels"])[8:, :8].sum() == np.array(one["pixels"]).sum() > 0
    assert all(sum(shares) == pytest.approx(1, abs=1e-3) for shares in one["shares"].values())


def test_ones_own_image_is_moved_by_a_share_of_the_input(bench):
    still = answers.answer_given(bench, answers.ShiftImage(image="street", right=0.0))
    assert still["before"] == still["after"]
    moved = answers.answer_given(bench, answers.ShiftImage(image="street", right=-0.25))
    assert (moved["moved_px"], moved["width_px"]) == (-8, 32)
    assert moved["kept"] != still["kept"]
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert (answers.move_right(pixels, -1)[:, :3] == pixels[:, 1:]).all()
    assert (answers.move_right(pixels, -1)[:, 3] == pixels[:, 3]).all()
