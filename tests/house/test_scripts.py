"""What benchmarks, examples and documents import from catseye exists: most of them run in no fast test."""

import ast
from pathlib import Path

import pytest

from tests.house.rules import ROOT, SOURCE, tree

SCRIPTS = [path for folder in ("benchmarks", "examples", "docs") for path in sorted((ROOT / folder).rglob("*.py"))]


def names_in(path: Path) -> set[str]:
    """Everything that a module defines, imports or assigns."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(each.asname or each.name).split(".")[0] for each in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def missing_imports(script: Path) -> list[str]:
    """The names that a script imports from modules of catseye and that are not there."""
    missing = []
    for node in ast.walk(tree(script)):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("catseye."):
            continue
        place = SOURCE.parent / node.module.replace(".", "/")
        module = place.with_suffix(".py") if place.with_suffix(".py").exists() else place / "__init__.py"
        known = names_in(module) if module.exists() else set()
        for each in node.names:
            if each.name not in known and not (place / f"{each.name}.py").exists() and not (place / each.name).is_dir():
                missing.append(f"line {node.lineno}: {node.module}.{each.name}")
    return missing


@pytest.mark.parametrize("folder", ["benchmarks", "examples", "docs"])
def test_what_scripts_import_exists(folder):
    found = {str(path): missing_imports(path) for path in SCRIPTS if path.relative_to(ROOT).parts[0] == folder}
    assert found
    assert not {path: names for path, names in found.items() if names}


def test_a_name_that_moved_is_found(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from catseye.exporting.drafts import INT8_FORMATS\nfrom catseye.errors import DataError\n")
    assert missing_imports(script) == ["line 1: catseye.exporting.drafts.INT8_FORMATS"]
