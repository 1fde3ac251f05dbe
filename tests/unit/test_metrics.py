import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn import metrics as oracle

from catseye.evaluation.metrics import (
    compute_metrics,
    confusion_matrix,
    cross_entropy,
    macro_f1,
    top_k_accuracy,
    wilson_interval,
)


@st.composite
def outputs(draw):
    """Logits (N, K) and labels (N,); often with classes that never occur or are never predicted."""
    num_classes, count = draw(st.integers(3, 8)), draw(st.integers(1, 30))
    seed = draw(st.integers(0, 2**31))
    used = draw(st.integers(1, num_classes))
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (count, num_classes)).astype(np.float32)
    labels = rng.choice(num_classes, used, replace=False)[rng.integers(0, used, count)]
    return logits, labels.astype(np.int64)


def names(logits: np.ndarray) -> list[str]:
    return [f"class{index}" for index in range(logits.shape[1])]


@given(outputs())
def test_everything_against_scikit_learn(data):
    logits, labels = data
    everything, predicted = np.arange(logits.shape[1]), logits.argmax(1)
    got = compute_metrics(logits, labels, names(logits))
    assert got.num_images == len(labels)
    assert got.accuracy == pytest.approx(oracle.accuracy_score(labels, predicted))
    np.testing.assert_array_equal(got.confusion, oracle.confusion_matrix(labels, predicted, labels=everything))
    assert got.loss == pytest.approx(oracle.log_loss(labels, softmax(logits.astype(np.float64), 1), labels=everything))
    rows = oracle.precision_recall_fscore_support(labels, predicted, labels=everything, zero_division=0)
    for values, *wanted in zip(got.per_class.values(), *rows, strict=True):
        assert [values.precision, values.recall, values.f1, values.support] == pytest.approx(wanted)
    present = np.unique(labels)
    for average, values in (("macro", got.macro), ("weighted", got.weighted)):
        wanted = oracle.precision_recall_fscore_support(
            labels, predicted, labels=present, average=average, zero_division=0
        )
        assert [values.precision, values.recall, values.f1] == pytest.approx(wanted[:3])
        assert values.support == len(labels)
    assert macro_f1(got.confusion) == pytest.approx(got.macro.f1)
    for k, value in got.top_k.items():
        assert value == pytest.approx(oracle.top_k_accuracy_score(labels, logits, k=k, labels=everything))
    assert list(got.top_k) == [k for k in (1, 2, 3, 5) if k < len(everything)]


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (1, 1), (0, 50), (50, 50), (95, 100), (1, 1000), (9_200, 10_000)])
def test_wilson_is_scipys(hits, total):
    wanted = binomtest(hits, total).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson_interval(hits, total) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_a_constant_guess_on_95_to_5_is_95_percent_accurate_and_worth_little():
    labels = np.repeat([0, 1], [95, 5])
    logits = np.tile(np.array([1.0, 0.0], np.float32), (100, 1))
    got = compute_metrics(logits, labels, ["common", "rare"])
    assert got.accuracy == got.constant_guess == 0.95
    assert got.accuracy_low < 0.95 < got.accuracy_high
    assert got.macro.recall == 0.5
    assert got.macro.f1 == pytest.approx(0.95 / 1.95)
    assert (got.per_class["rare"].recall, got.per_class["rare"].f1, got.per_class["rare"].support) == (0, 0, 5)


def test_two_classes_have_no_top_2():
    got = compute_metrics(np.eye(2, dtype=np.float32), np.array([0, 1]), ["a", "b"])
    assert got.top_k == {1: 1.0}


def test_one_class_alone():
    got = compute_metrics(np.ones((3, 1), np.float32), np.zeros(3, np.int64), ["a"])
    assert (got.accuracy, got.loss, got.top_k) == (1.0, 0.0, {1: 1.0})


def test_a_tie_goes_to_the_lower_index_in_top_k_as_in_the_prediction():
    logits = np.zeros((2, 4), np.float32)
    assert top_k_accuracy(logits, np.array([0, 1]), 1) == 0.5
    assert top_k_accuracy(logits, np.array([1, 2]), 2) == 0.5


def test_huge_logits_do_not_overflow():
    logits = np.array([[1e30, -1e30], [1e6, 1e6]], np.float32)
    assert cross_entropy(logits[1:], np.array([0])) == pytest.approx(np.log(2))
    assert cross_entropy(logits[:1], np.array([0])) == 0


@given(outputs())
def test_json_has_no_nan_and_keeps_the_numbers(data):
    logits, labels = data
    got = compute_metrics(logits, labels, names(logits))
    content = json.loads(json.dumps(got.to_json(), allow_nan=False))
    assert content["accuracy"] == got.accuracy
    assert content["accuracy_95_interval"] == [got.accuracy_low, got.accuracy_high]
    assert content["constant_guess_accuracy"] == max(np.bincount(labels)) / len(labels)
    assert content["top_k_accuracy"]["1"] == got.accuracy
    assert sum(map(sum, content["confusion"])) == len(labels)
    assert list(content["per_class"]) == names(logits)
    assert content["per_class"]["class0"]["support"] == int((labels == 0).sum())


def test_the_confusion_matrix_has_the_truth_in_its_rows():
    matrix = confusion_matrix(np.array([0, 0, 2]), np.array([1, 1, 0]), 3)
    assert matrix.tolist() == [[0, 2, 0], [0, 0, 0], [1, 0, 0]]
