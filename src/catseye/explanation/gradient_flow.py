"""The gradient that reaches each layer of a deep network, with and without skips.

Enters: a depth. Leaves: `GradientFlow`: gradient norms per layer of a plain and a residual tower (models/tower.py) with
the same seed on the same images, before training and after a few steps. They are computed at every call, in double
precision, so that a gradient of 1e-41 does not become 0. Called by cli and lab.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catseye.data.builtin import load_builtin
from catseye.errors import UsageError
from catseye.models import registry
from catseye.models.tower import CHANNELS

FACTOR = 0.8
"""The share of a gradient that passes one layer in the textbook's arithmetic: 0.8 to the power of 49 is 0.000018."""

INITIALISATIONS: dict[str, str] = {
    "pytorch": "PyTorch's default for a convolution: uniform, variance 1 / (3 · fan in)",
    "glorot": "Glorot, Bengio 2010: variance 2 / (fan in + fan out), made for tanh",
    "he": "He et al. 2015: variance 2 / fan in, made for ReLU",
}
NUM_CHANNELS = 8  # of every layer: enough to learn digits, and depth 100 takes a second
NUM_IMAGES = 32
NUM_CLASSES = 10
LR, MOMENTUM, CLIP_NORM = 0.05, 0.9, 1.0
MIN_DEPTH, MAX_DEPTH = 10, 100


@dataclass(frozen=True)
class Flow:
    """Norms of the loss's gradient, the first layer first.

    `signal` is with respect to each layer's output, `weights` with respect to its kernel.
    """

    signal: tuple[float, ...]
    weights: tuple[float, ...]

    @property
    def share(self) -> float:
        """The share of the last layer's signal that arrives at the first."""
        return self.signal[0] / self.signal[-1] if self.signal[-1] else 0.0

    @property
    def per_layer(self) -> float:
        """The factor per layer that gives this share: a geometric mean."""
        return float(self.share ** (1 / (len(self.signal) - 1)))


@dataclass(frozen=True)
class TrainedTower:
    """A network before and after its steps, and the loss at each step.

    `after` is None if nothing was trained.
    """

    start: Flow
    after: Flow | None
    losses: tuple[float, ...]


@dataclass(frozen=True)
class GradientFlow:
    """Both networks of one depth, otherwise equal."""

    depth: int
    norm: bool
    initialisation: str
    num_steps: int
    seed: int
    plain: TrainedTower
    residual: TrainedTower

    @property
    def arithmetic(self) -> float:
        """0.8 to the power of depth - 1: the share at layer 1 by the textbook."""
        return arithmetic(self.depth)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        both = {"plain": self.plain, "residual": self.residual}
        facts = {key: getattr(self, key) for key in ("depth", "norm", "initialisation", "num_steps", "seed")}
        return {
            **facts,
            "factor": FACTOR,
            "arithmetic": self.arithmetic,
            **{
                kind: {
                    "start": _flow_json(tower.start),
                    "after": _flow_json(tower.after) if tower.after else None,
                    "losses": list(tower.losses),
                }
                for kind, tower in both.items()
            },
        }


def arithmetic(depth: int, factor: float = FACTOR) -> float:
    """The share of a gradient left at layer 1 of `depth` layers.

    Every layer multiplies it by `factor`.

    >>> f"{arithmetic(50):.2g}"
    '1.8e-05'
    """
    return float(factor ** (depth - 1))


def gradient_flow(
    depth: int = 50,
    *,
    norm: bool = False,
    initialisation: str = "pytorch",
    num_steps: int = 20,
    seed: int = 0,
) -> GradientFlow:
    """Measure a plain and a residual tower of `depth` layers on handwritten digits.

    `norm` puts batch normalisation after every convolution. `num_steps` of SGD follow, on other digits.

    Raises:
        UsageError: the depth is odd or out of range, or there is no such initialisation.

    """
    if depth % 2 or not MIN_DEPTH <= depth <= MAX_DEPTH:
        raise UsageError(f"depth is an even number from {MIN_DEPTH} to {MAX_DEPTH}; got {depth}; for example 50")
    if initialisation not in INITIALISATIONS:
        raise UsageError(f"initialisation is one of {', '.join(INITIALISATIONS)}; got {initialisation!r}")
    plain, residual = (
        _measure_flow(_tower(depth, skip, norm, initialisation, seed), num_steps, seed) for skip in (False, True)
    )
    return GradientFlow(depth, norm, initialisation, num_steps, seed, plain, residual)


def layer_gradients(model: nn.Module, x: Tensor, labels: Tensor) -> Flow:
    """The gradient norms at every convolution of `features`.

    They are those of the mean cross-entropy, from one forward and one backward pass. A layer's output is taken after
    its ReLU. Weights and buffers stay unchanged.

    Shape: x (N, C, H, W), labels (N,).
    """
    features = model.get_submodule("features")
    outputs: list[Tensor] = []

    def note(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        outputs.append(output)

    hooks = [layer.register_forward_hook(note) for layer in features.modules() if isinstance(layer, nn.ReLU)]
    kernels = [layer.weight for layer in features.modules() if isinstance(layer, nn.Conv2d)]
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    try:
        with torch.enable_grad():
            loss = F.cross_entropy(model(x), labels)
            gradients = torch.autograd.grad(loss, [*outputs, *kernels])
    finally:
        for hook in hooks:
            hook.remove()
        for name, value in model.named_buffers():
            value.copy_(buffers[name])
    norms = [float(torch.linalg.vector_norm(gradient)) for gradient in gradients]
    return Flow(tuple(norms[: len(outputs)]), tuple(norms[len(outputs) :]))


def _tower(depth: int, skip: bool, norm: bool, initialisation: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = registry.create(
            "tower",
            num_classes=NUM_CLASSES,
            in_channels=1,
            input_px=8,
            depth=depth,
            width=NUM_CHANNELS / CHANNELS,
            skip=skip,
            norm=norm,
        )
        for layer in model.get_submodule("features").modules():
            if isinstance(layer, nn.Conv2d) and initialisation != "pytorch":
                if initialisation == "he":
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                else:
                    nn.init.xavier_normal_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
    return model.double().train()


def _measure_flow(model: nn.Module, num_steps: int, seed: int) -> TrainedTower:
    batches = _batches(seed)
    x, labels = next(batches)  # measured before and after; training uses other digits
    start = layer_gradients(model, x, labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    losses = []
    for pixels, truth in islice(batches, num_steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(pixels), truth)
        loss.backward()  # type: ignore[no-untyped-call]
        # If gradients explode, an unclipped step would give NaN and show nothing.
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        losses.append(float(loss.detach()))
    return TrainedTower(start, layer_gradients(model, x, labels) if num_steps else None, tuple(losses))


@cache
def _digit_batches() -> tuple[Tensor, Tensor]:
    digits = load_builtin("digits")
    x = torch.from_numpy(digits.pixels).permute(0, 3, 1, 2).double() / 255
    return (x - x.mean()) / x.std(), torch.from_numpy(digits.labels)


def _batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of digits in an order given by the seed.

    Shape: (NUM_IMAGES, 1, 8, 8), (NUM_IMAGES,).
    """
    x, labels = _digit_batches()
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(x), generator=generator)
        for start in range(0, len(x) - NUM_IMAGES + 1, NUM_IMAGES):
            indices = order[start : start + NUM_IMAGES]
            yield x[indices], labels[indices]


def _flow_json(flow: Flow) -> dict[str, Any]:
    return {
        "signal": list(flow.signal),
        "weights": list(flow.weights),
        "share": flow.share,
        "per_layer": flow.per_layer,
    }
