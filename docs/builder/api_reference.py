"""Pages from docstrings. The source is parsed, not imported, so no torch needed.

Enters: src/catseye. Leaves: python.md with the public names and the classes they return, modules.md with the first
sentence of every module.
"""

import ast
import re
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

from docs.builder.tables import escape, table

START = """# Python

`import catseye` costs nothing and needs no torch: each name is loaded when it is first used. Names that are not on this
page may change without notice.

"""
MODULES = """# Modules

The first sentence of every module: what it is for. Imports point down only; `catseye` itself names what is public.

"""
_SECTIONS = re.compile(r"^(Shape|Raises|Source|Args|Returns|Yields):\s*", re.MULTILINE)


@dataclass(frozen=True)
class Definition:
    """A function or class, and its module."""

    name: str
    module: str
    node: ast.FunctionDef | ast.ClassDef


def write(package: Path, folder: Path) -> None:
    """Write python.md and modules.md."""
    folder.mkdir(parents=True, exist_ok=True)
    names = public_names(package)
    public = [replace(find(package, own, module), name=name) for name, (module, own) in names.items()]
    answers = [each for each in returned(package, public) if each.name not in names]
    parts = [section(each, f"catseye.{each.name}") for each in public if each.name != "CatseyeError"]
    parts += ["## What they return\n", *(section(each, each.name, level=3) for each in answers)]
    parts += ["## catseye.CatseyeError\n", error_tree(package)]
    (folder / "python.md").write_text(START + "\n".join(parts))
    (folder / "modules.md").write_text(MODULES + modules(package))


def public_names(package: Path) -> dict[str, tuple[str, str]]:
    """The names of `catseye.__all__`, each with its module and its name there.

    They are read from the imports for type checkers.
    """
    tree = ast.parse((package / "__init__.py").read_text())
    homes = {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    (listed,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    return {name: homes[name] for name in sorted(listed, key=str.lower)}


def find(package: Path, name: str, module: str) -> Definition:
    """The definition of a name."""
    for node in _tree(package, module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return Definition(name, module, node)
    raise LookupError(f"{module} defines no {name}")


def returned(package: Path, public: list[Definition]) -> list[Definition]:
    """The package's classes that public functions return, and those in fields."""
    classes: dict[str, Definition] = {}
    pending = list(public)
    while pending:
        definition = pending.pop(0)
        if isinstance(definition.node, ast.FunctionDef):
            annotations = [definition.node.returns]
        else:
            annotations = [part.annotation for part in definition.node.body if isinstance(part, ast.AnnAssign)]
        parts = [part for annotation in annotations if annotation for part in ast.walk(annotation)]
        for name in sorted({part.id for part in parts if isinstance(part, ast.Name)}):
            module = _home(package, definition.module, name)
            if module and name not in classes:
                result = find(package, name, module)
                if isinstance(result.node, ast.ClassDef):
                    classes[name] = result
                    pending += [result] if isinstance(definition.node, ast.FunctionDef) else []
    return list(classes.values())


def section(definition: Definition, title: str, level: int = 2) -> str:
    """One function or class: signature, docstring, and a class's fields and methods."""
    node = definition.node
    parts = [f"{'#' * level} {escape(title)}\n"]
    if isinstance(node, ast.FunctionDef):
        parts += [f"```python\n{signature(node)}\n```\n", prose(ast.get_docstring(node)), _from(definition)]
        return "\n".join(parts)
    parts += [prose(ast.get_docstring(node)), _from(definition)]
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign) and not _private(ast.unparse(part.target))]
    if fields:
        lines = [f"{ast.unparse(part.target)}: {ast.unparse(part.annotation)}{_default(part)}" for part in fields]
        parts.append("```python\n" + "\n".join(lines) + "\n```\n")
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and not _private(method.name) and ast.get_docstring(method):
            parts.append(f"```python\n{signature(method)}\n```\n")
            parts.append(prose(ast.get_docstring(method)))
    return "\n".join(parts)


def signature(node: ast.FunctionDef) -> str:
    """The first line of a definition, if long with a line per parameter.

    Properties have no brackets.
    """
    marks = {ast.unparse(mark) for mark in node.decorator_list}
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    if "property" in marks or "cached_property" in marks:
        return f"{node.name}{result.replace(' ->', ':')}"
    arguments = ast.unparse(node.args)
    arguments = re.sub(r"^self(, )?", "", arguments)
    line = f"{node.name}({arguments}){result}"
    if len(line) <= 88:
        return line
    return f"{node.name}(\n{textwrap.indent(_one_per_line(node.args), '    ')}\n){result}"


def prose(text: str | None) -> str:
    r"""A docstring as Markdown: its examples fenced, its sections as bold words.

    >>> prose("Add.\n\nShape: (N,) to (N,)\n\n>>> 1 + 1\n2").splitlines()
    ['Add.', '', '**Shape:** (N,) to (N,)', '', '```python', '>>> 1 + 1', '2', '```']
    """
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", (text or "").strip()):
        if paragraph.lstrip().startswith(">>>"):
            paragraphs.append(f"```python\n{textwrap.dedent(paragraph)}\n```")
        elif "    " in paragraph and not _SECTIONS.match(paragraph):
            paragraphs.append(f"```text\n{paragraph}\n```")  # a drawing, whose columns must stay aligned
        else:
            words = _escape_prose(" ".join(line.strip() for line in paragraph.splitlines()))
            paragraphs.append(_SECTIONS.sub(r"**\1:** ", words))
    return "\n\n".join(paragraphs) + "\n"


def error_tree(package: Path) -> str:
    """The errors: the tree in errors.py, and the first sentence of each."""
    tree = _tree(package, "catseye.errors")
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    rows = [[f"`{node.name}`", _escape_prose(first_sentence(ast.get_docstring(node)))] for node in classes]
    return f"{prose(ast.get_docstring(tree))}\n{table(['error', ''], rows)}"


def modules(package: Path) -> str:
    """A table of modules for each room."""
    rooms: dict[str, list[list[str]]] = {}
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package)
        name = ".".join(("catseye", *inside.with_suffix("").parts)).removesuffix(".__init__")
        room = inside.parts[0] if len(inside.parts) > 1 else ""
        sentence = first_sentence(ast.get_docstring(ast.parse(path.read_text())))
        rooms.setdefault(room, []).append([f"`{name}`", _escape_prose(sentence)])
    parts = []
    for room in sorted(rooms):
        parts.append(f"## catseye{'.' + room if room else ''}\n\n{table(['module', ''], rooms[room])}")
    return "\n".join(parts)


