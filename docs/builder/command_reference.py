"""The text of `--help` as a page, from the command line's own definitions."""

import re
from pathlib import Path
from typing import Any

from docs.builder.tables import code, table

START = """# Commands

Made from the definitions behind `catseye --help`. Results go to stdout, everything else to stderr; the exit code is 2
if the command line or a setting is wrong, 1 if something failed, 130 or 143 after a signal.

"""
KINDS = {"Path": "path", "float": "number", "int": "whole number", "str": "text"}
EVERYWHERE = ("--json", "--debug", "--help")


def write(folder: Path) -> None:
    """Write commands.md."""
    from typer.main import get_command

    from catseye.cli import app

    folder.mkdir(parents=True, exist_ok=True)
    group: Any = get_command(app)
    verbs = list(verbs_of(group))
    listed = [[f"[`catseye {name}`](#{anchor(name)})", plain(verb.help)] for name, verb in verbs]
    sections = [section(name, verb) for name, verb in verbs]
    (folder / "commands.md").write_text(START + table(["command", "what it does"], listed) + "\n" + "\n".join(sections))


def verbs_of(group: Any, before: str = "") -> Any:
    """Every verb with its full name, also those in groups, in the order of `--help`."""
    for name, verb in group.commands.items():
        if hasattr(verb, "commands"):
            yield from verbs_of(verb, f"{before}{name} ")
        else:
            yield f"{before}{name}", verb


def anchor(name: str) -> str:
    """The anchor of a verb's heading.

    >>> anchor("deploy slurm")
    'catseye-deploy-slurm'
    """
    return f"catseye-{name.replace(' ', '-')}"


def section(name: str, verb: Any) -> str:
    """One verb: its sentence, its usage, its arguments and options."""
    arguments = [each for each in verb.params if not each.opts[0].startswith("-")]
    options = [each for each in verb.params if each.opts[0].startswith("-")]
    usage = " ".join(["catseye", name, "[OPTIONS]", *(_argument(each) for each in arguments)])
    parts = [f"## catseye {name}\n", f"{plain(verb.help)}\n", f"```text\n{usage}\n```\n"]
    if arguments:
        parts.append(table(["argument", ""], [[code(_argument(each)), plain(each.help)] for each in arguments]))
    own = [each for each in options if each.opts[0] not in EVERYWHERE]
    if own:
        rows = [[", ".join(map(code, each.opts)), _value(each), _default(each), plain(each.help)] for each in own]
        parts.append(table(["option", "value", "default", ""], rows))
    parts.append("And `--json` (results as JSON on stdout), `--debug` (the traceback of an error), `--help`.\n")
    return "\n".join(parts)


def plain(text: str | None) -> str:
    r"""A help text without Rich's markup, safe in a Markdown table.

    >>> plain("with catseye\\[train] | --max-risk 2%")
    'with catseye\\[train\\] \\| --max-risk 2%'
    """
    text = re.sub(r"\\\[", "[", " ".join((text or "").split()))
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(
        piece.replace("|", r"\|") if piece.startswith("`") else re.sub(r"([\[\]|*_<>])", r"\\\1", piece)
        for piece in pieces
    )


def _argument(parameter: Any) -> str:
    name = parameter.name.upper() + ("…" if "list" in _kind(parameter) else "")
    return name if parameter.required else f"[{name}]"


def _kind(parameter: Any) -> str:
    """The type that the parameter was declared with, `Path | None` for example."""
    annotation = parameter.type_descriptor.annotation
    return annotation.__name__ if type(annotation) is type else str(annotation)


def _value(parameter: Any) -> str:
    if parameter.is_flag:
        return ""
    kind = _kind(parameter)
    name = next((word for type_name, word in KINDS.items() if type_name in kind), kind)
    low, high = parameter.min, parameter.max
    limits = {(True, True): f", {low}–{high}", (True, False): f", {low} or more", (False, True): f", at most {high}"}
    several = ", several" if "list" in kind else ""
    return name + limits.get((low is not None, high is not None), "") + several


def _default(parameter: Any) -> str:
    value = parameter.default
    if value is None or isinstance(value, bool) or callable(value) or value in ("", ()):
        return ""
    return code(str(value))
