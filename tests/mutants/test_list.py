"""The list matches the source; only a mutation that is caught counts as caught.

Every pattern occurs once, the changed file is a valid program, and every named test exists.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.mutants import trial
from tests.mutants.__main__ import main
from tests.mutants.mutation import PACKAGE, ROOT, BadMutation, Mutation, read_mutations
from tests.mutants.trial import Outcome, try_mutation

EVERY = read_mutations()
HARMLESS = Mutation(
    "harmless",
    "errors.py",
    "    while error is not None:",
    "    while not error is None:",
    ("unit/test_errors.py::test_ctrl_c_is_found_below_what_wraps_it",),
)


@cache
def functions_of(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_there_is_one_for_every_defence():
    assert len(EVERY) >= 200
    assert len({(mutation.file, mutation.old, mutation.new) for mutation in EVERY}) == len(EVERY), "two do the same"


@pytest.mark.parametrize("file", sorted({mutation.file for mutation in EVERY}))
def test_every_pattern_stands_once_and_makes_a_program(file):
    for mutation in EVERY:
        if mutation.file == file:
            changed = mutation.mutated()
            if file.endswith(".py"):
                ast.parse(changed, mutation.id)


def test_every_named_test_is_there():
    for mutation in EVERY:
        for test in mutation.tests:
            file, _, name = test.partition("::")
            assert name.partition("[")[0] in functions_of(ROOT / "tests" / file), f"{mutation.id}: {test}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"old": "no such line"}, "occurs 0 times"),
        ({"old": "class "}, r"occurs \d\d+ times"),
        ({"old": HARMLESS.new, "new": HARMLESS.new}, "must occur once"),
        ({"old": "while error is not None:\n        if"}, "must occur once"),
        ({"file": "gone.py"}, "gone.py does not exist"),
    ],
)
def test_an_entry_that_does_not_fit_is_told(change, message):
    entry = {"file": HARMLESS.file, "old": HARMLESS.old, "new": HARMLESS.new, **change}
    with pytest.raises(BadMutation, match=f"^harmless: .*{message}"):
        Mutation("harmless", **entry, tests=HARMLESS.tests).mutated()


def test_a_word_that_names_no_mutation_is_told(capsys):
    assert main(["no-such-mutation"]) == 2
    assert "no mutation is called no-such-mutation" in capsys.readouterr().out


TEST = HARMLESS.tests[0]
FAILED = f"E   assert 1 == 2\nFAILED tests/{TEST} - assert 1 == 2\n1 failed in 0.1s\n"


def make_outcome(code: int, text: str, failed: str = "", errors: str = "") -> Outcome:
    return Outcome(code, frozenset(filter(None, [failed])), frozenset(filter(None, [errors])), text)


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (make_outcome(1, FAILED, TEST), None),
        (make_outcome(1, FAILED, f"{TEST}[a case]"), None),
        (make_outcome(0, "1 passed"), "survived unit/test_errors.py"),
        (make_outcome(1, "another one failed", f"{TEST}_too"), "survived"),
        (make_outcome(1, "an error before the test began", errors=TEST), "survived"),
        (make_outcome(2, "collection failed"), "exit code 2"),
        (make_outcome(4, "no such test"), "exit code 4"),
        (make_outcome(5, "no tests ran"), "exit code 5"),
        (make_outcome(-1, ""), "did not end"),
        (make_outcome(1, "E   NameError: name 'x' is not defined\n" + FAILED, TEST), "breaks the program"),
        (make_outcome(1, "E   AssertionError: it did not start (1): …\n" + FAILED, TEST), "did not start"),
        (make_outcome(1, "E   Failed: Timeout (>150.0s) from pytest-timeout.\n" + FAILED, TEST), "hung"),
        (make_outcome(1, "E   Failed: Timeout (>60.0s) from pytest-timeout.\n" + FAILED, TEST), None),
    ],
    ids=lambda value: "" if isinstance(value, Outcome) else str(value)[:30],
)
def test_only_a_test_that_failed_by_itself_has_caught_it(outcome, why):
    reason = trial._why_not(HARMLESS, outcome)
    assert reason == "" if why is None else why in reason


def test_pytests_summary_is_read():
    text = (
        f"FAILED tests/{TEST}[a case - b] - AssertionError: no\nERROR tests/unit/test_x.py::test_y\nFAILED elsewhere\n"
    )
    assert trial._named(text, "FAILED") == {f"{TEST}[a case - b]"}
    assert trial._named(text, "ERROR") == {"unit/test_x.py::test_y"}


@pytest.mark.slow
def test_a_change_without_effect_survives_and_touches_nothing():
    before = (PACKAGE / HARMLESS.file).read_text(encoding="utf-8")
    verdict = try_mutation(HARMLESS)
    assert not verdict.caught
    assert verdict.why == f"survived {TEST}"
    assert re.search(r"^1 passed", verdict.text, re.M)
    assert (PACKAGE / HARMLESS.file).read_text(encoding="utf-8") == before


@pytest.mark.slow
@pytest.mark.timeout(6000)
def test_every_mutation_is_caught(capsys):
    code = main([])
    output = capsys.readouterr().out
    assert code == 0, output
    with capsys.disabled():
        print(output.splitlines()[-1])
