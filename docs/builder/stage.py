"""The documents, copied to a folder of their own, where links find what they mean.

Enters: the repository and an empty folder. Leaves: the Markdown of docs/ there, and the files it links to. In the
repository a link may lead out of docs/, so that it works on the code host: to a result, which has a page here; to
CONTRIBUTING.md, which becomes one; to a room of the package, which the list of modules describes; to a script, which is
copied and offered as a download.
"""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks/index.md",
}
IMAGES = {".png", ".svg", ".jpg", ".webp"}
BUILDER = Path(__file__).parent.name
_LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```[^\n]*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_FENCES = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:|#|/")


class BrokenLink(Exception):
    """A document links to something that is not there."""


def stage(root: Path, staged: Path) -> None:
    """Copy the documents.

    Raises:
        BrokenLink: the file that a link names does not exist.

    """
    documents = root / "docs"
    for path in sorted(documents.rglob("*")):
        inside = path.relative_to(documents)
        if inside.parts[0] == BUILDER or path.is_dir():
            continue
        if path.suffix == ".md":
            copy_page(root, path, staged / inside, staged)
        elif path.suffix in IMAGES:
            copy_file(path, staged / inside)
    for source, page in PAGES.items():
        copy_page(root, root / source, staged / page, staged)


def copy_page(root: Path, source: Path, page: Path, staged: Path) -> None:
    """One Markdown file, its links rewritten."""
    text = rewrite(source.read_text(), lambda target: _target(root, source, page, staged, target))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text)


def copy_file(source: Path, copy: Path) -> None:
    """One file as it is."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copy)


def links(text: str) -> list[str]:
    """What a Markdown text links to within the repository, in order; links in code are not links.

    >>> links("[a](x.md#y) `[b](z.md)` ![c](p.png) [d](https://example.org) [`e`](e.md)")
    ['x.md#y', 'p.png', 'e.md']
    """
    found: list[str] = []

    def note(target: str) -> str:
        found.append(target)
        return target

    rewrite(text, note)
    return found


def heading_anchor(title: str) -> str:
    """The anchor that code hosts give a heading, and MyST with them.

    >>> heading_anchor("How `near` duplicates are found: 1.")
    'how-near-duplicates-are-found-1'
    """
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """The anchors of a Markdown text's headings."""
    outside = _FENCES.sub("", text)
    return {heading_anchor(title) for title in re.findall(r"^#{1,6} (.+)$", outside, re.MULTILINE)}


def rewrite(text: str, replace: Callable[[str], str]) -> str:
    """The text with `replace(target)` for every target of a link within the repository."""
    masked = _CODE.sub(lambda code: "\0" * len(code[0]), text)  # every place stays where it is
    pieces, end = [], 0
    for match in _LINK.finditer(masked):
        if not _OUTSIDE.match(match[2]):
            pieces += [text[end : match.start(2)], replace(match[2])]
            end = match.end(2)
    return "".join([*pieces, text[end:]])


def _target(root: Path, source: Path, page: Path, staged: Path, target: str) -> str:
    name, mark, anchor = target.partition("#")
    found = Path(os.path.normpath(source.parent / name))
    if not found.exists() or not found.is_relative_to(root):
        raise BrokenLink(f"{source.relative_to(root)} links to {target}, and there is no such file")
    inside = found.relative_to(root)
    if str(inside) in PAGES:
        goal = staged / PAGES[str(inside)]
    elif str(inside) == "README.md":
        goal = staged / "index.md"
    elif inside.parts[0] == "docs":
        goal = staged / inside.relative_to("docs")
    elif inside.parts[:2] == ("src", "catseye"):
        goal = staged / "reference" / "modules.md"
        mark, anchor = "#", heading_anchor(".".join(("catseye", *inside.parts[2:3])) if found.is_dir() else "catseye")
    elif inside.match("benchmarks/results/*.json"):
        goal = staged / "benchmarks" / f"{inside.stem}.md"
    else:
        goal = staged / "files" / inside
        copy_file(found, goal)
    return os.path.relpath(goal, page.parent) + mark + anchor
