"""The files of src/catseye, parsed once, and how a rule is applied to many things in one test."""

import ast
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "catseye"
FILES = sorted(SOURCE.rglob("*.py"))


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def tree(path: Path) -> ast.Module:
    """Shared between rules, which read it and leave it as it is."""
    return ast.parse(text(path))


def hold(rule: Callable[[Any], object], things: Iterable[Any]) -> None:
    """Apply a rule, which asserts, to each thing; the faults of all of them are told together."""
    faults, number = [], 0
    for number, thing in enumerate(things, 1):  # noqa: B007 - counted
        try:
            rule(thing)
        except Exception as error:  # noqa: BLE001 - whatever the rule raises is a fault of this one thing
            faults.append(f"{_name(thing)}: {type(error).__name__}: {error}")
    assert number, "the rule was applied to nothing"
    assert not faults, f"{len(faults)} of {number}:\n" + "\n".join(faults)


def _name(thing: object) -> str:
    return str(thing.relative_to(ROOT)) if isinstance(thing, Path) else str(thing)
