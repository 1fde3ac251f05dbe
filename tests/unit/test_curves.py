"""ROC and precision-recall curves against scikit-learn; charts that are well-formed whatever they are told."""

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from catseye.evaluation.charts import Axis, Line, axis_of, bar_chart, line_chart
from catseye.evaluation.curves import average_precision, precision_recall_curve, roc_curve, thin
from catseye.evaluation.rejection import auroc


@given(st.integers(0, 10_000), st.integers(2, 80))
def test_curves_are_scikit_learns(seed, count):
    rng = np.random.default_rng(seed)
    scores, positive = rng.integers(0, 12, count) / 11, rng.random(count) < 0.4
    positive[:2] = [True, False]
    fpr, tpr, _ = oracle.roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc_curve(scores, positive), (fpr, tpr))
    assert np.trapezoid(*roc_curve(scores, positive)[::-1]) == pytest.approx(auroc(scores[positive], scores[~positive]))
    precision, recall, _ = oracle.precision_recall_curve(positive, scores)
    got_recall, got_precision = precision_recall_curve(scores, positive)
    np.testing.assert_allclose(got_precision[::-1], precision[:-1])
    np.testing.assert_allclose(got_recall[::-1], recall[:-1])
    assert average_precision(scores, positive) == pytest.approx(oracle.average_precision_score(positive, scores))


def test_a_thin_curve_keeps_its_ends_and_its_area():
    rng = np.random.default_rng(0)
    positive = rng.random(5000) < 0.1
    scores = positive + rng.normal(0, 0.6, 5000)
    whole = roc_curve(scores, positive)
    x, y = thin(whole, 60)
    assert len(x) <= 61
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(np.trapezoid(whole[1], whole[0]), abs=0.005)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), max_size=20))
def test_charts_are_well_formed_and_texts_stay_texts(name):
    lines = [Line(name, [0, 1], [0.2, 2.0], dots=True, key=name), Line(name, [0.5], [0.5])]
    chart = line_chart(name, lines, Axis(name), Axis("y", percent=True), mark_x=0.5)
    root = ElementTree.fromstring(f"<div>{chart}</div>")
    assert {node.tag for node in root.iter()} == {
        "div", "svg", "line", "text", "polyline", "title", "circle", "p", "span", "i",
    }  # fmt: skip
    assert root.find("svg").get("aria-label") == name


def test_places_by_hand():
    axis = axis_of("x", [2, 4])
    assert [axis.place(value, 0, 100) for value in (2, 3, 4, 9)] == [0, 50, 100, 100]
    assert axis_of("x", []).place(0.5, 0, 10) == 5
    assert axis_of("x", [3, 3]).place(3, 0, 10) == 0
    root = ElementTree.fromstring(bar_chart("bars", [0, 1], Axis("x"), Axis("y")))
    heights = [float(node.get("height")) for node in root.iter("rect")]
    assert heights == [0, 220]


@given(st.floats(-1000, 1000), st.floats(0.001, 10_000), st.booleans())
def test_ticks_are_few_and_inside(low, span, whole):
    axis = Axis("x", low, low + span, whole=whole)
    found = axis.ticks()
    assert len(found) <= 6
    assert all(low - 1e-6 * span <= value <= low + span + 1e-6 * span for value in found)
    assert not whole or all(value == round(value) for value in found)
    assert len(found) >= 2 or whole
