"""Imports point down only."""

import ast
from functools import cache
from pathlib import Path

from tests.house.rules import FILES, SOURCE, hold, tree

# Ground floor first. A room is a folder or a file at the top level; a new one has to be entered here, on purpose.
FLOORS = (
    {"errors", "seeds", "counting"},
    {"decoding", "notebook"},
    {"files", "settings", "machine", "preprocess", "http", "epochs"},
    {"manifest", "data", "models"},
    {"classifier", "tensor_files", "environment"},
    {"runs"},
    {"runtimes"},
    {"explanation", "embedding"},
    {"evaluation"},
    {"training", "exporting"},
    {"prediction", "serving"},
    {"deploying", "review"},
    {"lab"},
    {"cli"},
    {"__init__", "__main__"},
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
# Rooms, and files of rooms, that load where torch is not installed.
TORCH_FREE = (
    "errors", "counting", "notebook", "files", "seeds", "settings", "machine/cores", "machine/groups",
    "decoding", "preprocess", "http", "manifest",
    "classifier",
    "runtimes/loading", "runtimes/model_file", "runtimes/onnx", "runtimes/onnx_structure", "runtimes/openvino",
    "runtimes/torch_archive", "runtimes/tensorrt_engine_file", "prediction", "serving",
)  # fmt: skip


def room(path: Path) -> str:
    part = path.relative_to(SOURCE).parts[0]
    return part.removesuffix(".py")


@cache
def imports(path: Path) -> frozenset[str]:
    """Full names of the modules that a file imports, wherever the import stands, TYPE_CHECKING blocks left out."""
    found: set[str] = set()
    for node in walk_at_run_time(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def walk_at_run_time(parsed: ast.AST):
    for node in ast.iter_child_nodes(parsed):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from walk_at_run_time(node)


def rooms_used(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in imports(path) if name.startswith("catseye.")}
    return names & set(FLOOR_OF)


def test_imports_point_down():
    def imports_from_below(path):
        here = room(path)
        assert here in FLOOR_OF, f"{here} has no floor yet: enter it in FLOORS"
        for there in rooms_used(path) - {here}:
            assert FLOOR_OF[there] < FLOOR_OF[here], f"{here} imports {there}: that does not point down"

    hold(imports_from_below, FILES)


def test_serving_knows_neither_data_nor_runs_nor_networks():
    """What answers requests needs no torch; `runtimes` opens files for it, and imports torch only where a path asks."""
    for path in FILES:
        if room(path) == "serving":
            assert not rooms_used(path) & {"data", "models", "runs", "explanation", "evaluation"}, path.name


def is_torch_free(path: Path) -> bool:
    name = path.relative_to(SOURCE).with_suffix("").as_posix()
    return any(name == free or name.startswith(f"{free}/") for free in TORCH_FREE)


def test_the_runtime_imports_no_torch():
    def imports_nothing_heavy(path):
        heavy = {"torch", "torchvision", "timm", "sklearn", "matplotlib", "onnx"}
        assert not {name.split(".")[0] for name in imports(path)} & heavy

    hold(imports_nothing_heavy, [path for path in FILES if is_torch_free(path)])


def test_no_two_definitions_share_a_name():
    """A name read in a traceback or found by search means one thing. Templates run elsewhere, on their own."""
    homes: dict[str, list[str]] = {}
    for path in FILES:
        if "templates" not in path.parts:
            for node in tree(path).body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    homes.setdefault(node.name, []).append(str(path.relative_to(SOURCE)))
    shared = {name: paths for name, paths in homes.items() if len(paths) > 1 and name != "__getattr__"}
    assert not shared
