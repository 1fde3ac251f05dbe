"""Confident learning: labels are flipped on purpose, and the suspects are counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from catseye.evaluation.label_errors import class_thresholds, find_doubted, find_label_errors


def test_by_hand():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.05, 0.95]])
    labels = np.array([0, 0, 0, 1, 1])
    np.testing.assert_allclose(class_thresholds(p, labels), [0.6, 0.825])
    (suspect,) = find_label_errors(p, labels)  # the third: labelled 0, sure to be 1; the fourth reaches nothing
    assert (suspect.row, suspect.label, suspect.likely) == (2, 0, 1)
    assert suspect.margin == pytest.approx(-0.8)


def test_flipped_digits_are_found():
    """5 % of scikit-learn's digits get a wrong label; probabilities come from a linear model on other folds."""
    x, truth = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    flipped = rng.choice(len(truth), 90, replace=False)
    labels = truth.copy()
    labels[flipped] = (truth[flipped] + rng.integers(1, 10, 90)) % 10
    model = LogisticRegression(max_iter=500)
    p = cross_val_predict(model, x / 16, labels, cv=3, method="predict_proba")
    rows = [suspect.row for suspect in find_label_errors(p, labels)]
    hits = len(set(rows) & set(flipped))
    precision, recall = hits / len(rows), hits / len(flipped)
    print(f"label errors: precision {precision:.3f}, recall {recall:.3f}, {len(rows)} suspects")  # shown by pytest -rP
    assert precision > 0.8
    assert recall > 0.7  # a suspect must reach the mean confidence of the class it is suspected to be: clear cases only
    best = set(rows[:50]) & set(flipped)
    assert len(best) >= 45  # the order is worth something too


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 60))
def test_invariants(seed, num_classes, count):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(num_classes), count)
    labels = rng.integers(0, num_classes, count)
    found = find_label_errors(p, labels)
    assert all(one.label == labels[one.row] != one.likely for one in found)
    assert [one.margin for one in found] == sorted(one.margin for one in found)
    assert len({one.row for one in found}) == len(found)
    present = np.unique(labels)
    assert {one.likely for one in found} <= set(present.tolist())


def test_a_sure_and_right_network_suspects_nobody():
    assert find_label_errors(np.eye(3)[[0, 1, 2, 1]], np.array([0, 1, 2, 1])) == []


def test_labels_beaten_by_half_are_doubted_where_the_thresholds_are_high():
    """Nine sure images raise the threshold of class 1 to 0.9; one with 0.8 for it and the label 0 stays below."""
    probabilities = np.array([[0.95, 0.05]] * 9 + [[0.08, 0.92]] * 9 + [[0.2, 0.8], [0.4, 0.6]])
    labels = np.repeat([0, 1, 0], [9, 9, 2])
    assert find_label_errors(probabilities, labels) == []
    (found,) = find_doubted(probabilities, labels)
    assert (found.row, found.label, found.likely) == (18, 0, 1)
    assert found.margin == pytest.approx(-0.6)
