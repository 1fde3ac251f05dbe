"""Every seed and every input that once fell goes through its target. Needs no atheris."""

import pytest

from tests.fuzz.one_target import checked
from tests.fuzz.targets import TARGETS, committed


@pytest.mark.parametrize("name", TARGETS)
def test_committed_inputs_lead_to_answers_or_refusals(name):
    run = TARGETS[name].make()
    paths = committed(name)
    assert paths
    for path in paths:
        try:
            checked(run, path.read_bytes())
        except BaseException as error:
            error.add_note(f"the input is {path}")
            raise