def first_sentence(text: str | None) -> str:
    r"""The text up to the end of its first sentence or paragraph.

    >>> first_sentence("One step, i.e. all of it. More.\n\nElse")
    'One step, i.e. all of it.'
    """
    paragraph = " ".join((text or "").strip().split("\n\n")[0].split())
    return re.split(r"(?<=[a-z0-9)`”\"])\.\s(?=[A-Z`])", paragraph)[0].rstrip(":.") + "."


def _escape_prose(text: str) -> str:
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(piece.replace("|", r"\|") if piece.startswith("`") else escape(piece) for piece in pieces)


def _one_per_line(arguments: ast.arguments) -> str:
    positional = [*arguments.posonlyargs, *arguments.args]
    lines = []
    for place, parameter in enumerate(positional):
        index = place - len(positional) + len(arguments.defaults)
        lines.append(_parameter(parameter, arguments.defaults[index] if index >= 0 else None))
    if arguments.vararg or arguments.kwonlyargs:
        lines.append(f"*{_parameter(arguments.vararg, None)}" if arguments.vararg else "*")
    keyword_only = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    lines += [_parameter(parameter, value) for parameter, value in keyword_only]
    return "\n".join(f"{line}," for line in lines if line != "self")


def _parameter(parameter: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(parameter.annotation)}" if parameter.annotation else ""
    return f"{parameter.arg}{kind}{f' = {ast.unparse(default)}' if default else ''}"


def _default(part: ast.AnnAssign) -> str:
    return f" = {ast.unparse(part.value)}" if part.value and not isinstance(part.value, ast.Call) else ""


def _private(name: str) -> bool:
    return name.startswith("_") or name in ("model_config", "model_post_init")


def _from(definition: Definition) -> str:
    return f"*Defined in `{definition.module}`.*\n"


def _home(package: Path, module: str, name: str) -> str | None:
    """The module of the package that defines a class which `module` uses."""
    for node in ast.walk(_tree(package, module)):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            home = node.module or ""
            return home if home.startswith("catseye") and _defines(package, home, name) else None
    return None


def _defines(package: Path, module: str, name: str) -> bool:
    return any(isinstance(node, ast.ClassDef) and node.name == name for node in _tree(package, module).body)


def _tree(package: Path, module: str) -> ast.Module:
    path = package.joinpath(*module.split(".")[1:])
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
