"""Whether a score is above the constant guess, against hand-counted confusion matrices and SciPy's binomial test."""

import numpy as np
import pytest
from scipy.stats import binomtest

from catseye.evaluation.guessing import SURE, beats_guessing, guessing_sentence, too_few_to_decide
from catseye.evaluation.metrics import compute_metrics


def metrics(confusion):
    """The metrics of logits that give this confusion matrix."""
    confusion = np.array(confusion)
    truth, answer = np.nonzero(confusion)
    counts = confusion[truth, answer]
    logits = np.eye(len(confusion), dtype=np.float32)[np.repeat(answer, counts)]
    return compute_metrics(logits, np.repeat(truth, counts).astype(np.int64), [f"c{k}" for k in range(len(confusion))])


def test_always_one_answer_is_not_above_itself():
    found = metrics([[30, 0, 0], [30, 0, 0], [30, 0, 0]])
    assert not beats_guessing(found)
    assert guessing_sentence(found) == "not above always answering 'c0', which is right for 33.33%"


def test_a_good_score_is():
    found = metrics([[28, 1, 1], [2, 27, 1], [0, 0, 30]])
    assert beats_guessing(found)
    assert guessing_sentence(found) == ""


def test_a_good_score_on_few_images_is_not_proved():
    assert not beats_guessing(metrics([[2, 0], [0, 1]]))


def test_an_uneven_set_is_judged_image_by_image():
    right = metrics([[500, 0], [0, 10]])
    assert right.accuracy_low < right.constant_guess + 0.02
    assert beats_guessing(right)
    few = metrics([[100, 0], [0, 2]])
    assert not beats_guessing(few)
    assert guessing_sentence(few).endswith("2 held-out images of all other classes are too few to decide")
    assert too_few_to_decide(few)
    assert not too_few_to_decide(right)
    assert not too_few_to_decide(metrics([[30, 0, 0], [30, 0, 0], [30, 0, 0]])), "more images would not help"
    assert "1 held-out image of" in guessing_sentence(metrics([[100, 0], [0, 1]]))


@pytest.mark.parametrize("seed", range(20))
def test_it_agrees_with_the_two_tests_it_joins(seed):
    rng = np.random.default_rng(seed)
    confusion = rng.integers(0, 12, (2, 2)) + np.diag(rng.integers(0, 12, 2))
    found = metrics(confusion)
    commonest = confusion.sum(1).argmax()
    gained = int(np.trace(confusion) - confusion[commonest, commonest])
    lost = int(confusion[commonest].sum() - confusion[commonest, commonest])
    surely = bool(gained + lost) and binomtest(gained, gained + lost).pvalue < SURE and gained > lost
    assert beats_guessing(found) == (found.accuracy_low > found.constant_guess or surely)
