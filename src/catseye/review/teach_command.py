"""`catseye teach`: frozen network → camera page, until a signal. Called by cli."""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from catseye.errors import UsageError, refuse_unknown_options
from catseye.files import StrPath, path_of
from catseye.http.limits import Limits
from catseye.http.logs import Log
from catseye.http.shown import require_loopback
from catseye.review.app import TeachPages
from catseye.review.kept import require_empty
from catseye.review.place import (
    PageOptions,
    PagePlace,
    print_place,
    say_no_word,
    show_pages,
)
from catseye.review.taught import open_frozen_network
from catseye.review.teach_desk import MAX_CLASSES, TeachDesk

CLASSES = ("class 1", "class 2", "class 3")
FRAME_BYTES = 4_000_000  # of one frame: the page sends 20 kB


def open_teach(
    model: StrPath | None = None,
    *,
    classes: Sequence[str] = CLASSES,
    out: StrPath | None = None,
    port: int = 8300,
    open: bool = True,
    **options: Unpack[PageOptions],
) -> int:
    """Show a page that teaches classes with a camera, until a signal.

    Returns the exit code. A head on the frozen features of `model`, a run, or of published weights if it is None,
    learns the images recorded for each of `classes` in seconds; their names can be changed on the page. Nothing is
    written until the user keeps the model: then `out` (runs/DATE-taught if left out) becomes a run folder with the
    recorded images, for `export`, `predict`, `evaluate` and every other verb. The other options are those of
    `open_review`.

    Raises:
        CatseyeError: there are no weights, or the names, the folder or the address cannot be used.

    """
    refuse_unknown_options(options, PageOptions)
    host, say = options.get("host", "127.0.0.1"), options.get("tell") or say_no_word
    require_loopback(host)
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise UsageError(f"teaching needs 2 to {MAX_CLASSES} classes; got {len(classes)}; add --classes cup,pen,hand")
    if out is not None:
        require_empty(Path(out))
    say("opening the network")
    pages = teach_pages(None if model is None else path_of(model), classes, out, options.get("device", "auto"))
    place = PagePlace(Path(out or "runs"), host, port, open)
    facts = {"backbone": pages.desk.frozen.backbone.name}
    return show_pages(pages, place, options.get("ready") or print_place, pages.log, facts)


def teach_pages(
    model: Path | None = None, classes: Sequence[str] = CLASSES, out: StrPath | None = None, device: str = "auto"
) -> TeachPages:
    """The application of the page.

    Raises:
        CatseyeError: there are no weights, or the name of a class is invalid.

    """
    desk = TeachDesk(open_frozen_network(model, device), tuple(classes), Path(out) if out is not None else None)
    return TeachPages(desk, Limits(body_bytes=FRAME_BYTES), Log(quiet=True))
