"""`catseye review` and `label`: arguments → material → pages, until a signal.

Called by cli. Everything slow happens before the page opens: looks, copies, features, heads.
"""

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Unpack

from catseye.classifier import softmax
from catseye.counting import agree, count
from catseye.data.channel_counts import with_channels
from catseye.data.moved import locate_data
from catseye.data.sources.unlabelled import list_unlabelled
from catseye.embedding.backbone import open_backbone
from catseye.embedding.embed import embed_what_is_new
from catseye.errors import UsageError, refuse_unknown_options
from catseye.evaluation.measure import measure
from catseye.files import StrPath
from catseye.http.limits import Limits
from catseye.http.logs import Log
from catseye.http.shown import require_loopback
from catseye.models.pretrained import DEFAULT_BACKBONE, weights_at_hand
from catseye.review.app import LabelPages, ReviewPages
from catseye.review.desk import Desk
from catseye.review.heat import Heat
from catseye.review.items import Mistake, count_kinds, make_queue
from catseye.review.label_desk import LabelDesk
from catseye.review.log import CorrectionLog
from catseye.review.material import gather_material, list_data
from catseye.review.place import (
    PageOptions,
    PagePlace,
    Ready,
    Say,
    page_place,
    print_place,
    say_no_word,
    show_pages,
)
from catseye.runs import open_run
from catseye.runtimes.loading import open_model
from catseye.runtimes.model_file import OpenedModel
from catseye.settings.reading import reading_values
from catseye.settings.schema import DataSettings


def serve_review(source: str, place: PagePlace, ready: Ready, say: Say, *, settings: DataSettings | None = None) -> int:
    """Show the review page of a run or of DATA; returns the exit code at a signal.

    Raises:
        CatseyeError: images, run, file or address cannot be used.

    """
    require_loopback(place.host)
    run = open_run(source) if (Path(source) / "settings.toml").is_file() else None
    reading = settings or DataSettings()
    if run is not None:
        reading = run.settings.data
        source = locate_data(run.data, None, place.data_dir, reading)
    with closing(CorrectionLog(place.out, place.who)) as log:
        images = list_data(source, reading, place.data_dir, run)
        # Published features do not depend on these labels; a run's own may have memorised the wrong ones.
        model = None if weights_at_hand(DEFAULT_BACKBONE) or run is None else run.path
        backbone = open_backbone(model, images, device=place.device)
        keep = place.out.with_name(f"{place.out.stem}.features.npz")
        material = gather_material(images, log.standing, backbone, keep, say)
        mistakes, heat = [], None
        if run is not None and (run.path / "model.safetensors").exists():
            say("classifying the run's held-out images")
            opened = open_model(run.path, device=place.device)
            mistakes = _mistakes_of(opened, list(images.names))
            heat = Heat(opened, images)
        queue = make_queue(material, mistakes)
        desk = Desk(material, queue, log, source if run is None else str(run.path))
        server_log = Log(quiet=True)
        pages = ReviewPages(desk, heat, Limits(), server_log)
        return show_pages(pages, place, ready, server_log, {"questions": len(queue), "says": count_kinds(queue)})


def _mistakes_of(opened: OpenedModel, names: list[str]) -> list[Mistake]:
    """The held-out images that a run classifies wrongly."""
    measured = measure(opened)
    number = {name: index for index, name in enumerate(names)}
    shares = softmax(measured.outputs.logits, opened.manifest.temperature)
    answers = shares.argmax(1)
    return [
        Mistake(number[name], measured.images.classes[int(answers[row])], float(shares[row].max()))
        for row, name in enumerate(measured.names)
        if answers[row] != measured.outputs.labels[row] and name in number
    ]


def serve_labels(folder: Path, classes: tuple[str, ...], place: PagePlace, ready: Ready, say: Say) -> int:
    """Show the page that labels a folder until a signal, and return the exit code.

    Raises:
        CatseyeError: images, file or address cannot be used.

    """
    require_loopback(place.host)
    if len(set(classes)) < 2:
        raise UsageError(f"labelling needs two classes or more; got {', '.join(classes)!r}; add --classes cat,dog")
    with closing(CorrectionLog(place.out, place.who)) as log:
        images = list_unlabelled(folder, classes)
        images = with_channels(images, DataSettings())
        backbone = open_backbone(None, images, device=place.device)
        keep = place.out.with_name(f"{place.out.stem}.features.npz")
        desk = LabelDesk(images, embed_what_is_new(images, backbone, keep, say), classes, log)
        server_log = Log(quiet=True)
        pages = LabelPages(desk, Limits(), server_log)
        num, decided = len(desk.numbers), len(desk.teaching.decided)
        progress = f"{decided:,} of {count(num, 'image')} {agree(num, 'is', 'are')} decided"
        return show_pages(pages, place, ready, server_log, {"images": len(desk.numbers), "says": progress})


def open_review(
    data: StrPath,
    *,
    out: StrPath = "corrections.csv",
    who: str = "",
    layout: str = "auto",
    port: int = 8200,
    open: bool = True,
    **options: Unpack[PageOptions],
) -> int:
    """Show probable label errors of a run or of DATA, and record decisions.

    The page is shown until a signal. `out` is the file that decisions are added to; `catseye.train(…, corrections=out)`
    applies them. `who` is the name of the person who decides, by default the user's. `open` opens the page in the
    browser. `ready` gets the address, and `tell` progress messages.

    Raises:
        CatseyeError: images, run, file or address cannot be used.

    """
    refuse_unknown_options(options, PageOptions)
    reading = {key.removeprefix("data."): value for key, value in reading_values({"layout": layout}).items()}
    place = page_place(out, port, open, who, options)
    settings = DataSettings.model_validate(reading)
    ready, say = options.get("ready") or print_place, options.get("tell") or say_no_word
    return serve_review(os.fspath(data), place, ready, say, settings=settings)


def open_labels(
    folder: StrPath,
    *,
    classes: Sequence[str],
    out: StrPath = "labels.csv",
    who: str = "",
    port: int = 8200,
    open: bool = True,
    **options: Unpack[PageOptions],
) -> int:
    """Show a page to label a folder with few decisions, until a signal.

    `out` is a list that `train` takes, `classes` are the class names. The other options are those of `open_review`.

    Raises:
        CatseyeError: images, file or address cannot be used.

    """
    refuse_unknown_options(options, PageOptions)
    place = page_place(out, port, open, who, options)
    ready, say = options.get("ready") or print_place, options.get("tell") or say_no_word
    return serve_labels(Path(folder), tuple(dict.fromkeys(classes)), place, ready, say)
