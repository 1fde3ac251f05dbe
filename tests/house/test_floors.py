"""Imports point down only."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "catseye"

# Room (file or folder) -> floor. A new room has to be entered here, on purpose.
FLOORS = {
    "errors": 0,
    "seeds": 0,
    "config": 0,
    "manifest": 0,
    "preprocess": 0,
    "onnx_structure": 0,
    "classifier": 1,
    "onnx_runtime": 1,
    "predictions": 1,
    "devices": 1,
    "data": 1,
    "models": 1,
    "runs": 2,
    "training": 3,
    "evaluation": 3,
    "explanation": 3,
    "exporting": 3,
    "inspection": 3,
    "cli": 4,
    "__main__": 4,
    "__init__": 4,
}
SIDEWAYS = {
    ("training", "evaluation"),
    ("exporting", "evaluation"),  # the parity gate scores answers with the same metrics
    ("evaluation", "explanation"),  # the report shows class activation maps
    ("predictions", "classifier"),
    ("onnx_runtime", "classifier"),
    ("__main__", "cli"),
}
TORCH_FREE = {
    "errors", "seeds", "config", "manifest", "preprocess", "classifier", "predictions",
    "onnx_structure", "onnx_runtime",
}  # fmt: skip


def room(path: Path) -> str:
    part = path.relative_to(SOURCE).parts[0]
    return part.removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever the import stands, TYPE_CHECKING blocks left out."""
    found: set[str] = set()
    for node in walk_at_run_time(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def walk_at_run_time(tree: ast.AST):
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from walk_at_run_time(node)


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path):
    here = room(path)
    assert here in FLOORS, f"{here} has no floor yet: enter it in FLOORS"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "catseye" or len(parts) == 1:
            continue
        there = parts[1]
        if there == here or there not in FLOORS:
            continue
        floor_0 = FLOORS[here] == FLOORS[there] == 0  # the ground floor is one room in several files
        down = FLOORS[there] < FLOORS[here]
        assert down or floor_0 or (here, there) in SIDEWAYS, f"{here} imports {there}: that does not point down"


@pytest.mark.parametrize("path", [path for path in FILES if room(path) in TORCH_FREE], ids=lambda path: path.stem)
def test_the_runtime_imports_no_torch(path):
    heavy = {name.split(".")[0] for name in imports(path)} & {
        "torch",
        "torchvision",
        "timm",
        "sklearn",
        "matplotlib",
        "onnx",
    }
    assert not heavy
