import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from catseye.data.mixing import cutmix, mix_batch, mixup
from catseye.settings.schema import AugmentSettings


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shares(targets: torch.Tensor) -> list[tuple[int, int, float]]:
    """(own number, the other's number, own share) of every image; image i has class i."""
    found = []
    for index, row in enumerate(targets):
        others = [other for other in row.nonzero().flatten().tolist() if other != index]
        assert len(others) <= 1
        found.append((index, others[0] if others else index, float(row[index])))
    return found


@pytest.mark.parametrize("mix", [mixup, cutmix])
@pytest.mark.parametrize("alpha", [1e-4, 0.2, 1.0, 10.0])
def test_targets_sum_to_one(mix, alpha):
    x = torch.rand(32, 3, 8, 8, generator=seeded())
    mixed, targets = mix(x, torch.eye(32), alpha, seeded(1))
    assert mixed.shape == x.shape
    assert mixed.isfinite().all()
    assert (targets >= 0).all()
    torch.testing.assert_close(targets.sum(1), torch.ones(32))


def test_mixup_is_the_stated_combination():
    x = torch.rand(16, 3, 8, 8, generator=seeded())
    before = x.clone()
    mixed, targets = mixup(x, torch.eye(16), 1.0, seeded(1))
    assert torch.equal(x, before)
    for index, other, share in shares(targets):
        torch.testing.assert_close(mixed[index], share * x[index] + (1 - share) * x[other])


def test_cutmix_targets_are_the_true_share_of_the_pixels():
    x = torch.arange(64.0).view(64, 1, 1, 1).expand(64, 3, 10, 14).contiguous()
    mixed, targets = cutmix(x, torch.eye(64), 1.0, seeded(1))
    for index, other, share in shares(targets):
        own = mixed[index] == index
        assert torch.equal(own[0], own[1])
        assert bool((own | (mixed[index] == other)).all())
        assert float(own.float().mean()) == pytest.approx(share)


def test_cutmix_replaces_a_rectangle_by_the_same_place_of_the_other_image():
    x = torch.rand(64, 3, 10, 14, generator=seeded())
    mixed, targets = cutmix(x, torch.eye(64), 1.0, seeded(1))
    for index, other, _ in shares(targets):
        if index == other:
            continue
        foreign = (mixed[index] != x[index]).all(0)
        assert torch.equal(mixed[index][:, foreign], x[other][:, foreign])
        if foreign.any():
            rows, columns = foreign.any(1).nonzero(), foreign.any(0).nonzero()
            assert foreign[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_every_image_has_its_own_share_and_partner(mix):
    _, targets = mix(torch.rand(32, 1, 20, 20), torch.eye(32), 1.0, seeded(1))
    found = shares(targets)
    assert len({share for _, _, share in found}) > 8
    assert len({other for _, other, _ in found}) > 16


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha):
    n = 1000
    _, targets = mixup(torch.zeros(n, 1, 1, 1), torch.eye(n), alpha, seeded(2))
    drawn = [share for index, other, share in shares(targets) if other != index and 1e-6 < share < 1 - 1e-6]
    wanted = stats.beta(alpha, alpha)
    low, high = wanted.cdf(1e-6), wanted.cdf(1 - 1e-6)
    assert stats.kstest([(wanted.cdf(share) - low) / (high - low) for share in drawn], "uniform").pvalue > 0.01


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_the_generator_alone_decides(mix):
    x, targets = torch.rand(8, 1, 8, 8), torch.eye(8)
    torch.manual_seed(1)
    first = mix(x, targets, 1.0, seeded(5))
    torch.manual_seed(2)
    second = mix(x, targets, 1.0, seeded(5))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[1], mix(x, targets, 1.0, seeded(6))[1])


def test_nothing_on_leaves_everything_as_it_is():
    x, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 2, 1, 2])
    mixed, targets = mix_batch(x, labels, AugmentSettings(), 3, seeded())
    assert mixed is x
    assert targets is labels


def kind(x: torch.Tensor, mixed: torch.Tensor) -> str:
    """CutMix copies values, MixUp makes new ones."""
    return "cutmix" if torch.isin(mixed, x).all() else "mixup"


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({"mixup_alpha": 0.5}, {"mixup"}),
        ({"cutmix_alpha": 0.5}, {"cutmix"}),
        ({"mixup_alpha": 0.5, "cutmix_alpha": 0.5}, {"mixup", "cutmix"}),
    ],
)
def test_each_batch_gets_one_of_those_that_are_on(settings, kinds):
    x, labels = torch.rand(8, 3, 8, 8), torch.tensor([0, 1, 2, 3] * 2)
    seen = set()
    for seed in range(12):
        mixed, targets = mix_batch(x, labels, AugmentSettings(**settings), 5, seeded(seed))
        assert targets.shape == (8, 5)
        assert (targets[:, 4] == 0).all()
        seen.add(kind(x, mixed))
    assert seen == kinds


def test_soft_targets_of_one_image_are_its_own():
    x = torch.rand(1, 3, 8, 8)
    for settings in ({"mixup_alpha": 1.0}, {"cutmix_alpha": 1.0}):
        mixed, targets = mix_batch(x, torch.tensor([2]), AugmentSettings(**settings), 3, seeded())
        torch.testing.assert_close(mixed, x)
        torch.testing.assert_close(targets, F.one_hot(torch.tensor([2]), 3).float())
