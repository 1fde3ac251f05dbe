"""The gradient that is walked inside the graph is autograd's, for every head there is, and the gate sees where not."""

import numpy as np
import pytest
import torch
from torch import nn

from catseye.errors import CatseyeError
from catseye.explanation.cam import grad_cam
from catseye.exporting import head_gradient as under_test
from catseye.exporting.head_gradient import head_gradient
from catseye.exporting.map_proof import MAP_TOLERANCE, compare_maps, require_map
from catseye.models import registry
from catseye.models.heads import transfer_head
from catseye.models.lenet import ScaledTanh
from catseye.models.speednet import Scale

F = 6


class Bare(nn.Module):
    """Feature maps are handed in, so that the head alone is judged."""

    def __init__(self, head):
        super().__init__()
        self.features, self.head = nn.Identity(), head

    def forward(self, x):
        return self.head(x)


HEADS = {
    "dropout-linear-ReLU-dropout-linear": lambda: transfer_head(F, 4),
    "a dense layer on all places": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(F * 20, 9), nn.ReLU(), nn.Linear(9, 4)
    ),
    "a convolution first": lambda: nn.Sequential(
        nn.Conv2d(F, 8, 3), ScaledTanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    ),
    "hard swish, in boxes": lambda: nn.Sequential(
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
        nn.Sequential(nn.Linear(F, 16), nn.Hardswish(inplace=True), nn.Dropout(0.5, inplace=True), nn.Linear(16, 4)),
    ),
    "maximum": lambda: nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(F, 4), Scale(0.25)),
    "tanh": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(F, 8), nn.Tanh(), nn.Linear(8, 4)),
}


def against_torch(head, maps):
    """Our map, cut off at 0, and Grad-CAM by autograd, which has means over places for sums."""
    with torch.no_grad():
        logits, ours = head_gradient(head, tuple(maps.shape[1:]))(maps)
    torch.testing.assert_close(logits, head(maps.clone()))
    theirs = grad_cam(Bare(head), maps, logits.argmax(1))
    return torch.relu(ours), theirs * maps[0, 0].numel()


@pytest.mark.parametrize("name", HEADS)
def test_the_map_is_grad_cam(name):
    torch.manual_seed(1)
    head, maps = HEADS[name]().eval(), 3 * torch.randn(32, F, 4, 5)
    torch.testing.assert_close(*against_torch(head, maps))


@pytest.mark.parametrize("name", ["lenet5", "simple", "mobilenet_v3_small", "residual", "speednet"])
def test_registered_networks(name):
    torch.manual_seed(2)
    network = registry.create(name, num_classes=5, in_channels=3, input_px=64).eval()
    with torch.no_grad():
        maps = network.features(torch.randn(4, 3, 64, 64))
    torch.testing.assert_close(*against_torch(network.head, maps))


@pytest.mark.parametrize(
    ("head", "maps"),
    [
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.LayerNorm((F, 1, 1)), nn.Flatten(), nn.Linear(F, 4)), (F, 4, 4)),
        (nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * F, 4)), (F, 4, 4)),
        (nn.Sequential(nn.Conv2d(F, 8, 3, padding=1), nn.Flatten(), nn.Linear(128, 4)), (F, 4, 4)),
        (transfer_head(F, 4), (F, 1, 1)),
    ],
    ids=["a norm", "pooled to 2 x 2", "padding", "a single place"],
)
def test_no_map_rather_than_a_wrong_one(head, maps):
    assert head_gradient(head, maps) is None


def test_dense_layers_as_large_as_vggs_have_none(monkeypatch):
    monkeypatch.setattr(under_test, "MAX_WEIGHTS", 100)
    assert head_gradient(transfer_head(F, 4), (F, 4, 4)) is None


def maps_of(seed=3):
    head, maps = transfer_head(F, 4).eval(), torch.randn(40, F, 4, 4, generator=torch.manual_seed(seed))
    with torch.no_grad():
        logits, ours = head_gradient(head, (F, 4, 4))(maps)
    return grad_cam(Bare(head), maps, logits.argmax(1)).numpy(), ours.numpy(), [str(number) for number in range(40)]


def test_the_gate_lets_rounding_and_one_flipped_unit_through():
    expected, found, names = maps_of()
    found = found * (1 + 1e-5)
    found[7] += 0.1 * np.abs(found[7]).max()
    row = compare_maps(expected, found, names)
    assert row.name == "7"
    assert row.max_difference > MAP_TOLERANCE > row.judged
    require_map(row, "m.onnx")


WRONG = {
    "another class": lambda maps: maps[::-1],
    "turned": lambda maps: maps.transpose(0, 2, 1),
    "against the class": lambda maps: -maps,
    "nothing": np.zeros_like,
    "NaN": lambda maps: np.full_like(maps, np.nan),
    "means for sums": lambda maps: maps / maps[0].size,
}


@pytest.mark.parametrize("name", WRONG)
def test_the_gate_refuses(name):
    expected, found, names = maps_of()
    with pytest.raises(CatseyeError, match=r"m\.onnx was not written.*of 40 images.*try another format"):
        require_map(compare_maps(expected, WRONG[name](found), names), "m.onnx")
