"""The page and its files, read once at start-up; no request can name another.

Leaves: `STATIC`, path -> content with headers. Called by `app.py`.
"""

from pathlib import Path

from catseye.http.static_files import StaticFile, read_static

FOLDER = Path(__file__).parent / "static"


def _read() -> dict[str, StaticFile]:
    files = read_static(FOLDER)
    names = {"/": "index.html", "/docs": "docs.html", "/favicon.ico": "icon.svg"}
    return {**files, **{path: files[f"/static/{name}"] for path, name in names.items()}}


STATIC = _read()
