"""Chapters 1 and 3: activations with their derivatives, batch normalisation, pooling and costs, against torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from catseye.errors import UnknownName, UsageError
from catseye.lab.chapters.activations import maths as activations
from catseye.lab.chapters.activations import pooling
from catseye.lab.chapters.activations.maths import ACTIVATIONS, activation, batch_norm
from catseye.lab.chapters.pixels import maths as pixels

TORCHS = {
    "ReLU": F.relu,
    "LeakyReLU": lambda x: F.leaky_relu(x, activations.NEGATIVE_SLOPE),
    "GELU": F.gelu,
    "Swish": F.silu,
}


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_values_and_derivatives_are_torchs(name):
    line = np.concatenate([np.linspace(-60, 60, 997), [0.0, -800.0, 800.0]])
    x = torch.from_numpy(line).requires_grad_(True)
    y = TORCHS[name](x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    np.testing.assert_allclose(activation(name).function(line), y.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(activation(name).derivative(line), slope.numpy(), atol=1e-12)


def test_the_nine_numbers_of_the_source_article():
    assert activation("ReLU").function(activations.EXAMPLE).tolist() == [[0, 5, 0], [2, 0, 4], [0, 1, 0]]


def test_swishs_lowest_value_is_the_one_the_page_prints():
    line = np.linspace(-3, 0, 300_001)
    values = activation("Swish").function(line)
    assert values.min() == pytest.approx(-0.278, abs=5e-4)
    assert line[values.argmin()] == pytest.approx(-1.278, abs=5e-4)
    assert "−0.278 at x = −1.278" in activation("Swish").says


@pytest.mark.parametrize(("gamma", "beta"), [(1.0, 0.0), (-2.5, 0.75)])
def test_batch_normalisation_is_torchs(gamma, beta):
    values = np.random.default_rng(0).normal(3, 5, (4, 1, 6, 7))
    layer = nn.BatchNorm2d(1).double().train()
    nn.init.constant_(layer.weight, gamma)
    nn.init.constant_(layer.bias, beta)
    found = batch_norm(values, gamma, beta)
    np.testing.assert_allclose(found.values, layer(torch.from_numpy(values)).detach().numpy(), atol=1e-10)
    assert found.mean == pytest.approx(values.mean())
    with pytest.raises(UsageError, match="got 1"):
        batch_norm(np.ones(1))


def test_the_pooling_of_the_source_article():
    assert pooling.max_pool(pooling.EXAMPLE).values.tolist() == [[20, 30], [15, 16]]


@given(
    height=st.integers(1, 9), width=st.integers(1, 9), window=st.integers(1, 4), stride=st.integers(1, 4),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_pooling_is_torchs(height, width, window, stride, seed):
    assume(window <= min(height, width))
    values = np.random.default_rng(seed).integers(-9, 9, (height, width)).astype(np.float64)
    x = torch.from_numpy(values)[None, None]
    wanted, where = F.max_pool2d(x, window, stride, return_indices=True)
    found = pooling.max_pool(values, window, stride)
    np.testing.assert_array_equal(found.values, wanted[0, 0].numpy())
    np.testing.assert_array_equal(found.places[..., 0] * width + found.places[..., 1], where[0, 0].numpy())
    average = pooling.average_pool(values, window, stride)
    np.testing.assert_allclose(average, F.avg_pool2d(x, window, stride)[0, 0].numpy(), atol=1e-12)
    assert pooling.global_average_pool(values) == pytest.approx(float(F.adaptive_avg_pool2d(x, 1)))


def test_a_window_that_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="1 to 4 values"):
        pooling.max_pool(pooling.EXAMPLE, 5)


@given(channels=st.integers(1, 3), side=st.integers(3, 12), out=st.integers(1, 9), kernel=st.sampled_from([1, 3, 5]))
def test_costs_are_the_parameters_of_real_layers(channels, side, out, kernel):
    shape = (channels, side, side)
    dense = nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, out))
    convolution = nn.Conv2d(channels, out, kernel, padding=kernel // 2)
    cost = pixels.convolution_cost(shape, out, kernel)
    assert pixels.dense_cost(shape, out).num_parameters == sum(p.numel() for p in dense.parameters())
    assert cost.num_parameters == sum(p.numel() for p in convolution.parameters())
    assert cost.num_outputs == convolution(torch.zeros(1, *shape)).numel()


def test_the_numbers_of_the_source_article():
    cost = pixels.dense_cost((3, 224, 224), 1000)
    assert 3 * 224 * 224 == 150_528
    assert cost.num_weights == 150_528_000
    assert pixels.EXAMPLE.tolist()[1] == [50, 120, 180, 60]
    with pytest.raises(UsageError, match="channels, rows and columns"):
        pixels.dense_cost((0, 4, 4), 1)


def test_a_loupe_stays_inside_the_image():
    image = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)
    part, top, left = pixels.window(image, 99, 99, 4)
    assert (part.shape, top, left) == ((4, 4, 3), 2, 1)
    np.testing.assert_array_equal(part, image[2:6, 1:5])
    assert pixels.window(image, 0, 0, 16)[0].shape == (6, 5, 3)
    np.testing.assert_array_equal(pixels.to_channels_first(image), image.transpose(2, 0, 1))


def test_grey_is_pillows():
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    wanted = np.asarray(Image.fromarray(image).convert("L"), np.float64)
    assert np.abs(pixels.luma_of_pixels(image) - wanted).max() <= 0.51
    np.testing.assert_array_equal(pixels.luma_of_pixels(image[..., :1]), image[..., 0])


def test_unknown_names_suggest():
    with pytest.raises(UnknownName, match="did you mean GELU"):
        activation("GLU")
