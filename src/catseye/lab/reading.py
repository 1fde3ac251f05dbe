"""The chapters of the documents as pages of the lab: packaged Markdown -> HTML.

Leaves: `Reading`s by the stem of their file. Links between them and to chapters of the lab stay within the lab; links
to other documents are removed, because this machine may not have these. Called by page_files. markdown-it-py (MIT)
comes with Rich.
"""

import base64
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

_HERE = Path(__file__).parent
_PACKED = _HERE / "concepts"  # in a wheel; see pyproject.toml
_DOCS = _HERE.parents[2] / "docs"  # in a checkout
_LAB = re.compile(r"(?:\.\./)?lab\.md#(\d+)-")
_IMAGE_TYPES = {".png": "png", ".svg": "svg+xml"}


@dataclass(frozen=True)
class Reading:
    """One chapter: its first heading, and all of it as HTML."""

    stem: str
    title: str
    html: str


def find_readings() -> dict[str, Path]:
    """The Markdown files by stem."""
    places = [_PACKED] if _PACKED.is_dir() else [_DOCS / "concepts", _DOCS]
    return {path.stem: path for place in reversed(places) for path in place.glob("*.md")}


def read_chapter(path: Path, readings: set[str], chapters: dict[int, str]) -> Reading:
    """Convert one chapter to HTML.

    `readings` are the stems that have a page, `chapters` the lab's addresses by number.
    """
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(path.read_text(encoding="utf-8"))
    for token in tokens:
        _point(token.children or [], path, readings, chapters)
    title = next(after.content for token, after in pairwise(tokens) if token.tag == "h1")
    html = str(markdown.renderer.render(tokens, markdown.options, {}))
    # Wide parts can be scrolled, also by keyboard. Text cannot contain these tags, because it is escaped.
    html = html.replace("<pre>", '<pre tabindex="0">').replace("</table>", "</table></div>")
    html = html.replace(
        "<table>", '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table class="plain">'
    )
    return Reading(path.stem, title, html)


def _point(children: list[Token], path: Path, readings: set[str], chapters: dict[int, str]) -> None:
    """Rewrite the targets of links and images."""
    for token in children:
        if token.type == "link_open":
            target = _address(str(token.attrs["href"]), readings, chapters)
            if target is None:
                del token.attrs["href"]
            else:
                token.attrs["href"] = target
        elif token.type == "image":
            file = path.parent / str(token.attrs["src"])
            if file.suffix in _IMAGE_TYPES and file.is_file():
                content = base64.b64encode(file.read_bytes()).decode()
                token.attrs["src"] = f"data:image/{_IMAGE_TYPES[file.suffix]};base64,{content}"


def _address(href: str, readings: set[str], chapters: dict[int, str]) -> str | None:
    lab = _LAB.match(href)
    if lab:
        return f"/{chapters[int(lab[1])]}" if int(lab[1]) in chapters else "/"
    page, _, part = href.partition("#")
    stem = Path(page).stem
    if stem in readings and page.endswith(".md"):
        return f"/read/{stem}" + (f"#{part}" if part else "")
    return None
