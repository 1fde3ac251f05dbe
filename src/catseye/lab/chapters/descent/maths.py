"""Chapter 9: a 2-D slice of a small network's loss, and optimizers on it.

Enters: handwritten digits. Leaves: `LossSlice`, heights over it, and paths. The network is trained first; the slice
goes through the trained weights, along two orthonormal directions: back to its first weights (the floor of a valley),
and across, where the loss bends most. The directions have length 1, so a step on the slice is as long as the same step
of the weights, and a learning rate means what it means in training. The optimizers are those that `train` makes.

Source: the slice is that of Goodfellow, Vinyals, Saxe 2015, arXiv 1412.6544, section 3, with a second direction.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from catseye.data.builtin import load_builtin
from catseye.settings.schema import TrainingSettings
from catseye.training.optimizers import ParameterGroup, make_optimizer

NUM_IMAGES = 256
TRAIN_STEPS = 150
TRAIN_LR = 0.01
POWER_STEPS = 40
ALONG = (-4.0, 10.0)
ACROSS = (-3.0, 3.0)
OPTIMIZERS: dict[str, tuple[str, dict[str, object]]] = {
    "sgd": ("SGD", {"optimizer": "sgd", "momentum": 0.0}),
    "momentum": ("SGD with momentum 0.9", {"optimizer": "sgd", "momentum": 0.9}),
    "adam": ("Adam", {"optimizer": "adam"}),
}


@dataclass(frozen=True)
class Path:
    """The path of an optimizer: points (steps + 1, 2) and the loss at each.

    `left_at` is the step that left the map.
    """

    points: list[list[float]]
    losses: list[float]
    left_at: int | None


class LossSlice:
    """The loss of one network on one batch, over two directions from `trained`.

    `across_curvature` is the second derivative across the valley, half way from the first weights to the trained ones.
    """

    def __init__(self, num_images: int = NUM_IMAGES, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = _digit_network()
            self._images, self._labels = _digit_batch(num_images)
            self.first = _flat(self.model)
            self.trained = self._learn()
            way = self.first - self.trained
            self.distance = float(way.norm())
            self.along = way / way.norm()
            self.across, self.across_curvature = self._steepest((self.first + self.trained) / 2)

    @property
    def num_parameters(self) -> int:
        """Of the whole network; the slice shows two of that many directions."""
        return len(self.trained)

    def loss(self, place: Tensor) -> Tensor:
        """The loss at a point of the slice.

        Shape: (2,) -> scalar; the trained weights lie at (0, 0), the first ones at (distance, 0).
        """
        return self._of(self.trained + place[0] * self.along + place[1] * self.across)

    def heights(self, along: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
        """The loss over a grid.

        Shape: (W,), (H,) -> (H, W).
        """
        with torch.no_grad():
            rows = [[float(self.loss(torch.tensor([a, b]))) for a in along.tolist()] for b in across.tolist()]
        return np.array(rows)

    def descend(self, name: str, lr: float, start: tuple[float, float], num_steps: int) -> Path:
        """Run one of `OPTIMIZERS` from `start`, with gradients by autograd.

        It stops after the given number of steps, or after the first step that leaves the map.
        """
        settings = TrainingSettings(lr=lr, **OPTIMIZERS[name][1])  # type: ignore[arg-type]
        place = nn.Parameter(torch.tensor(start))
        optimizer = make_optimizer([ParameterGroup([place])], settings)
        points, losses = [list(start)], [float(self.loss(place).detach())]
        for step in range(1, num_steps + 1):
            optimizer.zero_grad()
            self.loss(place).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            along, across = place.detach().tolist()
            points.append([along, across])
            losses.append(float(self.loss(place).detach()))
            if not (ALONG[0] <= along <= ALONG[1] and ACROSS[0] <= across <= ACROSS[1]):
                return Path(points, losses, step)
        return Path(points, losses, None)

    def _of(self, weights: Tensor) -> Tensor:
        logits = functional_call(self.model, _unflat(self.model, weights), (self._images,))
        return nn.functional.cross_entropy(logits, self._labels)

    def _learn(self) -> Tensor:
        settings = TrainingSettings(lr=TRAIN_LR, optimizer="adam")
        optimizer = make_optimizer([ParameterGroup(list(self.model.parameters()))], settings)
        for _ in range(TRAIN_STEPS):
            optimizer.zero_grad()
            nn.functional.cross_entropy(self.model(self._images), self._labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return _flat(self.model)

    def _steepest(self, place: Tensor) -> tuple[Tensor, float]:
        """The direction across the valley in which the loss bends most.

        Found by power iteration on the Hessian.
        """
        direction, curvature = torch.randn(len(place)), 0.0
        for _ in range(POWER_STEPS):
            direction = _of_length_one(direction - (direction @ self.along) * self.along)
            bent = self._bend(place, direction)
            curvature, direction = float(bent @ direction), bent
        direction = _of_length_one(direction - (direction @ self.along) * self.along)
        return direction, curvature

    def _bend(self, place: Tensor, direction: Tensor) -> Tensor:
        """The Hessian times a direction."""
        at = place.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self._of(at), at, create_graph=True)
        bent: Tensor = torch.autograd.grad((gradient * direction).sum(), at)[0]
        return bent


def _digit_network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 10))


def _digit_batch(num_images: int) -> tuple[Tensor, Tensor]:
    data = load_builtin("digits")
    pixels = torch.from_numpy(data.pixels[:num_images, :, :, 0]).float()[:, None]
    return (pixels - pixels.mean()) / pixels.std(), torch.from_numpy(data.labels[:num_images])


def _of_length_one(direction: Tensor) -> Tensor:
    unit: Tensor = direction / direction.norm()
    return unit


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


def _unflat(model: nn.Module, weights: Tensor) -> dict[str, Tensor]:
    named = list(model.named_parameters())
    parts = torch.split(weights, [parameter.numel() for _, parameter in named])
    return {name: part.view(parameter.shape) for (name, parameter), part in zip(named, parts, strict=True)}
