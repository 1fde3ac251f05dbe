import copy

import pytest
import torch
from torch import nn

from catseye.models import registry
from catseye.settings.schema import TrainingSettings
from catseye.training.optimizers import ParameterGroup, make_optimizer, plain_groups

TORCHS = {
    "sgd": lambda p, decay: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=decay),
    "adam": lambda p, decay: torch.optim.Adam(p, lr=0.1, weight_decay=decay),
    "adamw": lambda p, decay: torch.optim.AdamW(p, lr=0.1, weight_decay=decay),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))


def three_steps(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    for seed in range(3):
        x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return dict(model.named_parameters())


@pytest.mark.parametrize("name", TORCHS)
def test_steps_are_torchs_with_decay_on_kernels_and_matrices_only(name):
    first = network()
    settings = TrainingSettings(optimizer=name, lr=0.1, momentum=0.9, nesterov=name == "sgd", weight_decay=0.5)
    plain = [p for p in first.parameters() if p.ndim == 1]
    assert len(plain) == 4
    second = copy.deepcopy(first)
    got = three_steps(first, make_optimizer(plain_groups(first, settings), settings))
    # Every parameter has its own plain optimizer of torch's, with the decay that is due to it.
    optimizers = [TORCHS[name]([p], 0.5 if p.ndim > 1 else 0.0) for p in second.parameters()]

    class All:
        def zero_grad(self) -> None:
            second.zero_grad()

        def step(self) -> None:
            for each in optimizers:
                each.step()

    wanted = three_steps(second, All())
    for key, value in got.items():
        torch.testing.assert_close(value, wanted[key], msg=key)


@pytest.mark.parametrize("name", TORCHS)
@pytest.mark.parametrize("model_name", ["lenet5", "simple", "residual"])
def test_no_decay_on_norms_and_biases(name, model_name):
    model = registry.create(model_name, num_classes=2)
    settings = TrainingSettings(optimizer=name, weight_decay=0.3)
    optimizer = make_optimizer(plain_groups(model, settings), settings)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == len(list(model.parameters()))
    for layer in model.modules():
        for key, parameter in layer.named_parameters(recurse=False):
            free = key == "bias" or isinstance(layer, nn.BatchNorm2d)
            assert decay[id(parameter)] == (0.0 if free else 0.3)


def test_frozen_weights_are_left_out():
    model = network()
    model[0].requires_grad_(False)
    optimizer = make_optimizer(plain_groups(model, TrainingSettings()), TrainingSettings())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


def test_settings_reach_the_optimizer():
    settings = TrainingSettings(optimizer="sgd", lr=0.3, momentum=0.8)
    groups = make_optimizer(plain_groups(network(), settings), settings).param_groups
    assert [(group["lr"], group["momentum"], group["nesterov"]) for group in groups] == [(0.3, 0.8, False)] * 2


def test_a_group_waits_for_its_first_step_and_has_its_own_rate():
    group = ParameterGroup([], rate_factor=0.25, first_step=10)
    assert [group.rate(0.8, step) for step in (0, 9, 10, 11)] == [0.0, 0.0, 0.2, 0.2]
    assert ParameterGroup([]).rate(0.8, 0) == 0.8
