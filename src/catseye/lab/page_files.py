"""The lab's pages, put together once at start-up: one frame, a fragment for each chapter.

Leaves: path -> `StaticFile`, with the security headers of the server's own page. Called by app.
"""

from html import escape
from pathlib import Path

from catseye.http.static_files import StaticFile, html, read_static, read_static_file
from catseye.lab.chapters.table import CHAPTERS, Chapter
from catseye.serving.page import FOLDER as SERVING_FILES

_HERE = Path(__file__).parent


def read_pages() -> dict[str, StaticFile]:
    """Every file that a browser may ask for."""
    frame = _page("frame")
    files = read_static(_HERE / "static")
    for chapter in CHAPTERS:
        folder = _HERE / "chapters" / chapter.name
        files[f"/static/{chapter.name}.js"] = read_static_file(folder / "script.js")
        files[f"/static/{chapter.name}.svg"] = read_static_file(folder / "sketch.svg")
    icon = read_static(SERVING_FILES)["/static/icon.svg"]
    pages = {"/": html(_fill(frame, title="The lab", script="index", nav=_navigation(None), main=_index()))}
    for position, chapter in enumerate(CHAPTERS):
        main = _fill(
            _page("chapter"),
            number=str(chapter.number),
            title=escape(chapter.title),
            idea=escape(chapter.idea),
            content=(_HERE / "chapters" / chapter.name / "page.html").read_text(encoding="utf-8"),
            before=_beside(position - 1, "before"),
            after=_beside(position + 1, "after"),
        )
        title = f"{chapter.number} {chapter.title}"
        script, nav = chapter.name, _navigation(chapter)
        pages[f"/{chapter.name}"] = html(_fill(frame, title=escape(title), script=script, nav=nav, main=main))
    return {**files, **pages, "/static/icon.svg": icon, "/favicon.ico": icon}


def _page(name: str) -> str:
    return (_HERE / "pages" / f"{name}.html").read_text(encoding="utf-8")


def _fill(text: str, **parts: str) -> str:
    for name, part in parts.items():
        text = text.replace(f"{{{{{name}}}}}", part)
    return text


def _navigation(here: Chapter | None) -> str:
    items = []
    for chapter in CHAPTERS:
        current = ' aria-current="page"' if chapter is here else ""
        text = f"<b>{chapter.number}</b> <span>{escape(chapter.title)}</span>"
        items.append(f'<li><a href="/{chapter.name}"{current}>{text}</a></li>')
    return "".join(items)


def _index() -> str:
    cards = "".join(
        f'<li><a class="panel chapter-card" href="/{chapter.name}"><img src="/static/{chapter.name}.svg" alt="" '
        f'width="280" height="130"><span class="number">{chapter.number}</span>'
        f"<strong>{escape(chapter.title)}</strong><span>{escape(chapter.idea)}</span></a></li>"
        for chapter in CHAPTERS
    )
    return _fill(_page("index"), cards=cards)


def _beside(position: int, word: str) -> str:
    """The way on at the foot of a chapter."""
    if not 0 <= position < len(CHAPTERS):
        return "<span></span>"
    chapter = CHAPTERS[position]
    label = f"{chapter.number} {escape(chapter.title)}"
    return (
        f'<a href="/{chapter.name}">← {label}</a>' if word == "before" else f'<a href="/{chapter.name}">{label} →</a>'
    )
