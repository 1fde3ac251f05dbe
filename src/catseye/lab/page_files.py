"""The lab's pages, assembled at start-up from a frame and one part per chapter.

Leaves: path -> `StaticFile`, with the security headers of the server's own page. Called by app.
"""

from html import escape
from pathlib import Path

from catseye.http.static_files import StaticFile, html, read_static, read_static_file
from catseye.lab.chapters.table import CHAPTERS, Chapter
from catseye.lab.glossary import mark_terms, terms_of, words_list
from catseye.lab.reading import Reading, find_readings, read_chapter
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
    readings = _readings()
    pages = {
        "/": html(_fill(frame, title="The lab", script="index", nav=_navigation(None), here="Chapters", main=_index()))
    }
    for position, chapter in enumerate(CHAPTERS):
        content = (_HERE / "chapters" / chapter.name / "page.html").read_text(encoding="utf-8")
        main = _fill(
            _page("chapter"),
            number=str(chapter.number),
            title=escape(chapter.title),
            idea=escape(chapter.idea),
            content=mark_terms(content),
            words=words_list([*{*chapter.words, *terms_of(content)}]),
            reading=_reading_link(readings.get(chapter.reading)),
            before=_beside(position - 1, "before"),
            after=_beside(position + 1, "after"),
        )
        title = f"{chapter.number} {chapter.title}"
        script, nav, here = chapter.name, _navigation(chapter), f"{chapter.number} {_name_in_menu(chapter)}"
        pages[f"/{chapter.name}"] = html(
            _fill(frame, title=escape(title), script=script, nav=nav, here=escape(here), main=main)
        )
    for stem, reading in readings.items():
        main = _fill(_page("reading"), content=reading.html, back=_back(stem))
        pages[f"/read/{stem}"] = html(
            _fill(frame, title=escape(reading.title), script="frame", nav=_navigation(None), here="Chapters", main=main)
        )
    return {**files, **pages, "/static/icon.svg": icon, "/favicon.ico": icon}


def _readings() -> dict[str, Reading]:
    """The readings that the chapters name, if the package has the documents.

    Otherwise there are no links to them.
    """
    named = {chapter.reading for chapter in CHAPTERS if chapter.reading}
    paths = {stem: path for stem, path in find_readings().items() if stem in named}
    numbers = {chapter.number: chapter.name for chapter in CHAPTERS}
    return {stem: read_chapter(path, set(paths), numbers) for stem, path in paths.items()}


def _reading_link(reading: Reading | None) -> str:
    if reading is None:
        return ""
    return f'<p class="reading-link"><a href="/read/{reading.stem}">Read: {escape(reading.title)}</a></p>'


def _back(stem: str) -> str:
    """The links from a reading to its chapters in the lab."""
    return "".join(
        f'<a href="/{chapter.name}">Try it: chapter {chapter.number}, {escape(chapter.title)}</a>'
        for chapter in CHAPTERS
        if chapter.reading == stem
    )


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
        text = f"<b>{chapter.number}</b> <span>{escape(_name_in_menu(chapter))}</span>"
        items.append(f'<li><a href="/{chapter.name}"{current}>{text}</a></li>')
    return "".join(items)


def _name_in_menu(chapter: Chapter) -> str:
    return chapter.short or chapter.title


def _index() -> str:
    cards = "".join(
        f'<li><a class="panel chapter-card" href="/{chapter.name}"><img src="/static/{chapter.name}.svg" alt="" '
        f'width="280" height="130"><span class="number">{chapter.number}</span>'
        f"<strong>{escape(chapter.title)}</strong><span>{escape(chapter.idea)}</span></a></li>"
        for chapter in CHAPTERS
    )
    return _fill(_page("index"), cards=cards)


def _beside(position: int, word: str) -> str:
    """The link to the next or previous chapter."""
    if not 0 <= position < len(CHAPTERS):
        return "<span></span>"
    chapter = CHAPTERS[position]
    label = f"{chapter.number} {escape(chapter.title)}"
    return (
        f'<a href="/{chapter.name}">← {label}</a>' if word == "before" else f'<a href="/{chapter.name}">{label} →</a>'
    )
