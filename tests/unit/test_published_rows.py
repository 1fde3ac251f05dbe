"""A head that begins with the rows of the published classifier."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from catseye.models import registry
from catseye.models.heads import linear_on_pooled
from catseye.training.trials import published_rows as module
from catseye.training.trials.folds import draw_trial_folds
from catseye.training.trials.linear_head import FROM_PUBLISHED, HEADS, FeatureTable, fit_logistic, solve_logistic
from catseye.training.trials.published_rows import published_rows

NUM_PUBLISHED, NUM_FEATURES = 12, 300


@pytest.fixture
def world():
    """Images of 12 published classes; the user has two, each of several published ones. Few images, many features."""
    torch.manual_seed(0)
    centres = torch.randn(NUM_PUBLISHED, NUM_FEATURES)
    classifier = torch.cat([0.3 * centres, torch.zeros(NUM_PUBLISHED, 1)], 1)

    def draw(num):
        finer = torch.randint(0, NUM_PUBLISHED, (num,))
        return centres[finer] + 3.0 * torch.randn(num, NUM_FEATURES), (finer >= 5).long()

    features, labels = draw(60)
    folds = np.stack([draw_trial_folds(labels.numpy(), np.arange(60), 4, seed) for seed in range(2)])
    return FeatureTable(features[None], labels, torch.ones(60), folds, 2, classifier), draw(4_000)


def accuracy(head, images):
    features, labels = images
    return float(((features @ head.weight.T + head.bias).argmax(1) == labels).float().mean())


def test_few_images_of_classes_that_the_weights_know_are_classified_better(world):
    table, new = world
    plain, informed = fit_logistic(table), HEADS[FROM_PUBLISHED](table)
    assert accuracy(informed, new) > accuracy(plain, new) + 0.1
    held_out = (informed.logits.argmax(2) == table.labels.numpy()).mean()
    assert held_out == pytest.approx(accuracy(informed, new), abs=0.08)


def test_without_a_published_classifier_it_is_plain_logistic_regression(world):
    table = replace(world[0], classifier=None)
    plain, same = fit_logistic(table), HEADS[FROM_PUBLISHED](table)
    assert accuracy(same, world[1]) == pytest.approx(accuracy(plain, world[1]), abs=0.05)


def test_rows_come_from_images_outside_the_fold_only(world):
    """Labels drawn by lot, each image its own published class: with the rows of all images it would be right."""
    table, _ = world
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 2, 60))
    own = torch.cat([5 * F.normalize(table.features[0], dim=1), torch.zeros(60, 1)], 1)
    head = HEADS[FROM_PUBLISHED](replace(table, labels=labels, classifier=own))
    assert (head.logits.argmax(2) == labels.numpy()).mean() < 0.65


def test_weak_evidence_leaves_the_published_rows_whole(world):
    """Directions that no training image shows stay as published; the few images span 60 of 300."""
    table, _ = world
    rows = published_rows(table.features[0], table.labels, table.weights[None], table.classifier, 2)[0]
    head = HEADS[FROM_PUBLISHED](table)
    centred = table.features[0] - table.features[0].mean(0)
    unseen = torch.eye(NUM_FEATURES) - torch.linalg.pinv(centred) @ centred
    factor = (head.weight @ unseen).norm() / (rows[:, :-1] @ unseen).norm()
    torch.testing.assert_close(head.weight @ unseen, factor * (rows[:, :-1] @ unseen), atol=1e-3, rtol=1e-2)
    assert factor > 0.01


def test_the_minimum_with_a_goal_has_no_gradient():
    torch.manual_seed(0)
    x, y, decay = torch.randn(1, 40, 6), torch.arange(40) % 3, 0.2
    goals = torch.randn(2, 3, 7)
    layers = solve_logistic(x, y, torch.ones(2, 40), goals, decay)
    for layer, goal in zip(layers, goals, strict=True):
        shares = (x[0] @ layer[:, :-1].T + layer[:, -1]).softmax(1) - F.one_hot(y, 3)
        gradient = shares.T @ x[0] / 40 + decay * (layer - goal)[:, :-1]
        assert float(gradient.abs().max()) < 1e-3
        assert float(shares.mean(0).abs().max()) < 1e-3


def test_a_class_begins_with_the_mean_row_of_its_images(monkeypatch):
    classifier = torch.tensor([[50.0, 0.0, 1.0], [0.0, 50.0, 2.0]])
    features, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1, 1])
    weights = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    rows = published_rows(features, labels, weights, classifier, 3)
    torch.testing.assert_close(rows[0, 0], classifier[0])
    torch.testing.assert_close(rows[0, 1], classifier.mean(0))
    torch.testing.assert_close(rows[1, 1], classifier[0])  # the second problem does not see the third image
    torch.testing.assert_close(rows[0, 2], classifier[[0, 0, 1]].mean(0))  # a class without images
    monkeypatch.setattr(module, "PORTION", 2)
    torch.testing.assert_close(published_rows(features, labels, weights, classifier, 3), rows)


@pytest.mark.parametrize("name", ["resnet18", "timm:tf_efficientnet_lite0", "efficientnet_b0"])
def test_a_linear_head_is_found_by_what_it_computes(name):
    model = registry.create(name, num_classes=7, in_channels=3, input_px=64).eval()
    layer = linear_on_pooled(model)
    assert layer is not None
    maps = torch.rand(3, layer.shape[1] - 1, 2, 2)
    with torch.inference_mode():
        wanted = model.get_submodule("head")(maps)
    torch.testing.assert_close(maps.mean((2, 3)) @ layer[:, :-1].T + layer[:, -1], wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "convnext_tiny", "lenet5"])
def test_other_heads_give_none(name):
    """With hidden layers, with a norm before the layer, without pooling."""
    with torch.random.fork_rng():
        model = registry.create(name, num_classes=7, in_channels=3, input_px=32).eval()
    for norm in model.get_submodule("head").modules():
        if isinstance(norm, nn.LayerNorm):
            norm.weight.data.uniform_(0.5, 2.0)
    assert linear_on_pooled(model) is None
