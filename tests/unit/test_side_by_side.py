"""`timm:A+B`: two networks whose feature maps share one linear head."""

import pytest
import torch

from catseye.errors import UnknownName, UsageError
from catseye.models import registry
from catseye.models.timm_networks import side_by_side_state

NAMES = ("timm:test_resnet", "timm:test_efficientnet")
BOTH = "timm:test_resnet+test_efficientnet"


def test_features_are_those_of_both_one_behind_the_other():
    parts = [registry.create(name, num_classes=3, input_px=64).eval() for name in NAMES]
    both = registry.create(BOTH, num_classes=3, input_px=64)
    both.load_state_dict({**both.state_dict(), **side_by_side_state([part.state_dict() for part in parts])})
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        maps = both.eval().get_submodule("features")(x)
        wanted = torch.cat([part.get_submodule("features")(x) for part in parts], 1)
        assert both(x).shape == (2, 3)
    assert torch.equal(maps, wanted)


def test_it_is_built_to_be_trained_and_its_head_is_one_linear_layer():
    both = registry.create(BOTH, num_classes=3, input_px=64, head="linear")
    assert both.training
    assert all(part.training for part in both.modules())
    assert [type(layer).__name__ for layer in both.head] == ["AdaptiveAvgPool2d", "Flatten", "Dropout", "Linear"]


def test_maps_of_two_sizes_are_refused_by_name():
    with pytest.raises(
        UsageError, match=r"feature maps of one size; at 160 px: timm:test_resnet 5 x 5, timm:inception_v3 3 x 3"
    ):
        registry.create("timm:test_resnet+inception_v3", num_classes=2, input_px=160)


def test_an_unknown_one_of_them_is_named():
    with pytest.raises(UnknownName, match="test_resne"):
        registry.create("timm:test_efficientnet+test_resne", num_classes=2, input_px=64)
