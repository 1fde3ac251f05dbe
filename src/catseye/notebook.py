"""Objects of catseye in a notebook: tables, small images and data frames.

Enters: texts, numbers, arrays, PNG files. Leaves: HTML for `_repr_html_`, with all foreign text escaped. Called by
every class that has one. No torch, no script, nothing from elsewhere: a notebook that is passed on shows the same.
"""

import base64
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseye.errors import MissingDependency

THUMBNAIL_PX = 96
MAX_SHOWN = 20  # rows of a table, images of a list


class Html(str):
    """Text that is HTML already; all other text is escaped."""

    __slots__ = ()


def html_of(value: object) -> str:
    """A value as HTML: escaped, unless it is `Html`.

    A byte that is not UTF-8 becomes a question mark.

    >>> html_of("<b>"), html_of(Html("<b>"))
    ('&lt;b&gt;', '<b>')
    """
    if isinstance(value, Html):
        return str(value)
    return escape(str(value).encode("utf-8", "replace").decode())


def html_table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Html:
    """A table; without `head`, the first cell of every row is its title."""
    top = f"<thead><tr>{''.join(f'<th>{html_of(cell)}</th>' for cell in head)}</tr></thead>" if head else ""
    body = "".join(
        "<tr>" + "".join(_cell(cell, title=not head and not number) for number, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return Html(f"<table>{top}<tbody>{body}</tbody></table>")


def _cell(value: object, *, title: bool) -> str:
    kind = "th" if title else "td"
    return f'<{kind} style="text-align:left">{html_of(value)}</{kind}>'


def html_image(pixels: NDArray[Any], title: str = "") -> Html:
    """A small image.

    Shape: (H, W, 1) or (H, W, 3) uint8.
    """
    array = np.asarray(pixels)
    image = Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array).convert("RGB")
    if max(image.size) < THUMBNAIL_PX // 2:  # a digit of 8 px would be a dot
        factor = THUMBNAIL_PX // (2 * max(image.size)) + 1
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return _inline(stream.getvalue(), title)


def html_bytes(png: bytes, title: str = "") -> Html:
    """The bytes of a PNG, as wide as the page allows."""
    return _inline(png, title, ' style="max-width:100%"')


def html_png(path: Path, width_px: int = 480) -> Html:
    """A PNG of a run folder; empty if it does not exist."""
    try:
        content = path.read_bytes()
    except OSError:
        return Html("")
    return _inline(content, path.stem, f' style="max-width:{width_px}px"')


def _inline(png: bytes, title: str, more: str = "") -> Html:
    text = html_of(title)
    data = base64.b64encode(png).decode()
    return Html(f'<img src="data:image/png;base64,{data}" alt="{text}" title="{text}"{more}>')


def html_gallery(pairs: Iterable[tuple[NDArray[Any], str]]) -> Html:
    """Small images side by side, each with a caption.

    Shape: each (H, W, 1) or (H, W, 3) uint8.
    """
    figures = (
        f'<figure style="display:inline-block;margin:4px;text-align:center;max-width:{2 * THUMBNAIL_PX}px">'
        f'{html_image(pixels, text)}<figcaption style="font-size:smaller">{html_of(text)}</figcaption></figure>'
        for pixels, text in pairs
    )
    return Html("<div>" + "".join(figures) + "</div>")


def as_frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> Any:
    """Rows as a pandas DataFrame; pandas is imported only here.

    Raises:
        MissingDependency: pandas is not installed.

    """
    try:
        import pandas as pd
    except ImportError:
        raise MissingDependency("pandas") from None
    return pd.DataFrame(list(rows), columns=columns)


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this program.

    IPython in a terminal does not count.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and getattr(shell, "kernel", None) is not None
