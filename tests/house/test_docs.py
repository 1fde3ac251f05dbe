"""What the documents say is so: the tree names every file, every make target exists, every doctest runs."""

import ast
import doctest
import importlib
import re
import subprocess

from tests.house.rules import FILES, ROOT, SOURCE, hold, tree
from tests.house.test_floors import FLOORS

PYTHON_FILES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("src", "tests", "docs", "benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.py")
]
MODULES = sorted(
    ".".join(("catseye", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    for path in FILES
    if path.stem != "__main__"
)


def test_docstring_examples():
    def every_example_gives_what_it_says(name):
        assert doctest.testmod(importlib.import_module(name)).failed == 0

    hold(every_example_gives_what_it_says, MODULES)


def test_a_modules_first_lines_say_what_it_is_for():
    def has_first_lines(name):
        assert len(importlib.import_module(name).__doc__ or "") > 20

    hold(has_first_lines, MODULES)


def test_the_readme_tree_has_a_line_per_room():
    readme = (ROOT / "README.md").read_text()
    rooms = [
        p.name + "/" if p.is_dir() else p.name for p in SOURCE.iterdir() if p.name not in {"__pycache__", "py.typed"}
    ]
    assert not [room for room in rooms if not re.search(rf"── {re.escape(room)}\s+\S", readme)]


ROOMS = sorted({p.parent for p in SOURCE.rglob("__init__.py")} - {SOURCE})


def test_a_room_lists_its_files():
    """The docstring of `__init__.py` has a line for each file beside it; a chapter has the same few names."""

    def lists_what_is_there(room):
        text = (room / "__init__.py").read_text()
        files = [p.name for p in room.glob("*.py") if p.name != "__init__.py"]
        assert not [name for name in files if not re.search(rf"\b{re.escape(name)}\s+\S", text)]
        listed = re.findall(r"^    (?:chapters/)?(\w+\.py)\b", text, re.MULTILINE)
        assert not [name for name in listed if not list(room.rglob(name))]

    hold(lists_what_is_there, [room for room in ROOMS if "chapters" not in room.parts])


def test_the_floors_are_those_of_the_test():
    """CONTRIBUTING draws the floors; `test_floors.py` enforces them."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    drawn = re.search(r"from right to left here: (.*?)\. A test enforces it", text, re.DOTALL)
    assert drawn is not None
    floors = [set(floor.strip(" `\n").split()) for floor in drawn[1].split("→")]
    assert floors == list(FLOORS)


WRITTEN_BY_DEPLOY = {"handler.py"}  # in the folder that `catseye deploy lambda` makes


def test_a_file_that_a_modules_first_lines_name_exists():
    """Who calls a module is said by the name of a file; when that one moves, the line has to follow."""

    def names_files_that_exist(path):
        first_lines = ast.get_docstring(tree(path)) or ""
        named = re.findall(r"(?<![\w/.-])[\w/]+\.py\b", first_lines.partition("Source:")[0])
        missing = [name for name in named if not any(f"/{one}".endswith(f"/{name}") for one in PYTHON_FILES)]
        assert set(missing) <= WRITTEN_BY_DEPLOY

    hold(names_files_that_exist, FILES)


def test_make_targets_in_the_documents_exist():
    text = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    targets = sorted(set(re.findall(r"(?:`|^|\$ )make ([a-z-]+)", text, re.MULTILINE)))
    assert {"demo", "test", "check"} <= set(targets)
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_recipes_state_their_command():
    for path in (SOURCE / "settings" / "recipes").glob("*.toml"):
        assert "# Command:" in path.read_text(), path.name


def test_no_room_without_a_name():
    assert not [p for p in SOURCE.rglob("*.py") if p.stem in {"utils", "common", "helpers", "misc"}]


def test_results_say_how_they_were_made():
    import json

    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        result = json.loads(path.read_text())
        missing = {"command", "environment", "commit", "n", "seeds"} - result.keys()
        assert not missing, f"{path.name} lacks {missing}"
