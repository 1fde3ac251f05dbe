"""Chapter 3: activation functions, and the normalisation before them.

Enters: values of any shape. Leaves: each activation of them, its derivative, and a normalised channel. The tests
compare all of it with torch and its autograd.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catseye.errors import UnknownName, UsageError

Values = NDArray[np.float64]
NEGATIVE_SLOPE = 0.01
EPSILON = 1e-5
EXAMPLE: Values = np.array([[-3, 5, -1], [2, -7, 4], [-2, 1, -5]], np.float64)
"""Nine numbers of both signs; ReLU makes 0 5 0 / 2 0 4 / 0 1 0 of them."""

_erf = np.vectorize(math.erf, otypes=[np.float64])


@dataclass(frozen=True)
class Activation:
    """A function of one number, its derivative, and how it is written."""

    name: str
    formula: str
    function: Callable[[Values], Values]
    derivative: Callable[[Values], Values]
    says: str


def sigmoid(x: Values) -> Values:
    """1 / (1 + exp(-x)), without an overflow."""
    small = np.exp(-np.abs(x))
    result: Values = np.where(x >= 0, 1 / (1 + small), small / (1 + small))
    return result


def normal_share(x: Values) -> Values:
    """Φ(x): the share of a standard normal distribution below x."""
    result: Values = 0.5 * (1 + _erf(x / math.sqrt(2)))
    return result


def _density(x: Values) -> Values:
    result: Values = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return result


def relu(x: Values) -> Values:
    """max(0, x)."""
    result: Values = np.maximum(x, 0)
    return result


def leaky_relu(x: Values) -> Values:
    """X if it is positive, else 0.01 x."""
    return np.where(x > 0, x, NEGATIVE_SLOPE * x)


def gelu(x: Values) -> Values:
    """X Φ(x).

    Source: Hendrycks and Gimpel 2016, arXiv 1606.08415, section 2; exact, not the approximation by tanh.
    """
    return x * normal_share(x)


def swish(x: Values) -> Values:
    """X sigmoid(x), also called SiLU.

    Source: Ramachandran, Zoph, Le 2017, arXiv 1710.05941, section 3, with β = 1.
    """
    return x * sigmoid(x)


def _swish_derivative(x: Values) -> Values:
    s = sigmoid(x)
    return s * (1 + x * (1 - s))


# At 0 the first two have no derivative; 0 and 0.01 are taken there, as torch does.
ACTIVATIONS = {
    activation.name: activation
    for activation in (
        Activation(
            "ReLU", "max(0, x)", relu, lambda x: (x > 0).astype(np.float64),
            "Below 0 nothing comes out and no gradient comes back: such a unit does not learn from this image.",
        ),
        Activation(
            "LeakyReLU", "x > 0 ? x : 0.01 x", leaky_relu, lambda x: np.where(x > 0, 1.0, NEGATIVE_SLOPE),
            "Below 0 a hundredth comes through, so that the unit can find its way back.",
        ),
        Activation(
            "GELU", "x · Φ(x)", gelu, lambda x: normal_share(x) + x * _density(x),
            "Weighs x by how large it is among normal numbers: smooth, and slightly negative just below 0.",
        ),
        Activation(
            "Swish", "x · sigmoid(x)", swish, _swish_derivative,
            "Smooth like GELU, with a deeper dip: its lowest value is −0.278 at x = −1.278.",
        ),
    )
}  # fmt: skip


def activation(name: str) -> Activation:
    """One of `ACTIVATIONS`.

    Raises:
        UnknownName: no activation has that name.

    >>> activation("ReLU").function(EXAMPLE).tolist()
    [[0.0, 5.0, 0.0], [2.0, 0.0, 4.0], [0.0, 1.0, 0.0]]

    """
    if name not in ACTIVATIONS:
        raise UnknownName("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


@dataclass(frozen=True)
class Normalised:
    """A channel before and after normalisation.

    `mean` and `variance` are those of the batch, as in training.
    """

    values: Values
    mean: float
    variance: float


def batch_norm(values: Values, gamma: float = 1.0, beta: float = 0.0, epsilon: float = EPSILON) -> Normalised:
    """Batch normalisation of one channel: γ (x - mean) / sqrt(variance + ε) + β.

    The mean and the variance are those of all values of the channel.

    Shape: one channel's values of a batch, (N, h, w) or any other -> the same.
    Source: Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1; the variance divides by N, as there.

    Raises:
        UsageError: there is only one value, which has no spread.

    """
    if values.size < 2:
        raise UsageError(f"batch normalisation needs two values or more of a channel; got {values.size}")
    mean, variance = float(values.mean()), float(values.var())
    normal = (values - mean) / math.sqrt(variance + epsilon)
    return Normalised(gamma * normal + beta, mean, variance)
