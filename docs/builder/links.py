"""Checks that links of the built pages work, and load from no other host.

Enters: a folder of HTML. Leaves: a sentence per fault. Links to other sites are not followed.
"""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

LOADING = {("img", "src"), ("script", "src"), ("iframe", "src"), ("source", "src"), ("video", "src"), ("use", "href")}
LOADING_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch", "manifest"}
_STYLE = re.compile(r"""(?:url\(\s*['"]?|@import\s+['"])(https?:)?//""", re.IGNORECASE)


@dataclass
class Page(HTMLParser):
    """The anchors of a page, the addresses that it links to, and those that it loads."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Called by HTMLParser for each element."""
        named = {name: value or "" for name, value in attributes}
        self.anchors |= {named[key] for key in ("id", "name") if named.get(key)}
        loading = tag == "link" and set(named.get("rel", "").split()) & LOADING_LINKS
        for key in ("href", "src"):
            if key in named:
                (self.loaded if loading or (tag, key) in LOADING else self.links).append(named[key])


def read_page(path: Path) -> Page:
    """Parse one file."""
    page = Page()
    page.feed(path.read_text())
    return page


def faults(site: Path) -> list[str]:
    """The faults of the links of a folder of pages."""
    pages = {path: read_page(path) for path in sorted(site.rglob("*.html"))}
    messages = []
    for path, page in pages.items():
        name = path.relative_to(site)
        for address in page.loaded:
            if urlsplit(address).netloc:
                messages.append(f"{name} loads {address} from another host")
        for address in [*page.links, *page.loaded]:
            target, anchor = urldefrag(address)
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            goal = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            goal = goal / "index.html" if goal.is_dir() else goal
            if not goal.is_relative_to(site.resolve()) and goal != path:
                messages.append(f"{name} links to {address}, which is outside the site")
            elif not goal.exists():
                messages.append(f"{name} links to {address}, which does not exist")
            elif anchor and goal.suffix == ".html" and unquote(anchor) not in _page_at(pages, goal).anchors:
                messages.append(f"{name} links to {address}, but that page has no such anchor")
    for path in sorted(site.rglob("*.css")):
        if _STYLE.search(path.read_text()):
            messages.append(f"{path.relative_to(site)} loads something from another host")
    return messages


def _page_at(pages: dict[Path, Page], goal: Path) -> Page:
    for path, page in pages.items():
        if path.resolve() == goal.resolve():
            return page
    return read_page(goal)
