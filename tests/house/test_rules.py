"""A rule that is applied to many things in one test tells the faults of all of them."""

import pytest

from tests.house.rules import hold


def test_every_fault_is_told_with_the_thing_that_has_it():
    def is_small(number):
        assert number < 3, "too large"

    hold(is_small, [0, 1, 2])
    with pytest.raises(AssertionError, match=r"(?s)^2 of 4:\n3: .*too large.*\n5: .*too large") as told:
        hold(is_small, [1, 3, 2, 5])
    assert "\n1: " not in str(told.value)


def test_an_error_of_another_kind_is_a_fault_too():
    with pytest.raises(AssertionError, match=r"1 of 2:\n0: ZeroDivisionError"):
        hold(lambda number: 1 / number, [1, 0])


def test_a_rule_that_is_applied_to_nothing_is_a_fault():
    with pytest.raises(AssertionError, match="applied to nothing"):
        hold(print, [])
