"""Risk, coverage, thresholds and the scores that tell strangers; scikit-learn and SciPy are the oracles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from catseye.errors import CatseyeError, UsageError
from catseye.evaluation.rejection import auroc, choose_threshold, energy, parse_share, risk_coverage


def answers(seed: int, count: int):
    """Confidences in steps of 1/20, so that many are equal, and answers that are right that often."""
    rng = np.random.default_rng(seed)
    confidence = rng.integers(5, 21, count) / 20
    return confidence, rng.random(count) < confidence


def upper_end(right):
    """SciPy's own Wilson interval of the share of errors."""
    return binomtest(int((~right).sum()), len(right)).proportion_ci(0.95, "wilson").high


def test_risk_and_coverage_by_hand():
    coverage, risk = risk_coverage(np.array([0.5, 0.9, 0.7]), np.array([False, True, True]))
    np.testing.assert_allclose(coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(risk, [0, 0, 1 / 3])


@given(st.integers(0, 10_000), st.integers(1, 300), st.floats(0.01, 0.6))
def test_the_threshold_keeps_its_promise_and_no_lower_one_would(seed, count, max_risk):
    confidence, right = answers(seed, count)
    reachable = {float(level): float((~right[confidence >= level]).mean()) for level in np.unique(confidence)}
    good = [level for level, risk in reachable.items() if risk <= max_risk]
    sure = [level for level in good if upper_end(right[confidence >= level]) <= max_risk]
    if not good:
        with pytest.raises(CatseyeError, match="out of reach"):
            choose_threshold(confidence, right, max_risk)
        return
    found = choose_threshold(confidence, right, max_risk)
    limit = -1 if found.threshold is None else found.threshold
    answered = confidence >= limit
    assert found.risk == pytest.approx((~right[answered]).mean())
    assert found.risk <= max_risk
    assert found.coverage == pytest.approx(answered.mean())
    assert found.risk <= found.risk_high <= 1
    assert found.risk_high == pytest.approx(upper_end(right[answered]))
    assert found.is_assured == bool(sure)
    assert answered.sum() == (confidence >= min(sure or good)).sum()
    assert found.threshold is None or np.abs(confidence - found.threshold).min() > 0.01  # on no image's edge


def test_a_model_that_is_good_enough_refuses_nothing():
    found = choose_threshold(np.array([0.9, 0.4]), np.array([True, True]), 0.02)
    assert (found.threshold, found.coverage, found.risk) == (None, 1.0, 0.0)


def test_few_images_without_an_error_assure_little_and_that_is_said():
    confidence = np.linspace(0.5, 1, 60)
    found = choose_threshold(confidence, np.ones(60, bool), 0.02)
    assert (found.threshold, found.is_assured) == (None, False)
    line = found.to_line()
    assert line.startswith("no error was seen among all 60 validation images (95% interval up to 6.02%)")
    assert "cannot assure 2.00%: that needs 189 answers without an error" in line
    for count, assured in ((188, False), (189, True)):
        assert choose_threshold(np.linspace(0.5, 1, count), np.ones(count, bool), 0.02).is_assured == assured


def test_many_images_are_answered_only_as_far_as_the_interval_allows():
    """Ten errors among the 1,000 least sure of 2,000 images: 0.5 % were seen, but 0.8 % of all may be errors."""
    confidence, right = np.linspace(1, 0.5, 2000), np.ones(2000, bool)
    right[1000::100] = False
    found = choose_threshold(confidence, right, 0.005)
    assert found.is_assured
    assert found.risk < found.risk_high <= 0.005
    assert found.coverage < 0.8
    assert "“unknown” below a probability of" in found.to_line()
    assert "assure" not in found.to_line()


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 60))
def test_auroc_is_scikit_learns(seed, num_positive, num_negative):
    rng = np.random.default_rng(seed)
    positive, negative = rng.integers(0, 9, num_positive) + 1.0, rng.integers(0, 9, num_negative) * 1.0
    labels = np.r_[np.ones(num_positive), np.zeros(num_negative)]
    assert auroc(positive, negative) == pytest.approx(roc_auc_score(labels, np.r_[positive, negative]))


def test_energy_is_scipys_logsumexp():
    logits = np.random.default_rng(0).normal(0, 50, (20, 5)).astype(np.float32)
    np.testing.assert_allclose(energy(logits, 2.0), 2 * logsumexp(logits.astype(np.float64) / 2, axis=1))


@pytest.mark.parametrize("text", ["two", "2", "-1%", "100%", "nan", ""])
def test_a_share_that_is_none(text):
    with pytest.raises(UsageError, match="--max-risk is a share"):
        parse_share(text, "--max-risk")
