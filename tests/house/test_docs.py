"""What the documents say is so: the tree names every file, every make target exists, every doctest runs."""

import doctest
import importlib
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "catseye"
MODULES = sorted(
    ".".join(("catseye", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if path.stem != "__main__"
)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_a_modules_first_lines_say_what_it_is_for(name):
    assert len(importlib.import_module(name).__doc__ or "") > 20


def test_the_readme_tree_has_a_line_per_file():
    readme = (ROOT / "README.md").read_text()
    files = [p for p in SOURCE.rglob("*") if p.suffix in {".py", ".toml"} and p.name != "__init__.py"]
    missing = [str(p.relative_to(SOURCE)) for p in files if not re.search(rf"\b{re.escape(p.name)}\s+\S", readme)]
    assert not missing


def test_make_targets_in_the_documents_exist():
    text = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    targets = sorted(set(re.findall(r"(?:`|^|\$ )make ([a-z-]+)", text, re.MULTILINE)))
    assert {"demo", "test", "check"} <= set(targets)
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_recipes_state_their_command():
    for path in (SOURCE / "training" / "recipes").glob("*.toml"):
        assert "# Command:" in path.read_text(), path.name


def test_no_room_without_a_name():
    assert not [p for p in SOURCE.rglob("*.py") if p.stem in {"utils", "common", "helpers", "misc"}]


def test_results_say_how_they_were_made():
    import json

    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        result = json.loads(path.read_text())
        missing = {"command", "environment", "commit", "n", "seeds"} - result.keys()
        assert not missing, f"{path.name} lacks {missing}"
