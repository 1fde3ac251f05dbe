"""Every result under benchmarks/results/ as a page with all its numbers.

Enters: a folder of JSON. Leaves: a page for each and a table of all on benchmarks/index.md. It knows the keys that
every result has (command, commit, environment, n, seeds) and shows the rest by its structure: a flat record as a list
of facts, similar records as a table, a mean with its standard deviation as one cell.
"""

import json
from pathlib import Path
from typing import Any

from docs.builder.tables import code, escape, number, table

KNOWN = ("command", "note", "n", "seeds", "commit", "environment")
MAX_COLUMNS = 14
MAX_LISTED = 12


def write(results: Path, folder: Path) -> None:
    """Write a page per result, and append the table of all to index.md."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for path in sorted(results.glob("*.json")):
        result = json.loads(path.read_text())
        (folder / f"{path.stem}.md").write_text(page(path.stem, result))
        made = str(result["environment"].get("created", ""))[:10]
        command = first_words(result["command"])
        rows.append([f"[{escape(path.stem)}]({path.stem}.md)", code(command), number(result["n"]), made])
    index = folder / "index.md"
    before = index.read_text() if index.exists() else "# Benchmarks\n"
    toctree = "\n".join(sorted(path.stem for path in results.glob("*.json")))
    index.write_text(
        f"{before}\n## All results\n\n{table(['result', 'command', 'n', 'measured on'], rows)}\n"
        f"```{{toctree}}\n:hidden:\n\n{toctree}\n```\n"
    )


def first_words(command: str, limit: int = 90) -> str:
    """The command, shortened for a table."""
    return command if len(command) <= limit else command[: limit - 1].rsplit(" ", 1)[0] + " …"


def page(name: str, result: dict[str, Any]) -> str:
    """One result as Markdown."""
    parts = [f"# {escape(name)}\n", f"```console\n$ {result['command']}\n```\n"]
    if result.get("note"):
        parts.append(f"{escape(sentence(str(result['note'])))}\n")
    parts.append(table(["how it was made", "value"], [[escape(key), value] for key, value in provenance(result)]))
    rest = {key: value for key, value in result.items() if key not in KNOWN}
    facts = {key: value for key, value in rest.items() if is_cell(value)}
    if facts:
        parts += ["## Result\n", table(["what", "value"], [[title(key), cell(value)] for key, value in facts.items()])]
    for key, value in rest.items():
        if key not in facts:
            parts += [f"## {title(key)}\n", block(value, 3)]
    return "\n".join(parts)


def sentence(text: str) -> str:
    """A note as a sentence.

    >>> sentence("only ratios mean something")
    'Only ratios mean something.'
    """
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def provenance(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Commit, n, seeds, machine and versions, each as the text of one cell."""
    environment = result["environment"]
    machine = ", ".join(
        str(part)
        for part in (
            environment.get("processor"),
            f"{environment['cpus']} cores" if "cpus" in environment else None,
            f"threads used: {environment['threads']}" if "threads" in environment else None,
            environment.get("gpu") or "no GPU",
        )
        if part
    )
    versions = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    return [
        ("n", number(result["n"])),
        ("seeds", cell(result["seeds"])),
        ("commit", code(str(result["commit"])[:12])),
        ("measured", escape(str(environment.get("created", "")))),
        ("machine", escape(machine)),
        ("system", escape(str(environment.get("platform", "")))),
        ("versions", escape(f"Python {environment.get('python', '?')}, {versions}")),
    ]


def is_cell(value: Any) -> bool:
    """Whether a value fits into one cell."""
    if isinstance(value, dict):
        return is_spread(value)
    if not isinstance(value, list):
        return True
    return len(value) <= MAX_LISTED and not any(isinstance(each, dict | list) for each in value)


def is_spread(value: Any) -> bool:
    """Whether it is a mean or median with its spread: sd, smallest, largest."""
    return isinstance(value, dict) and bool({"mean", "median"} & value.keys()) and value.keys() <= {
        "mean", "median", "sd", "min", "max",
    }  # fmt: skip


def cell(value: Any) -> str:
    """A value as text of one cell.

    >>> cell({"mean": 0.98830, "sd": 0.00233, "min": 0.98607, "max": 0.99164})
    '0.9883 ± 0.00233 (0.9861 – 0.9916)'
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    if value is None:
        return "–"
    if is_spread(value):
        centre = number(value["mean"] if "mean" in value else value["median"])
        sd = f" ± {number(value['sd'])}" if "sd" in value else ""
        extremes = f" ({number(value['min'])} – {number(value['max'])})" if {"min", "max"} <= value.keys() else ""
        return f"{centre}{sd}{extremes}"
    if isinstance(value, list):
        return ", ".join(cell(each) for each in value) or "–"
    return escape(str(value))


def title(key: str) -> str:
    """A key of JSON as words, followed by its unit.

    >>> [title(key) for key in ("peak_memory_mb", "wall_s", "num_images", "batch 1, 1 calls")]
    ['peak memory (MB)', 'wall (s)', 'number of images', 'batch 1, 1 calls']
    """
    units = {"s": "s", "ms": "ms", "px": "px", "mb": "MB", "bytes": "bytes"}
    words = key.split("_")
    if words[0] == "num" and len(words) > 1:
        return escape(f"number of {' '.join(words[1:])}")
    if len(words) > 1 and words[-1] in units and words[-2] != "per":
        return escape(" ".join(words[:-1])) + f" ({units[words[-1]]})"
    return escape(" ".join(words))


def block(value: Any, level: int) -> str:
    """A value of any structure as Markdown below a heading of `level` - 1."""
    if is_cell(value):
        return cell(value) + "\n"
    if isinstance(value, list):
        if all(isinstance(each, dict) for each in value):
            return records([flat(each) for each in value])
        return table(["place", "value"], [[str(place), cell(each)] for place, each in enumerate(value)])
    children = [each for each in value.values() if isinstance(each, dict) and not is_spread(each)]
    if len(children) == len(value) and len(children) > 1:  # records by name
        return records([{"": key, **flat(each)} for key, each in value.items()])
    return table(["what", "value"], [[title(key), cell(each)] for key, each in flat(value).items()])


def flat(record: dict[str, Any], before: str = "") -> dict[str, Any]:
    """A record whose values fit cells: inner records flattened, lists counted."""
    cells: dict[str, Any] = {}
    for key, value in record.items():
        name = f"{before}{key}"
        if is_cell(value):
            cells[name] = value
        elif isinstance(value, dict):
            cells |= flat(value, f"{name} · ")
        else:
            cells[name] = f"{len(value)} entries"
    return cells


def records(rows: list[dict[str, Any]]) -> str:
    """Records as a table, transposed if it would be too wide."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if len(columns) <= MAX_COLUMNS:
        return table([_head(key) for key in columns], [[cell(row.get(key, "")) for key in columns] for row in rows])
    names, first = [row[columns[0]] for row in rows], columns[0]
    lines = [[_head(key), *(cell(row.get(key, "")) for row in rows)] for key in columns if key != first]
    return table([_head(first), *(cell(name) for name in names)], lines)


def _head(key: str) -> str:
    return " · ".join(title(part) for part in key.split(" · ")) if key else ""
