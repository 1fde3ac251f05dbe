"""Chapter 10: shifted digits, and three small networks that classify them.

Enters: the built-in digits, placed on a larger ground. Leaves: `Contest`: a dense network, the same trained with
shifts, and a convolutional one, each trained here; accuracies and answers at every shift. All three see the same images
in the same order.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from catseye.data.builtin import load_builtin

GROUND_PX = 16
DIGIT_PX = 8
FURTHEST_PX = (GROUND_PX - DIGIT_PX) // 2
EPOCHS, BATCH, LR = 15, 64, 0.005
HELD_OUT = 5  # every fifth image is for testing
NUM_CLASSES = 10


@dataclass(frozen=True)
class Contestant:
    """A network, its name, and its training data."""

    name: str
    title: str
    model: nn.Module
    says: str

    @property
    def num_parameters(self) -> int:
        """All of its weights and biases."""
        return sum(parameter.numel() for parameter in self.model.parameters())


class Contest:
    """Three networks trained on centred digits, and the test digits.

    The networks have not seen the test digits.
    """

    def __init__(self, epochs: int = EPOCHS, seed: int = 0) -> None:
        data = load_builtin("digits")
        pixels = torch.from_numpy(data.pixels[:, :, :, 0]).float() / 255
        labels = torch.from_numpy(data.labels)
        held = torch.arange(len(labels)) % HELD_OUT == 0
        self.test, self.test_labels = pixels[held], labels[held]
        train = pixels[~held], labels[~held]
        self.num_train = int((~held).sum())
        with torch.random.fork_rng(devices=[]):
            self.contestants = (
                Contestant("dense", "dense", _learn(dense(), *train, epochs, seed), "digits in the middle"),
                Contestant(
                    "dense_shifted",
                    "dense, trained with shifts",
                    _learn(dense(), *train, 3 * epochs, seed, shifted=True),
                    f"digits shifted by up to {FURTHEST_PX} px, three times as many epochs",
                ),
                Contestant("convolution", "convolutional", _learn(convolutional(), *train, epochs, seed),
                           "digits in the middle"),
            )  # fmt: skip

    def accuracies(self, down: int = 0) -> dict[str, list[float]]:
        """The test accuracy of each network at every shift, from left to right."""
        rights = range(-FURTHEST_PX, FURTHEST_PX + 1)
        return {
            each.name: [float((_logits(each, self.test, down, right).argmax(1) == self.test_labels).float().mean())
                        for right in rights]
            for each in self.contestants
        }  # fmt: skip

    def shares(self, index: int, down: int, right: int) -> dict[str, NDArray[np.float32]]:
        """Each network's probabilities for one test digit at a shift.

        Shape: (K,) each.
        """
        image = self.test[index : index + 1]
        return {
            contestant.name: _logits(contestant, image, down, right).softmax(1)[0].numpy()
            for contestant in self.contestants
        }


def place_digits(pixels: Tensor, down: int = 0, right: int = 0) -> Tensor:
    """Digits on a black ground, moved from its middle.

    The ground holds the whole digit at every shift.

    Shape: (N, 8, 8) -> (N, 1, 16, 16).

    >>> bool(place_digits(torch.ones(1, 8, 8), 4, -4)[0, 0, 8:, :8].all())
    True
    """
    top, left = FURTHEST_PX + down, FURTHEST_PX + right
    ground = pixels.new_zeros(len(pixels), 1, GROUND_PX, GROUND_PX)
    ground[:, 0, top : top + DIGIT_PX, left : left + DIGIT_PX] = pixels
    return ground


def dense() -> nn.Sequential:
    """Every pixel has a weight of its own for each of 64 units."""
    return nn.Sequential(nn.Flatten(), nn.Linear(GROUND_PX**2, 64), nn.ReLU(), nn.Linear(64, NUM_CLASSES))


def convolutional(width: int = 8) -> nn.Sequential:
    """Three convolutions, global max pooling, and ten logits."""
    wide = 2 * width
    layers = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, wide, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(wide, NUM_CLASSES))


def _learn(
    model: nn.Sequential, pixels: Tensor, labels: Tensor, epochs: int, seed: int, shifted: bool = False
) -> nn.Module:
    torch.manual_seed(seed)
    for layer in model:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.reset_parameters()  # the same first weights whatever was built before
    draws = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    for _ in range(epochs):
        order = torch.randperm(len(pixels), generator=draws)
        for batch in torch.split(order, BATCH):
            move = torch.randint(-FURTHEST_PX, FURTHEST_PX + 1, (2,), generator=draws).tolist() if shifted else (0, 0)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(place_digits(pixels[batch], *move)), labels[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model.eval()


def _logits(contestant: Contestant, pixels: Tensor, down: int, right: int) -> Tensor:
    with torch.no_grad():
        logits: Tensor = contestant.model(place_digits(pixels, down, right))
    return logits
