"""Which tests `make test` leaves out: those over a second. `make test-ci` runs them too.

`tests/long.txt` names them, one function a line. To write it again, on a machine that does nothing else:

    make test-ci PARALLEL="-n 2 --dist loadfile --junitxml=junit.xml"; python -m tests.long junit.xml
"""

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

LIST = Path(__file__).with_suffix(".txt")
LIMIT_S = 1.0


def mark_long(items: list[pytest.Item]) -> None:
    """Give the marker `long` to every test that the list names."""
    named = frozenset(LIST.read_text().split())
    for item in items:
        if item.nodeid.partition("[")[0] in named:
            item.add_marker("long")


def long_functions(report: Path) -> list[str]:
    """The functions of a JUnit report of which one call, with what is set up for it, takes over a second."""
    found = set()
    for case in ElementTree.parse(report).iter("testcase"):
        if float(case.get("time", 0)) >= LIMIT_S:
            path = case.get("classname", "").replace(".", "/")
            found.add(f"{path}.py::{case.get('name', '').partition('[')[0]}")
    return sorted(found)


if __name__ == "__main__":
    LIST.write_text("\n".join(long_functions(Path(sys.argv[1]))) + "\n")
