"""Predicted memory against what torch really keeps, and that predicting leaves the network alone."""

import copy

import pytest
import torch

from catseye.models import registry
from catseye.models.footprint import STATES_PER_WEIGHT, measure_footprint
from catseye.training.transfer import freeze


def network(name, px=64, **options):
    torch.manual_seed(0)
    return registry.create(name, num_classes=5, in_channels=3, input_px=px, **options)


def kept_bytes(model, count, px):
    """What a real forward pass saves for the backward pass."""
    storages = {}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    alive = []
    x = torch.rand(count, 3, px, px).to(memory_format=torch.channels_last)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        registry.training_outputs(model.train(), x)
    return sum(storages.values())


@pytest.mark.parametrize("name", ["simple", "residual", "resnet18", "mobilenet_v3_small", "googlenet"])
def test_training_keeps_about_what_was_predicted(name):
    model = network(name)
    found = measure_footprint(model, 3, 64, 64)
    real = (kept_bytes(model, 6, 64) - kept_bytes(model, 2, 64)) / 4
    assert real < found.training_bytes < 2.2 * real
    assert 0 < found.answer_bytes < found.training_bytes


def test_it_grows_with_the_area():
    model = network("residual", stem="standard")
    small, large = (measure_footprint(model, 3, px, px) for px in (64, 128))
    assert large.training_bytes == pytest.approx(4 * small.training_bytes, rel=0.05)
    assert large.state_bytes == small.state_bytes


def test_frozen_layers_keep_nothing_and_need_no_optimizer():
    model = network("resnet18")
    whole = measure_footprint(model, 3, 64, 64)
    assert whole.state_bytes == STATES_PER_WEIGHT * 4 * sum(p.numel() for p in model.parameters())
    freeze(model.get_submodule("features"))
    frozen = measure_footprint(model, 3, 64, 64)
    assert frozen.training_bytes < whole.training_bytes / 2
    assert frozen.state_bytes < whole.state_bytes / 3


def test_the_network_is_left_as_it_was():
    model = network("googlenet", 96)
    model.eval()
    before = copy.deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    measure_footprint(model, 3, 96, 96)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not model.training
    assert not any(layer._forward_hooks for layer in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.device.type == "cpu"
