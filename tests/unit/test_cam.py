"""Class activation maps: hand-computed ones, algebra that must hold, and every kind of network."""

import numpy as np
import pytest
import torch
from torch import nn

from catseye.errors import UnknownName, UsageError
from catseye.explanation.cam import METHODS, cam, eigen_cam, explain_batch, grad_cam, grad_cam_plus_plus, scale
from catseye.explanation.worth import deletion_curve, measure_worth
from catseye.models import registry
from catseye.models.heads import last_linear


class Tiny(nn.Module):
    """Two feature maps: the image's left half and its right half, one class for each."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(1, 2, 1, bias=False)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
        with torch.no_grad():
            self.features.weight.copy_(torch.tensor([1.0, -2.0]).reshape(2, 1, 1, 1))
            self.head[2].weight.copy_(torch.tensor([[3.0, 1.0], [-1.0, 2.0]]))
            self.head[2].bias.copy_(torch.tensor([0.5, -0.5]))

    def forward(self, x):
        return self.head(self.features(x))


IMAGE = torch.tensor([[[[1.0, 2.0], [0.0, 4.0]]]])
TARGET = torch.tensor([0])


def test_cam_by_hand():
    # Maps: x and -2x; class 0 weighs them 3 and 1: 3x - 2x = x.
    np.testing.assert_allclose(cam(Tiny(), IMAGE, TARGET), IMAGE[0])
    # Class 1: -x - 4x = -5x, whose mean plus bias is the logit.
    found = cam(Tiny(), IMAGE, torch.tensor([1]))
    np.testing.assert_allclose(found, -5 * IMAGE[0])
    np.testing.assert_allclose(found.mean() - 0.5, Tiny()(IMAGE)[0, 1].detach())


def test_grad_cam_by_hand():
    # The gradient of a mean is weight / 4 everywhere: a quarter of CAM, cut off below 0.
    np.testing.assert_allclose(grad_cam(Tiny(), IMAGE, TARGET), IMAGE[0] / 4)
    np.testing.assert_allclose(grad_cam(Tiny(), IMAGE, torch.tensor([1])), 0 * IMAGE[0])


def test_grad_cam_plus_plus_by_hand():
    # g = (3/4, 1/4), sums (7, -14); alpha = g^2 / (2 g^2 + S g^3) = 1 / (2 + S g); weight = 4 alpha relu(g).
    first = 4 * (3 / 4) / (2 + 7 * 3 / 4)
    second = 4 * (1 / 4) / (2 - 14 / 4)
    wanted = torch.relu(first * IMAGE[0] + second * -2 * IMAGE[0])
    np.testing.assert_allclose(grad_cam_plus_plus(Tiny(), IMAGE, TARGET), wanted, rtol=1e-6)


def test_eigen_cam_is_numpys_first_component():
    torch.manual_seed(0)
    model = registry.create("simple", num_classes=3).eval()
    x = torch.randn(2, 3, 32, 32)
    maps = model.features(x).detach().numpy()
    found = eigen_cam(model, x, TARGET).numpy()
    for one, wanted in zip(found, maps, strict=True):
        flat = wanted.reshape(len(wanted), -1).T
        _, vectors = np.linalg.eigh(flat.T @ flat)
        component = (flat @ vectors[:, -1]).reshape(one.shape)
        np.testing.assert_allclose(one, component * np.sign(component.sum()), atol=1e-4)


@pytest.mark.parametrize("name", ["lenet5", "simple", "residual"])
@pytest.mark.parametrize("method", METHODS)
def test_every_network_through_features_and_head(name, method):
    torch.manual_seed(0)
    model = registry.create(name, num_classes=4, in_channels=1, input_px=32).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x, target = torch.randn(3, 1, 32, 32), torch.tensor([0, 3, 1])
    if method == "cam" and last_linear(model.head) is None:
        with pytest.raises(UsageError, match="--method gradcam"):
            explain_batch(model, x, target, method)
        return
    heat = explain_batch(model, x, target, method)
    assert heat.shape == (3, 32, 32)
    assert heat.min() >= 0
    assert heat.max() <= 1
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    alone = explain_batch(model, x[1:2], target[1:2], method)  # an image's map does not depend on its neighbours
    np.testing.assert_allclose(heat[1], alone[0], atol=1e-4)


def test_a_constant_map_is_nothing_rather_than_nan():
    assert scale(torch.full((1, 2, 2), 3.0)).tolist() == [[[0, 0], [0, 0]]]


def test_unknown_methods():
    with pytest.raises(UnknownName, match=r"gradcam"):
        explain_batch(Tiny(), IMAGE, TARGET, "gradcamm")


def test_a_right_map_is_worth_more_than_chance_and_a_wrong_one_less():
    """The class depends on one corner alone; a map of that corner loses it first."""

    class Corner(nn.Module):
        def forward(self, x):
            bright = x[:, :, :4, :4].mean((1, 2, 3))
            return torch.stack([8 * bright, 0 * bright], 1)

    x = torch.ones(1, 16, 16)
    heat = torch.zeros(16, 16)
    heat[:4, :4] = 1
    good, bad = measure_worth(Corner(), x, heat, 0), measure_worth(Corner(), x, -heat, 0)
    assert good.deletion < good.deletion_random < bad.deletion
    assert good.insertion > good.insertion_random > bad.insertion
    curve = deletion_curve(Corner(), x, heat, 0, torch.zeros_like(x))
    assert curve[0] == pytest.approx(1 / (1 + np.exp(-8)))
    assert curve[-1] == pytest.approx(0.5)
