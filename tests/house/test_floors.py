"""Imports point down only."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "catseye"

# Room (file or folder) -> floor. A new room has to be entered here, on purpose.
FLOORS = {
    "errors": 0,
    "files": 0,
    "seeds": 0,
    "cores": 0,
    "config": 0,
    "settings_file": 0,
    "manifest": 0,
    "preprocess": 0,
    "onnx_structure": 0,
    "torch_archive": 0,
    "tensorrt_engine_file": 0,
    "classifier": 1,
    "model_file": 1,
    "onnx_runtime": 1,
    "openvino_runtime": 1,
    "predictions": 1,
    "devices": 1,
    "data": 1,
    "models": 1,
    "torch_runtime": 2,
    "tensorrt_runtime": 2,
    "runs": 2,
    "loading": 2,
    "training": 3,
    "evaluation": 3,
    "explanation": 3,
    "exporting": 3,
    "inspection": 3,
    "batch": 3,
    "deploying": 4,
    "serving": 3,
    "lab": 4,  # it shows what explanation, training and serving compute, and calls them by name
    "cli": 4,
    "__main__": 4,
    "__init__": 4,
}
SIDEWAYS = {
    ("training", "evaluation"),
    ("exporting", "evaluation"),  # the parity gate scores answers with the same metrics
    ("evaluation", "explanation"),  # the report shows class activation maps
    ("predictions", "classifier"),
    ("model_file", "classifier"),
    ("onnx_runtime", "model_file"),
    ("openvino_runtime", "model_file"),
    ("loading", "runs"),  # these three are imported when a path asks for them
    ("loading", "torch_runtime"),
    ("loading", "tensorrt_runtime"),
    ("cli", "deploying"),
    ("cli", "lab"),
    ("__main__", "cli"),
}
TORCH_FREE = {
    "errors", "files", "seeds", "config", "settings_file", "manifest", "preprocess", "classifier", "predictions",
    "onnx_structure", "onnx_runtime", "openvino_runtime", "model_file", "loading", "torch_archive",
    "tensorrt_engine_file", "serving", "batch",
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


def test_serving_stands_on_the_two_lowest_floors():
    """Beside training and exporting, but never on them: what answers requests needs neither runs nor torch.

    `loading` is the door to all formats; what stands above these floors it imports only for a path that asks for it.
    """
    for path in FILES:
        if room(path) == "serving":
            used = {name.split(".")[1] for name in imports(path) if name.startswith("catseye.")} - {
                "serving",
                "loading",
            }
            assert all(FLOORS.get(name, 0) <= 1 or name == "__version__" for name in used), path.name


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
