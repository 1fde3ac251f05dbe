"""The parts of a search for the best model: clock, folds, scores, halving, heads; none of them trains a network."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from catseye.errors import UsageError
from catseye.settings.promise import promised_s, refuse_beside_time, search_decides
from catseye.settings.typed import parse_duration, say_duration
from catseye.training.trials.folds import draw_trial_folds
from catseye.training.trials.frozen_rungs import _fit_without_judges
from catseye.training.trials.halving import halve
from catseye.training.trials.linear_head import (
    FeatureTable,
    fit_discriminant,
    fit_logistic,
    solve_logistic,
    vote_neighbours,
)
from catseye.training.trials.scores import compare_scores, score_answers
from catseye.training.trials.search import Jury
from catseye.training.trials.time_budget import LEAVE_S, Pace, TimeBudget
from catseye.training.trials.trial_features import _copy_of
from catseye.training.trials.tuning_rungs import average_states


class Clock:
    def __init__(self, now=0.0):
        self.time = now

    def __call__(self):
        return self.time


# The clock


def test_the_end_is_kept_free_and_nothing_begins_that_would_run_into_it():
    clock = Clock(1_000.0)
    budget = TimeBudget(begun_s=990.0, total_s=100.0, now=clock, ending_s=20.0)
    assert budget.spent_s == 10
    assert budget.left_s == pytest.approx(100 * 0.99 - LEAVE_S - 20 - 10)
    assert budget.fits(50)
    assert not budget.fits(65), "a forecast is taken to be short"
    clock.time += 60
    assert not budget.fits(50)
    clock.time += 40
    assert budget.left_s < 0
    assert not budget.fits(0.0)


@pytest.mark.parametrize(("each_s", "fitting"), [(1.0, 20), (5.0, 10), (10.0, 5), (100.0, 0)])
def test_as_many_epochs_as_fit(each_s, fitting):
    budget = TimeBudget(begun_s=0.0, total_s=100.0, now=Clock(0.0), ending_s=100 * 0.99 - LEAVE_S - 1.15 * 60)
    assert budget.num_fitting(fixed_s=8.0, each_s=each_s, wanted=20) == fitting


def test_a_forecast_is_that_of_the_slowest_measurement_and_grows_with_the_area():
    pace = Pace()
    pace.note(10, 100, 1.0)
    pace.note(10, 100, 0.5)
    assert pace.forecast_s(20, 100) == pytest.approx(2.0)
    assert pace.forecast_s(20, 200) == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("2m", 120), ("90s", 90), ("1h", 3600), ("1.5h", 5400), (45, 45)]
)
def test_a_promised_time(text, seconds):
    assert promised_s(text) == seconds


@pytest.mark.parametrize("text", ["2", "soon", "-3m", "0s", "1000h", "nan"])
def test_a_time_that_is_none_or_too_short(text):
    with pytest.raises(UsageError, match=f"--time.*{text}"):
        promised_s(text)


def test_durations_say_their_own_option():
    with pytest.raises(UsageError, match="--budget"):
        parse_duration("x")
    assert say_duration(100) == "100 seconds"
    assert say_duration(60) == "1 minute"


@pytest.mark.parametrize(
    ("named", "own", "said"),
    [
        ({"epochs": 3}, {}, "--epochs would do nothing with --time"),
        ({"resume": "run"}, {}, "--resume would do nothing"),
        ({"recipe": "quick"}, {}, "--recipe would do nothing"),
        ({"nproc": 2}, {}, "one process"),
        ({}, {"training": {"lr": 0.1}}, "training.lr would do nothing with --time"),
        ({}, {"augment": {"hflip": 0.5}}, "augment.hflip"),
        ({}, {"transfer": {"stages": 2}}, "transfer.stages"),
        ({}, {"transfer": {"strategy": "full"}}, "--strategy full would do nothing"),
    ],
)
def test_what_does_not_go_together_with_a_promise(named, own, said):
    with pytest.raises(UsageError, match=said):
        refuse_beside_time(named, own)


def test_what_does():
    own = {"training": {"time_s": 60.0, "memory_gb": 4.0}, "data": {"input_px": 96}, "transfer": {"weights": "w.pth"}}
    refuse_beside_time({"epochs": None, "nproc": 1, "recipe": "auto", "tensorboard": False}, own)
    assert search_decides(own) is None
    assert search_decides({"training": {"epochs": 3}}) == "training.epochs"


# The folds


@pytest.mark.parametrize("seed", range(5))
def test_folds_never_part_a_group_and_stay_even(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 60, 200)
    labels = np.where(rng.random(200) < 0.1, rng.integers(0, 3, 200), groups % 3)  # a few groups of mixed classes
    folds = draw_trial_folds(labels, groups, 4, seed)
    for group in np.unique(groups):
        assert len(np.unique(folds[groups == group])) == 1
    for label in range(3):
        counts = np.bincount(folds[labels == label], minlength=4)
        assert counts.min() > 0.5 * counts.mean(), "a class is missing from a fold"


def test_folds_of_a_seed_are_the_same_and_of_another_are_not():
    labels, groups = np.arange(80) % 2, np.arange(80)
    assert (draw_trial_folds(labels, groups, 4, 0) == draw_trial_folds(labels, groups, 4, 0)).all()
    assert (draw_trial_folds(labels, groups, 4, 0) != draw_trial_folds(labels, groups, 4, 1)).any()


def test_two_images_of_a_class_fall_into_two_folds():
    labels = np.array([0] * 20 + [1, 1])
    folds = draw_trial_folds(labels, np.arange(22), 4, 0)
    assert folds[20] != folds[21]


# Scores, and what pays


def scored(right, asked=None):
    """A score of two-class answers, right or wrong by an equal margin."""
    right = np.asarray(right)
    logits = np.where(right[:, None], [[2.0, 0.0]], [[0.0, 2.0]])
    numbers = np.arange(len(right)) if asked is None else np.asarray(asked)
    return score_answers(logits, np.zeros(len(right), np.int64), numbers, np.ones(100))


@pytest.mark.parametrize(("gained", "pays"), [(0, False), (2, False), (4, False), (5, True), (12, True)])
def test_a_gain_pays_only_beyond_its_interval(gained, pays):
    before = scored(np.arange(49) >= 12)
    after = scored(np.arange(49) >= 12 - gained)
    found = compare_scores(after, before)
    assert found.gain == pytest.approx(gained / 49)
    # The loss falls with every image gained; so small a set is asked for its accuracy alone.
    few = compare_scores(scored(np.arange(25) >= 12 - gained), scored(np.arange(25) >= 12))
    assert few.pays == pays
    assert not compare_scores(before, after).pays


def test_images_changed_both_ways_are_no_gain():
    rng = np.random.default_rng(0)
    before, after = rng.random(100) < 0.8, rng.random(100) < 0.82
    assert not compare_scores(scored(after), scored(before)).pays


def test_only_images_that_both_have_answered_count():
    before = scored(np.zeros(50, bool), asked=np.arange(50))
    after = scored(np.ones(30, bool), asked=np.arange(40, 70))
    assert compare_scores(after, before).num_images == 10
    assert compare_scores(scored(np.ones(5, bool), asked=np.arange(90, 95)), before).pays is False


def test_equal_answers_with_a_clearly_smaller_loss_pay():
    labels, numbers, weights = np.zeros(240, np.int64), np.arange(240), np.ones(240)
    rng = np.random.default_rng(0)
    margins = np.abs(rng.normal(2, 0.5, 240)) * np.where(np.arange(240) < 24, -1, 1)
    dull = np.stack([np.sign(margins) * 0.7, np.zeros(240)], 1)
    sharp = np.stack([np.where(margins < 0, -0.1, 2.0), np.zeros(240)], 1)
    before, after = (score_answers(each, labels, numbers, weights) for each in (dull, sharp))
    assert before.accuracy == after.accuracy
    assert compare_scores(after, before).pays
    assert not compare_scores(before, after).pays


def test_repeated_answers_are_averaged_and_missing_ones_left_out():
    logits = np.array([[[1.0, 0], [1, 0], [np.nan, np.nan]], [[0.0, 1], [1, 0], [np.nan, np.nan]]])
    found = score_answers(logits, np.zeros(3, np.int64), np.array([4, 2, 0]), np.ones(6))
    np.testing.assert_array_equal(found.correct, [np.nan, np.nan, 1, np.nan, 0.5, np.nan])
    assert found.accuracy == 0.75


# Successive halving


def test_halving_gives_the_better_half_more_and_ends_with_the_best():
    merits, calls = {"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.4}, []

    def attempt(name, number):
        calls.append((name, number))
        return merits[name]

    assert halve("abcd", attempt, 3)[0] == "b"
    assert [name for name, number in calls if number == 0] == ["a", "b", "c", "d"]
    assert [name for name, number in calls if number == 1] == ["b", "c"]
    assert [name for name, number in calls if number == 2] == ["b"]


def test_what_does_not_fit_goes_no_further_and_ends_nothing():
    calls = []

    def attempt(name, number):
        calls.append((name, number))
        return None if name == "slow" or number == 1 else 1.0

    assert halve(["slow", "quick"], attempt, 4) == ["quick", "slow"]
    assert calls == [("slow", 0), ("quick", 0), ("quick", 1)]


# Heads


@pytest.fixture
def table():
    torch.manual_seed(0)
    labels = torch.arange(150) % 3
    centres = torch.randn(3, 40)
    features = centres[labels] + 1.6 * torch.randn(150, 40)
    folds = np.stack([draw_trial_folds(labels.numpy(), np.arange(150), 4, seed) for seed in range(2)])
    return FeatureTable(features[None], labels, torch.ones(150), folds, 3)


@pytest.mark.parametrize("wide", [False, True])
def test_the_minimum_is_scikit_learns(table, wide):
    """Also where there are more features than images, and several problems are solved side by side."""
    chosen = slice(0, 30) if wide else slice(None)
    x, y = table.features[:, chosen].double(), table.labels[chosen]
    decay = 0.05
    goals = torch.zeros(2, 3, x.shape[-1] + 1)
    layers = solve_logistic(x.float(), y, torch.ones(2, len(y)), goals, decay)
    oracle = LogisticRegression(C=1 / (decay * len(y)), tol=1e-10, max_iter=5_000).fit(x[0], y)
    found, wanted = layers[1, :, :-1], torch.from_numpy(oracle.coef_).float()
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=2e-2)
    torch.testing.assert_close(layers[0], layers[1], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("fit", [fit_logistic, lambda t: fit_logistic(t, standardise=True), fit_discriminant])
def test_a_head_is_one_layer_on_the_features_themselves(table, fit):
    head = fit(table)
    assert (head.weight.shape, head.bias.shape) == ((3, 40), (3,))
    answers = (table.features[0] @ head.weight.T + head.bias).argmax(1)
    assert float((answers == table.labels).float().mean()) > 0.9
    assert head.logits.shape == (2, 150, 3)
    assert not np.isnan(head.logits).any(), "every image was outside a fold once per repetition"


def test_what_a_head_says_outside_its_folds_is_honest(table):
    """Labels drawn by lot: on its own images a head is right, outside the folds it is at chance."""
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 3, 150))
    lottery = FeatureTable(table.features, labels, table.weights, table.folds, 3)
    head = fit_logistic(lottery)
    outside = float((head.logits.argmax(2) == labels.numpy()).mean())
    assert outside < 0.45


def test_neighbours_of_the_same_group_have_no_vote():
    """Every image twice: with its copy it is certain, without it is at chance."""
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(60, 8))).float().repeat(2, 1)
    labels = torch.from_numpy(rng.integers(0, 2, 60)).repeat(2)
    folds = np.zeros((1, 120), np.int64)
    table = FeatureTable(features[None], labels, torch.ones(120), folds, 2)
    apart = vote_neighbours(table, np.arange(60).repeat(2).reshape(60, 2).T.ravel())
    assert (apart.argmax(1) == labels.numpy()).mean() < 0.75
    blind = vote_neighbours(table, np.arange(120))
    assert (blind.argmax(1) == labels.numpy()).mean() > (apart.argmax(1) == labels.numpy()).mean()


def test_tuning_begins_from_a_head_that_has_not_seen_its_judges(table):
    numbers = 1_000 + np.arange(len(table.labels))  # of a larger data set
    judges = numbers[table.folds[0] == 0]
    jury = Jury(numbers, table.folds, np.setdiff1d(numbers, judges), judges, by_validation=False)
    search = SimpleNamespace(jury=jury)
    weight, bias = _fit_without_judges(search, table, fit_logistic)
    others = table.features.clone()
    others[:, table.folds[0] == 0] = 100.0
    same, _ = _fit_without_judges(search, replace(table, features=others), fit_logistic)
    torch.testing.assert_close(weight, same)
    everything = fit_logistic(table)
    assert not torch.allclose(weight, everything.weight)
    assert weight.shape == everything.weight.shape
    assert bias.shape == everything.bias.shape


def test_the_mean_of_networks_leaves_counters_alone():
    one = {"weight": torch.tensor([1.0, 3.0]), "num_batches": torch.tensor(4)}
    other = {"weight": torch.tensor([3.0, 3.0]), "num_batches": torch.tensor(9)}
    mean = average_states([one, other])
    assert mean["weight"].tolist() == [2.0, 3.0]
    assert mean["num_batches"].item() == 4


def test_an_enlarged_copy_shows_the_middle():
    x = torch.zeros(1, 1, 20, 30)
    x[:, :, 2:18, 3:27] = 1.0
    assert _copy_of(x, "enlarged").min() > 0.999
    assert _copy_of(x, "enlarged").shape == x.shape
    assert _copy_of(torch.arange(3.0).reshape(1, 1, 1, 3), "mirrored").flatten().tolist() == [2, 1, 0]


def test_a_class_that_weighs_more_is_found_more_often():
    torch.manual_seed(0)
    labels = (torch.arange(220) >= 200).long()
    features = torch.randn(220, 5) + labels[:, None] * 1.0
    folds = draw_trial_folds(labels.numpy(), np.arange(220), 4, 0)[None]
    plain = fit_logistic(FeatureTable(features[None], labels, torch.ones(220), folds, 2))
    even = fit_logistic(FeatureTable(features[None], labels, torch.where(labels == 1, 10.0, 1.0), folds, 2))
    rare = features[labels == 1]
    found = [((rare @ head.weight.T + head.bias).argmax(1) == 1).float().mean() for head in (plain, even)]
    assert found[1] > found[0]
