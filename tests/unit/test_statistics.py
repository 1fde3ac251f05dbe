"""Statistics against SciPy and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from catseye.evaluation.metrics import confusion_matrix, macro_f1
from catseye.evaluation.statistics import bootstrap_macro_f1, holm, mcnemar, mean_and_spread


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_scipys_binomial_test(first, second):
    wanted = binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(wanted, rel=1e-9)
    assert mcnemar(first, second) == mcnemar(second, first)


def test_ten_thousand_discordant_images_do_not_underflow():
    assert mcnemar(6000, 6000) == pytest.approx(1.0)
    assert 0 <= mcnemar(0, 12_000) < 1e-300


def test_the_bootstrap_is_that_of_resampled_images():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 150)
    predicted = np.where(rng.random(150) < 0.8, labels, rng.integers(0, 3, 150))
    confusion = confusion_matrix(labels, predicted, 3)
    low, high = bootstrap_macro_f1(confusion)
    draws = rng.integers(0, 150, (300, 150))
    values = [f1_score(labels[draw], predicted[draw], average="macro") for draw in draws]
    np.testing.assert_allclose([low, high], np.quantile(values, [0.025, 0.975]), atol=0.02)
    assert low < macro_f1(confusion) < high
    assert bootstrap_macro_f1(confusion) == (low, high)  # the same seed, the same interval


def test_nothing_to_resample_is_no_interval():
    assert bootstrap_macro_f1(np.diag([5, 5, 0])) == (1.0, 1.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_raises_and_keeps_the_order(values):
    raised = holm(values)
    assert all(p <= q <= min(1.0, len(values) * p) + 1e-12 for p, q in zip(values, raised, strict=True))
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.array(raised)[order]) >= 0).all()


def test_one_seed_has_no_spread():
    assert mean_and_spread([0.9]) == (0.9, None)
    assert mean_and_spread([0.8, 0.9]) == pytest.approx((0.85, np.std([0.8, 0.9], ddof=1)))
