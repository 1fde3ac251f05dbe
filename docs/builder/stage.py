"""The documents, copied to another folder, with links rewritten for the site.

Enters: the repository and an empty folder. Leaves: the Markdown of docs/ there, and the files it links to. A link in
docs/ may lead out of it, because it has to work on the code host too: to a result, which has a page on the site; to
CONTRIBUTING.md, which becomes a page; to a room of the package, which the list of modules describes; to a script, which
is copied and offered as a download.
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
    """A document links to something that does not exist."""


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
    """Copy one Markdown file, with its links rewritten."""
    text = rewrite(source.read_text(), lambda target: _target(root, source, page, staged, target))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text)


def copy_file(source: Path, copy: Path) -> None:
    """Copy one file unchanged."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copy)


def links(text: str) -> list[str]:
    """The targets within the repository that a text links to, in order.

    Links in code do not count.

    >>> links("[a](x.md#y) `[b](z.md)` ![c](p.png) [d](https://example.org) [`e`](e.md)")
    ['x.md#y', 'p.png', 'e.md']
    """
    targets: list[str] = []

    def note(target: str) -> str:
        targets.append(target)
        return target

    rewrite(text, note)
    return targets


def heading_anchor(title: str) -> str:
    """The anchor that code hosts and MyST give a heading.

    >>> heading_anchor("How `near` duplicates are found: 1.")
    'how-near-duplicates-are-found-1'
    """
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """The anchors of a Markdown text's headings."""
    outside = _FENCES.sub("", text)
    return {heading_anchor(title) for title in re.findall(r"^#{1,6} (.+)$", outside, re.MULTILINE)}


def rewrite(text: str, replace: Callable[[str], str]) -> str:
    """The text with `replace(target)` for every link within the repository."""
    masked = _CODE.sub(lambda code: "\0" * len(code[0]), text)  # the same length, so that positions stay valid
    pieces, end = [], 0
    for match in _LINK.finditer(masked):
        if not _OUTSIDE.match(match[2]):
            pieces += [text[end : match.start(2)], replace(match[2])]
            end = match.end(2)
    return "".join([*pieces, text[end:]])


def _target(root: Path, source: Path, page: Path, staged: Path, target: str) -> str:
    name, mark, anchor = target.partition("#")
    path = Path(os.path.normpath(source.parent / name))
    if not path.exists() or not path.is_relative_to(root):
        raise BrokenLink(f"{source.relative_to(root)} links to {target}, which does not exist")
    inside = path.relative_to(root)
    if str(inside) in PAGES:
        goal = staged / PAGES[str(inside)]
    elif str(inside) == "README.md":
        goal = staged / "index.md"
    elif inside.parts[0] == "docs":
        goal = staged / inside.relative_to("docs")
    elif inside.parts[:2] == ("src", "catseye"):
        goal = staged / "reference" / "modules.md"
        mark, anchor = "#", heading_anchor(".".join(("catseye", *inside.parts[2:3])) if path.is_dir() else "catseye")
    elif inside.match("benchmarks/results/*.json"):
        goal = staged / "benchmarks" / f"{inside.stem}.md"
    else:
        goal = staged / "files" / inside
        copy_file(path, goal)
    return os.path.relpath(goal, page.parent) + mark + anchor
