"""The model as an AWS Lambda function: a folder that builds its own package.

The package is a zip or a container image, with the stacks for both.

Enters: a model file. Leaves: the files by name. Called by cli (`catseye deploy lambda`). catseye is on no package
index, so the few modules that the function needs are copied too.
"""

import ast
import json
import shlex
from pathlib import Path

import catseye
from catseye.deploying.rendering import DeployedModel, Written, render_template, write_folder
from catseye.errors import UsageError
from catseye.runtimes.formats import MODEL_FORMATS

# Lambda's Python 3.11 runs on Amazon Linux 2, whose glibc is too old for the wheels of onnxruntime.
PYTHONS = ("3.12", "3.13", "3.14")
START = "catseye.serving.aws_lambda"
SOURCE = Path(catseye.__file__).parent


def write_lambda(model: DeployedModel, out: Path, *, python: str = "3.13", force: bool = False) -> Written:
    """Write the folder.

    Raises:
        UsageError: the folder is not empty and `force` was not given, or Lambda has no such Python.
        SaveError: it cannot be written.

    """
    files = write_folder(out, lambda_files(model, python=python), force=force)
    return Written(
        files,
        [],
        [f"python{python} {shlex.quote(str(out / 'build.py'))}", f"head -8 {shlex.quote(str(out / 'template.yaml'))}"],
    )


def lambda_files(model: DeployedModel, *, python: str = "3.13") -> dict[str, str | bytes | Path]:
    """All files of the folder, by name.

    Raises:
        UsageError: Lambda has no such Python, or that one cannot run ONNX Runtime.

    """
    if python not in PYTHONS:
        raise UsageError(
            f"--python is one of {', '.join(PYTHONS)}: Lambda's versions that run ONNX Runtime; got {python!r}"
        )
    facts: dict[str, object] = {"name": model.name, "python": python}
    files: dict[str, str | bytes | Path] = {
        "model.onnx": model.path,
        "handler.py": render_template("aws_lambda/handler.template", facts),
        "build.py": render_template("aws_lambda/build.py", facts),
        "Dockerfile": render_template("aws_lambda/Dockerfile", facts),
        ".dockerignore": "package\npackage.zip\ntemplate*.yaml\n",
        "template.yaml": _stack(model, facts, as_image=False),
        "template-image.yaml": _stack(model, facts, as_image=True),
    }
    for name in ("requirements", "requirements-image"):
        files[f"{name}.txt"] = render_template(f"aws_lambda/{name}.lock", {})
    for path in needed_modules():
        files[f"catseye/{path.relative_to(SOURCE).as_posix()}"] = path
    return files


def needed_modules(start: str = START) -> list[Path]:
    """The files of this package that a module imports, sorted by name.

    They are imported directly or indirectly. Lazy imports by name, as in `catseye.load`, are not found; the reader of
    ONNX files is added.
    """
    paths: set[Path] = set()
    waiting = [start, MODEL_FORMATS[".onnx"].module]
    while waiting:
        name = waiting.pop()
        place = SOURCE.joinpath(*name.split(".")[1:])
        path = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        if path in paths or not path.is_file():  # no file: a name inside a module
            continue
        paths.add(path)
        waiting += [name.rpartition(".")[0]] if "." in name else []
        for node in ast.walk(_at_run_time(path)):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names if alias.name.startswith("catseye")]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("catseye"):
                waiting += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return sorted(paths)


def _at_run_time(path: Path) -> ast.Module:
    """A module without the blocks for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    ]
    return tree


def _stack(model: DeployedModel, facts: dict[str, object], *, as_image: bool) -> str:
    manifest = model.manifest
    return render_template(
        "aws_lambda/template.yaml",
        facts
        | {
            "as_image": as_image,
            # Quoted, because the model file may come from an untrusted source.
            "description": json.dumps(f"{manifest.architecture.name[:100]}; catseye {catseye.__version__}"),
            "version": model.sha256[:12],
            "num_classes": len(manifest.classes),
        },
    )
