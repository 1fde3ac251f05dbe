import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from catseye.errors import DataError
from catseye.settings.schema import TrainingSettings
from catseye.training.losses import balanced_weights, make_criterion

COUNTS = np.array([10, 40, 5])
CPU = torch.device("cpu")


def logits_of(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows).log()


def by_hand(logits, targets, *, smoothing: float, weights: np.ndarray, labels=None) -> float:
    """The definition: -sum over classes of weight x smoothed target x log p, divided by the weights of the labels."""
    wide = logits.numpy().astype(np.float64)
    log_p = wide - np.log(np.exp(wide).sum(1, keepdims=True))
    smoothed = targets * (1 - smoothing) + smoothing / targets.shape[1]
    total = -(weights * smoothed * log_p).sum()
    return total / (weights[labels].sum() if labels is not None else len(targets))


@pytest.mark.parametrize(("p", "cost"), [(0.85, 0.16), (0.05, 3.00)])
def test_the_costs_of_the_source_article(p, cost):
    criterion = make_criterion(TrainingSettings(), COUNTS, CPU)
    loss = float(criterion(logits_of((p, 1 - p)), torch.tensor([0])))
    assert loss == pytest.approx(-math.log(p))
    assert round(loss, 2) == cost


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("balance", ["none", "balanced"])
def test_labels_against_the_definition(smoothing, balance):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 3, generator=generator) * 3
    labels = torch.randint(3, (20,), generator=generator)
    weights = balanced_weights(COUNTS) if balance == "balanced" else np.ones(3)
    criterion = make_criterion(TrainingSettings(label_smoothing=smoothing, class_weights=balance), COUNTS, CPU)
    wanted = by_hand(logits, np.eye(3)[labels], smoothing=smoothing, weights=weights, labels=labels.numpy())
    assert float(criterion(logits, labels)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("balance", ["none", "balanced"])
def test_soft_targets_against_the_definition(smoothing, balance):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(20, 3, generator=generator) * 3
    targets = torch.rand(20, 3, generator=generator)
    targets /= targets.sum(1, keepdim=True)
    weights = balanced_weights(COUNTS) if balance == "balanced" else np.ones(3)
    criterion = make_criterion(TrainingSettings(label_smoothing=smoothing, class_weights=balance), COUNTS, CPU)
    wanted = by_hand(logits, targets.numpy(), smoothing=smoothing, weights=weights)
    assert float(criterion(logits, targets)) == pytest.approx(wanted, rel=1e-5)


def test_hard_soft_targets_cost_what_labels_cost():
    logits, labels = torch.randn(8, 3), torch.arange(8) % 3
    criterion = make_criterion(TrainingSettings(label_smoothing=0.1), COUNTS, CPU)
    torch.testing.assert_close(criterion(logits, torch.eye(3)[labels]), criterion(logits, labels))


@pytest.mark.parametrize("counts", [[1, 1], [10, 40, 5], [1, 1000], [7]])
def test_balanced_weights_are_sklearns(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    wanted = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    np.testing.assert_allclose(balanced_weights(np.array(counts)), wanted)


def test_balanced_weights_need_every_class():
    with pytest.raises(DataError, match="every class"):
        balanced_weights(np.array([3, 0, 1]))
