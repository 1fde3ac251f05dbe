"""Calibration against SciPy and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import brier_score_loss

from catseye.evaluation.calibration import (
    PRIOR_SD,
    VECTOR_PENALTY,
    brier_score,
    expected_calibration_error,
    fit_temperature,
    fit_vector,
    judge,
    reliability_bins,
    score,
)


def overconfident(seed: int, temperature: float, count: int = 2000, num_classes: int = 4):
    """Labels drawn from softmax(honest); the logits that leave are `temperature` times too large."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 2, (count, num_classes))
    chances = softmax(honest, 1)
    labels = (rng.random((count, 1)) > chances.cumsum(1)).sum(1).clip(max=num_classes - 1)
    return (honest * temperature).astype(np.float32), labels.astype(np.int64)


@pytest.mark.parametrize("temperature", [0.5, 2.5])
def test_the_temperature_that_was_put_in_is_found(temperature):
    logits, labels = overconfident(0, temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.1)

    def cost(log_t):
        logs = log_softmax(logits.astype(np.float64) / np.exp(log_t), 1)
        return -logs[np.arange(len(labels)), labels].sum() + (log_t / PRIOR_SD) ** 2 / 2

    oracle = minimize_scalar(cost, bounds=(np.log(0.05), np.log(20)), method="bounded", options={"xatol": 1e-6})
    assert found == pytest.approx(np.exp(oracle.x), rel=1e-3)


def test_a_few_images_that_are_all_right_change_nothing():
    logits = 5 * np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    assert fit_temperature(logits, np.array([0, 1, 2, 0])) == 1.0


@pytest.mark.parametrize("count", [20, 42, 120, 2500])
def test_probabilities_that_are_right_are_hardly_ever_changed(count):
    """The models are exactly calibrated; a temperature that noise suggests would make their answers worse."""
    found = []
    for seed in range(20):
        rng = np.random.default_rng([count, seed])
        logits = rng.normal(0, 1, (count, 3))
        logits[np.arange(count), rng.integers(0, 3, count)] += rng.gamma(4, 2.0, count) + 1
        labels = (softmax(logits, 1).cumsum(1) > rng.random((count, 1))).argmax(1)
        found.append(fit_temperature(logits, labels))
    assert np.mean(np.array(found) == 1.0) >= 0.7
    assert all(abs(np.log(value)) < 0.5 for value in found)


@pytest.mark.parametrize("seed", range(5))
def test_a_few_images_do_not_choose_an_extreme_temperature(seed):
    """Thirty images of a model that is eight times too sure: T goes there part of the way, not beyond."""
    assert 2 < fit_temperature(*overconfident(seed, 8.0, count=30)) < 5.8
    assert 0.4 < fit_temperature(*overconfident(seed, 0.2, count=30)) < 0.7


@pytest.mark.parametrize("seed", range(4))
def test_overconfidence_is_mended_with_a_hundred_images(seed):
    logits, labels = overconfident(seed, 2.5, count=100)
    others = overconfident(100 + seed, 2.5)
    found = fit_temperature(logits, labels)
    assert 1.5 < found < 4
    assert score(*others, found).ece < score(*others, 1.0).ece / 2


def test_equal_logits_say_nothing_and_break_nothing():
    assert 0.05 <= fit_temperature(np.zeros((3, 2), np.float32), np.array([0, 1, 1])) <= 20


@given(st.integers(0, 10_000), st.floats(0.2, 5))
def test_scaling_changes_no_answer_and_does_not_raise_the_loss_it_was_fitted_to(seed, temperature):
    logits, labels = overconfident(seed, temperature, count=100)
    found = fit_temperature(logits, labels)
    np.testing.assert_array_equal((logits / found).argmax(1), logits.argmax(1))
    assert score(logits, labels, found).loss <= score(logits, labels, 1.0).loss + 1e-9


def test_vector_scaling_finds_scipys_minimum():
    logits, labels = overconfident(1, 2.0, count=500)
    logits[:, 1] += 1.5  # a bias that one temperature cannot take out
    factors, offsets = fit_vector(logits, labels)

    def loss(values):
        w, b = values[:4], values[4:]
        value = -log_softmax(logits.astype(np.float64) * w + b, 1)[np.arange(len(labels)), labels].mean()
        return value + VECTOR_PENALTY * (((w - 1) ** 2).mean() + (b**2).mean())

    oracle = minimize(loss, np.r_[np.ones(4), np.zeros(4)])
    assert loss(np.r_[factors, offsets]) == pytest.approx(oracle.fun, abs=1e-6)
    both = judge(logits, labels, fit_temperature(logits, labels), (factors, offsets))
    assert both.vector.loss < both.after.loss < both.before.loss


def test_what_was_fitted_on_some_images_helps_others():
    logits, labels = overconfident(2, 3.0, count=4000)
    found = judge(logits[2000:], labels[2000:], fit_temperature(logits[:2000], labels[:2000]))
    assert found.after.ece < 0.03 < 0.15 < found.before.ece
    assert found.after.brier < found.before.brier
    assert found.after.loss < found.before.loss


def test_two_classes_have_scikit_learns_brier_score():
    logits, labels = overconfident(3, 2.0, count=200, num_classes=2)
    p = softmax(logits.astype(np.float64), 1)
    assert brier_score(p, labels) == pytest.approx(2 * brier_score_loss(labels, p[:, 1]))
    assert score(logits, labels).brier == pytest.approx(brier_score(p, labels))


@given(st.integers(1, 200), st.integers(1, 20), st.integers(0, 1000))
def test_bins_hold_equally_many_and_the_error_is_a_share(count, num_bins, seed):
    rng = np.random.default_rng(seed)
    confidence, right = rng.random(count), rng.random(count) < 0.5
    bins = reliability_bins(confidence, right, num_bins)
    sizes = [one.num_images for one in bins]
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1
    assert sum(one.accuracy * one.num_images for one in bins) == pytest.approx(right.sum())
    error = expected_calibration_error(confidence, right, num_bins)
    assert abs(confidence.mean() - right.mean()) - 1e-12 <= error <= 1


def test_the_calibration_error_by_hand():
    confidence = np.array([0.6, 0.6, 0.9, 0.9])
    right = np.array([True, False, True, True])
    assert expected_calibration_error(confidence, right, 2) == pytest.approx((0.1 + 0.1) / 2)
