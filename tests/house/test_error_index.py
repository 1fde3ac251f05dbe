"""docs/errors.md has every error that is raised and every code that a server answers with, and no other."""

import ast
import re

from catseye import errors
from tests.house.rules import FILES, ROOT, text, tree

PAGE = (ROOT / "docs" / "errors.md").read_text()
PARTS = PAGE.split("\n## ")


def rows(part):
    return [line.split("|")[1:-1] for line in part.splitlines() if line.startswith("| `")]


def test_every_error_with_its_exit_code():
    raised = {
        name: one
        for name, one in vars(errors).items()
        if isinstance(one, type) and issubclass(one, errors.CatseyeError)
    }
    told = {row[0].strip(" `"): row for row in rows(PARTS[1])}
    assert set(told) == set(raised)
    for name, row in told.items():
        assert str(raised[name].exit_code) in row[1] or name == "Interrupted"
        assert all(len(cell.strip()) > 10 for cell in row[2:])


def codes():
    """(status, code) of every refusal in the source, whose both are written out."""
    found = set()
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("Refusal", "_refusal"):
                known = [one.value for one in node.args[:2] if isinstance(one, ast.Constant)]
                if len(known) == 2:
                    found.add((str(known[0]), known[1]))
    return found


def test_every_code_with_its_status():
    told = set()
    for row in rows(PARTS[2]):
        names, statuses = re.findall(r"`([a-z-]+)`", row[0]), re.findall(r"\d{3}", row[1])
        told |= set(zip(statuses if len(statuses) > 1 else statuses * len(names), names, strict=True))
    assert len(codes()) > 30
    assert codes() - told == set()
    source = "\n".join(map(text, FILES))
    assert not [code for _, code in told if f'"{code}"' not in source]
