import copy

import pytest
import torch
from torch import nn

from catseye.training.ema import EMA


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def change(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(torch.randint(5, value.shape, generator=generator) + torch.rand(1, generator=generator)[0])


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_average_by_hand(decay):
    model = network()
    ema = EMA(model, decay)
    wanted = {name: value.clone() for name, value in model.state_dict().items()}
    for step in range(12):
        change(model, step)
        ema.update(model, step)
        kept = min(decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            averaged = value.is_floating_point()
            wanted[name] = kept * wanted[name] + (1 - kept) * value if averaged else value.clone()
    assert set(ema.state_dict()) == set(wanted)
    for name, value in ema.state_dict().items():
        torch.testing.assert_close(value, wanted[name], msg=name)
    assert wanted["1.num_batches_tracked"].dtype == torch.int64


def test_the_first_decay_is_a_tenth():
    model = network()
    ema = EMA(model, 0.999)
    nn.init.zeros_(ema.model[0].weight)
    nn.init.ones_(model[0].weight)
    ema.update(model, 0)
    torch.testing.assert_close(ema.model[0].weight, torch.full((3, 2), 0.9))


def test_the_average_lives_apart_from_the_model():
    model = network()
    ema = EMA(model, 0.9)
    before = copy.deepcopy(ema.state_dict())
    trained = copy.deepcopy(model.state_dict())
    change(model, 0)
    assert all(torch.equal(value, before[name]) for name, value in ema.state_dict().items())
    model.load_state_dict(trained)
    ema.update(model, 5)
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())
    assert model.training
    assert not ema.model.training
    assert not any(p.requires_grad for p in ema.model.parameters())
