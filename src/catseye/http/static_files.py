"""The files of a page, read once at start-up, with their security headers.

Enters: a folder. Leaves: path -> `StaticFile`. Called by `serving.page` and `lab.page_files`.
"""

from dataclasses import dataclass
from pathlib import Path

_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
}
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    b"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    (b"cache-control", b"no-cache"),
)


@dataclass(frozen=True)
class StaticFile:
    """One file of the page."""

    content: bytes
    content_type: bytes
    headers: tuple[tuple[bytes, bytes], ...] = _HEADERS


def html(text: str) -> StaticFile:
    """A generated page, with the headers of a static one."""
    return StaticFile(text.encode(), _TYPES[".html"])


def read_static_file(path: Path) -> StaticFile:
    """One file, typed by its suffix."""
    return StaticFile(path.read_bytes(), _TYPES[path.suffix])


def read_static(folder: Path) -> dict[str, StaticFile]:
    """The files of a folder as `/static/NAME`."""
    return {
        f"/static/{path.name}": read_static_file(path) for path in sorted(folder.iterdir()) if path.suffix in _TYPES
    }
