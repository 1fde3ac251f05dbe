"""`catseye check`: every image looked at, every rule asked, one verdict. No torch.

Enters: DATA. Leaves: `Verdict`, and check.json and check.html where a folder is given. Called by cli; `prepare.py`
takes `quick_verdict`, the part that needs no pixels.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.data.duplicates import (
    BAND_RADIUS,
    CROWD,
    MAX_DISTANCE,
    MIN_CORRELATION,
    MIN_MIRRORED,
    find_twins,
    join_groups,
)
from catseye.data.findings import Example, Finding, Verdict, worst_first
from catseye.data.image_rules import fault_findings, image_findings
from catseye.data.looks import Looks, look_at_all
from catseye.data.related import is_grouped, related_images
from catseye.data.side_rules import (
    Groups,
    Sides,
    class_findings,
    duplicate_findings,
    group_findings,
    twin_findings,
)
from catseye.data.sources import NOT_SPLIT, SPLIT_LABELS, ImageSet, open_source
from catseye.errors import CatseyeError
from catseye.settings.schema import DataSettings

PLAIN_SPREAD = 6.0  # grey levels in a thumbnail; below, all images look alike and twins mean nothing


def check(
    source: str | Path,
    *,
    group_by: str = "",
    data_dir: Path | None = None,
    out: Path | None = None,
    tell: Callable[[str], None] | None = None,
    settings: DataSettings | None = None,
) -> Verdict:
    """Look at every image of DATA and say what a training would suffer from.

    `group_by` is a regular expression on file names: images with the same first group belong together. Writes
    check.json and check.html to `out`. `tell` hears what is being done. `settings` choose layout and columns, as in
    train.

    Raises:
        DataError: DATA cannot be listed. UsageError: `group_by` is no regular expression.

    """
    begun = time.monotonic()
    say = tell or (lambda line: None)
    images = open_source(source, data_dir=data_dir, settings=settings)
    related = related_images(images, group_by)
    looks = look_at_all(images, tell=lambda done: say(f"looked at {done:,} of {len(images):,} images"))
    readable = looks.readable
    equal = equal_groups(looks)
    sides = np.where(readable, images.splits, NOT_SPLIT).astype(np.int8)
    say("looking for near duplicates")
    first_of_group = readable & (equal == np.arange(len(images)))
    structured = looks.thumbs.reshape(len(images), -1).std(1) >= PLAIN_SPREAD
    twins = find_twins(looks.thumbs, first_of_group & structured, mirrored=images.mirror_safe)
    findings = [
        *fault_findings(looks.faults),
        *duplicate_findings(images.labels, sides, equal, images.classes),
        *(group_findings(sides, related) if is_grouped(images, group_by) else []),
        *class_findings(images, readable, sides),
        *twin_findings(images.labels, sides, equal, twins, images.classes),
        *image_findings(looks),
        *_left_out(images),
    ]
    if twins.crowded:
        findings.append(
            Finding(
                "crowded",
                "note",
                twins.crowded,
                f"{twins.crowded:,} images look so common that each was compared with {CROWD} others only",
                "near duplicates among them may be missing from this report",
            )
        )
    searched = {
        "hash_bits": 64,
        "max_distance": MAX_DISTANCE,
        "band_radius": BAND_RADIUS,
        "min_correlation": MIN_CORRELATION,
        "min_correlation_mirrored": MIN_MIRRORED,
        "mirrored": images.mirror_safe,
        "compared": int((first_of_group & structured).sum()),
        "pairs": len(twins.pairs),
    }
    verdict = _make_verdict(images, sides, findings, begun, searched)
    if out is not None:
        write_report(verdict, images, out)
    return verdict


def quick_verdict(
    images: ImageSet, *, unreadable: Mapping[int, str], equal: Groups, related: Groups, grouped: bool, sides: Sides
) -> Verdict:
    """The rules that need no pixels: names, labels, equal files, groups, sides.

    Shape: equal, related and sides have N values; unreadable images have the side NOT_SPLIT.
    """
    begun = time.monotonic()
    readable = np.ones(len(images), bool)
    readable[list(unreadable)] = False
    findings = [
        *duplicate_findings(images.labels, sides, equal, images.classes),
        *(group_findings(sides, related) if grouped else []),
        *class_findings(images, readable, sides),
        *_left_out(images),
    ]
    if unreadable:
        findings.append(
            Finding(
                "unreadable",
                "error",
                len(unreadable),
                f"{len(unreadable):,} images cannot be read and are left out",
                "catseye check DATA says what is wrong with each",
                [Example((index,), reason) for index, reason in unreadable.items()],
            )
        )
    return _make_verdict(images, sides, findings, begun, {})


def equal_groups(looks: Looks) -> NDArray[np.int64]:
    """Images of equal bytes share the number of the first; unreadable ones stand alone.

    Shape: (N,) int64.
    """
    first: dict[bytes, int] = {}
    return np.array(
        [index if not digest else first.setdefault(digest, index) for index, digest in enumerate(looks.digests)],
        dtype=np.int64,
    )


def together(*groups: Groups) -> Groups:
    """Groups that are joined wherever they share an image."""
    own = np.arange(len(groups[0]))
    return join_groups(len(own), np.concatenate([np.stack([own, each], axis=1)[own != each] for each in groups]))


def _left_out(images: ImageSet) -> list[Finding]:
    return [
        *(Finding("left-out", "warning", 1, note, "look whether this is right", [Example()]) for note in images.notes),
        *(Finding("reading", "note", 1, said, "this is how DATA was read", [Example()]) for said in images.remarks),
    ]


def _make_verdict(
    images: ImageSet, sides: Sides, findings: list[Finding], begun: float, searched: dict[str, Any]
) -> Verdict:
    counts = {
        name: np.bincount(images.labels[sides == number], minlength=len(images.classes)).tolist()
        for number, name in [*enumerate(SPLIT_LABELS), (NOT_SPLIT, "not split")]
        if (sides == number).any()
    }
    return Verdict(
        source=images.source,
        names=images.names,
        classes=images.classes,
        class_counts=counts,
        findings=worst_first(findings),
        seconds_s=time.monotonic() - begun,
        searched=searched,
    )


def write_report(verdict: Verdict, images: ImageSet, out: Path) -> None:
    """check.json and check.html in `out`, made where it is missing.

    Raises:
        CatseyeError: the folder cannot be written to.

    """
    from catseye.data.check_page import render_page

    page = render_page(verdict, images)
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(verdict.to_json(), indent=2, allow_nan=False)
        (out / "check.json").write_text(text + "\n", encoding="utf-8")
        (out / "check.html").write_bytes(page.encode("utf-8", "replace"))
    except OSError as error:
        raise CatseyeError(f"--out {out} cannot be written ({error.strerror}); give another folder") from None
