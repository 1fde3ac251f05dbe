import pytest
import torch
from torch import nn

from catseye.errors import UsageError
from catseye.models import registry
from catseye.settings.merge import load_settings
from catseye.settings.schema import TrainingSettings
from catseye.training.muon import Muon, orthogonalise
from catseye.training.optimizers import make_optimizer, plain_groups
from catseye.training.transfer import transfer_groups


@pytest.mark.parametrize("shape", [(16, 16), (8, 72), (72, 8)])
def test_an_orthogonalised_matrix_keeps_its_singular_vectors_and_loses_their_values(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    got = u.T @ orthogonalise(matrix) @ v.T
    assert values.max() / values.min() > 1.5
    others = got - torch.diag(got.diagonal())
    assert others.abs().max() < 0.05  # bf16 where the processor computes in it
    large = values > 0.1 * values.max()  # three iterations leave the smallest ones behind
    assert got.diagonal()[large].min() > 0.4
    assert got.diagonal().max() < 1.35


def test_plain_groups_are_torchs_sgd():
    first = [nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(1)))]
    second = [nn.Parameter(first[0].detach().clone())]
    ours = Muon([{"params": first, "weight_decay": 0.1}], lr=0.2, momentum=0.7)
    theirs = torch.optim.SGD(second, lr=0.2, momentum=0.7, nesterov=True, weight_decay=0.1)
    for _ in range(4):
        for parameters, optimizer in ((first, ours), (second, theirs)):
            optimizer.zero_grad()
            parameters[0].sin().sum().backward()
            optimizer.step()
    torch.testing.assert_close(first, second)


def test_a_kernel_keeps_its_norm_and_moves_by_an_orthogonal_step():
    kernel = nn.Parameter(torch.randn(6, 2, 3, 3, generator=torch.Generator().manual_seed(2)))
    gradient = torch.randn(6, 2, 3, 3, generator=torch.Generator().manual_seed(3))
    start = (kernel * 6**0.5 / kernel.norm()).detach()
    kernel.grad = gradient
    Muon([{"params": [kernel], "orthogonal": True}], lr=0.1, momentum=0.5).step()
    wanted = start - 0.1 * orthogonalise((1.5 * gradient).flatten(1)).view_as(start)
    torch.testing.assert_close(kernel.detach(), wanted)


def test_only_kernels_of_the_features_get_orthogonal_steps():
    model = registry.create("speednet", num_classes=4)
    settings = TrainingSettings(optimizer="muon", lr=0.1, vector_lr=0.4)
    groups = plain_groups(model, settings)
    optimizer = make_optimizer(groups, settings)
    kernels, matrices, vectors = optimizer.param_groups
    assert {p.shape[2:] for p in kernels["params"]} == {(3, 3)}
    assert len(kernels["params"]) == 6
    assert [tuple(p.shape) for p in matrices["params"]] == [(4, 256)]
    assert all(p.ndim == 1 for p in vectors["params"])
    assert [group["orthogonal"] for group in optimizer.param_groups] == [True, False, False]
    assert [group.rate(0.1, step=0) for group in groups] == pytest.approx([0.1, 0.4, 0.4])
    trained = sum(p.requires_grad for p in model.parameters())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == trained


def test_muon_refuses_published_weights_and_idle_options():
    with pytest.raises(UsageError, match="fresh weights"):
        transfer_groups(nn.Linear(2, 2), load_settings("speed"), 10)
    with pytest.raises(UsageError, match="vector_lr would do nothing"):
        load_settings("quick", overrides=["training.vector_lr=0.1"])
    with pytest.raises(UsageError, match="nesterov would do nothing"):
        load_settings("speed", overrides=["training.nesterov=true"])
