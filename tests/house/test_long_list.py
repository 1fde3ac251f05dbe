"""The list of long tests names tests that there are."""

from pathlib import Path

from tests.long import LIST, long_functions

ROOT = Path(__file__).parents[2]


def test_every_long_test_is_there():
    named = LIST.read_text().split()
    assert named == sorted(set(named))
    gone = [name for name in named if f"def {name.partition('::')[2]}(" not in _source(name)]
    assert not gone, "tests/long.py tells how to write the list again"


def _source(name: str) -> str:
    path = ROOT / name.partition("::")[0]
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def test_a_function_is_long_when_one_of_its_calls_is(tmp_path):
    cases = [("a[1]", 0.4), ("a[2]", 1.4), ("b", 0.9)]
    rows = "".join(f'<testcase classname="tests.unit.test_x" name="{name}" time="{time}"/>' for name, time in cases)
    (tmp_path / "junit.xml").write_text(f"<testsuites><testsuite>{rows}</testsuite></testsuites>")
    assert long_functions(tmp_path / "junit.xml") == ["tests/unit/test_x.py::a"]
