"""Chapter 2's numbers against SciPy and torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.signal import correlate2d

from catseye.errors import UnknownName, UsageError
from catseye.lab.chapters.convolution import maths as convolution
from catseye.lab.chapters.convolution.maths import (
    EXAMPLE,
    Stepping,
    at,
    classic_kernels,
    convolve,
    convolve_channels,
    kernel,
    window_count,
)


def test_the_classic_example_gives_4_at_the_first_place():
    vertical = kernel("vertical edge")
    assert vertical.tolist() == [[-1, 0, 1]] * 3
    position = at(EXAMPLE, vertical, 0, 0, Stepping())
    assert position.total == 4
    assert position.values.tolist() == [[1, 2, 3], [0, 1, 2], [1, 0, 1]]
    assert position.products.tolist() == [[-1, 0, 3], [0, 0, 2], [-1, 0, 1]]
    assert convolve(EXAMPLE, vertical).shape == (3, 3)


def test_the_kernels_of_the_source_article():
    assert kernel("horizontal edge").tolist() == [[-1, -1, -1], [0, 0, 0], [1, 1, 1]]
    assert kernel("sharpen").tolist() == [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]
    assert (kernel("Gaussian") * convolution.divisor("Gaussian")).tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert convolution.divisor("Gaussian") == 16
    assert kernel("emboss").tolist() == [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]


@pytest.mark.parametrize("side", convolution.SIDES)
def test_larger_kernels_do_what_their_names_say(side):
    known = classic_kernels(side)
    assert all(one.shape == (side, side) for one in known.values())
    assert known["Gaussian"].sum() == pytest.approx(1)
    assert known["Gaussian"].argmax() == side * side // 2
    assert known["sharpen"].sum() == pytest.approx(1)
    assert known["vertical edge"].sum() == known["horizontal edge"].sum() == 0
    np.testing.assert_array_equal(known["vertical edge"], known["horizontal edge"].T)


@pytest.mark.parametrize("name", list(classic_kernels()))
@pytest.mark.parametrize("side", convolution.SIDES)
def test_scipy_gives_the_same_map(name, side):
    values = np.random.default_rng(1).normal(size=(13, 17))
    one = kernel(name, side)
    np.testing.assert_allclose(convolve(values, one), correlate2d(values, one, mode="valid"), atol=1e-12)
    same = convolve(values, one, Stepping(padding=side // 2))
    np.testing.assert_allclose(same, correlate2d(values, one, mode="same"), atol=1e-12)


@given(
    side=st.integers(1, 7), height=st.integers(1, 14), width=st.integers(1, 14), stride=st.integers(1, 4),
    padding=st.integers(0, 3), dilation=st.integers(1, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_torch_gives_the_same_map_however_the_window_moves(side, height, width, stride, padding, dilation, seed):
    step = Stepping(stride, padding, dilation)
    assume(min(height, width) + 2 * padding >= step.reach(side))
    rng = np.random.default_rng(seed)
    values, weights = rng.normal(size=(2, height, width)), rng.normal(size=(2, side, side))
    wanted = F.conv2d(torch.from_numpy(values)[None], torch.from_numpy(weights)[None], None, stride, padding, dilation)[
        0, 0
    ].numpy()
    found = convolve_channels(values, weights, step)
    assert found.shape == (window_count(height, side, step), window_count(width, side, step))
    np.testing.assert_allclose(found, wanted, atol=1e-10)
    row, column = rng.integers(found.shape[0]), rng.integers(found.shape[1])
    total = sum(at(one, part, row, column, step).total for one, part in zip(values, weights, strict=True))
    assert total == pytest.approx(found[row, column], abs=1e-10)


def test_what_does_not_fit_is_refused_with_the_numbers():
    with pytest.raises(UsageError, match="spans 9 values and the map with its padding has 5"):
        window_count(5, 5, Stepping(dilation=2))
    with pytest.raises(UsageError, match=r"rows 0 to 2 .* got \(3, 0\)"):
        at(EXAMPLE, kernel("sharpen"), 3, 0, Stepping())
    with pytest.raises(UsageError, match="stride and dilation"):
        Stepping(stride=0)
    with pytest.raises(UsageError, match="3, 5 or 7"):
        classic_kernels(4)
    with pytest.raises(UnknownName, match="did you mean sharpen"):
        kernel("sharpn")
    with pytest.raises(UsageError, match="got 3 for 2"):
        convolve_channels(np.zeros((2, 5, 5)), np.zeros((3, 3, 3)))
