"""The steps of `catseye check`: look at every image, apply every rule, report.

Enters: DATA. Leaves: `Verdict`, and check.json and check.html if a folder is given. Called by
`embedding/deep_check.py`, the function that users call; `data/prepare.py` uses `make_verdict` for the rules that do not
need a look at every image.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from catseye.counting import agree, count
from catseye.data.cache import keep_entry, kept_entry, key_of
from catseye.data.channel_counts import describe_channels, with_channels
from catseye.data.check.copies import (
    LOSSY_FORMATS,
    Glances,
    comparable,
    described_twins,
    find_copies,
    restored_twins,
)
from catseye.data.check.data_facts import DataFacts
from catseye.data.check.duplicates import BAND_RADIUS, CROWD, MAX_DISTANCE, MIN_CORRELATION, MIN_MIRRORED, Twins
from catseye.data.check.findings import Finding, Severity, Verdict, worst_first
from catseye.data.check.image_rules import fault_findings, image_findings
from catseye.data.check.looks import Looks, look_at_all
from catseye.data.check.rules import find_faults
from catseye.data.file_facts import stamp_files
from catseye.data.groups import related_groups
from catseye.data.sources import NOT_SPLIT, SPLIT_LABELS, Images, ImageSet, open_source, with_labels
from catseye.data.value_range import describe_range
from catseye.errors import CatseyeError, DataError, UsageError, refuse_unknown_options
from catseye.files import StrPath
from catseye.settings.reading import ReadingOptions, reading_values
from catseye.settings.schema import DataSettings


class CheckOptions(ReadingOptions, total=False):
    """What else `check` takes by name.

    `tell` is called with what is being done. `settings` choose layout and columns in one object. `further` adds
    findings (embedding/deep_check.py, which is `catseye.check`).
    """

    tell: Callable[[str], None] | None
    settings: DataSettings | None
    further: Callable[[DataFacts], list[Finding]] | None


def check(
    data: Images,
    labels: Any = None,
    *,
    group_by: str = "",
    fail_on: Severity | None = None,
    out: StrPath | None = None,
    data_dir: StrPath | None = None,
    **options: Unpack[CheckOptions],
) -> Verdict:
    """Look at every image of DATA and report what would harm training.

    `data` and `labels` are those of `catseye.train`, and so are `layout`, `image_column`, `label_column`,
    `split_column` and `group_column`. `group_by` is a regular expression on file names: images with the same first
    group belong together. Writes check.json and check.html to `out`. `fail_on` ("error" or "warning") raises an error
    if there is such a finding.

    Raises:
        DataError: DATA cannot be listed. UsageError: `group_by` is not a regular expression, or an option is wrong.
        CatseyeError: there is a finding that `fail_on` names; its message has the headline.

    """
    begun = time.monotonic()
    refuse_unknown_options(options, CheckOptions)
    if fail_on not in (None, "error", "warning"):
        raise UsageError(f"--fail-on is error or warning; got {fail_on!r}")
    settings = options.get("settings") or DataSettings.model_validate(
        {key.removeprefix("data."): value for key, value in reading_values(options).items()}
    )
    say = options.get("tell") or (lambda line: None)
    images = open_source(with_labels(data, labels), data_dir=Path(data_dir) if data_dir else None, settings=settings)
    related = related_groups(images, group_by)
    images, findings = _read_channels(images, settings)
    stamp = stamp_files(images)
    looks = look_at_all(
        images, stamp=stamp, tell=lambda done: say(f"looked at {done:,} of {count(len(images), 'image')}")
    )
    equal = equal_groups(looks)
    say("looking for near duplicates")
    twins, searched = _search_copies(images, looks, equal, stamp)
    sides = np.where(looks.readable, images.splits, NOT_SPLIT).astype(np.int8)
    facts = DataFacts(images, looks.readable, sides, equal, related, twins)
    findings += [*fault_findings(looks.faults), *find_faults(facts), *image_findings(looks)]
    if (further := options.get("further")) is not None:
        findings += further(facts)
    findings += _crowded(twins)
    verdict = make_verdict(facts, findings, time.monotonic() - begun, searched)
    if out is not None:
        write_report(verdict, images, Path(out))
    if fail_on and verdict.fails(fail_on):
        raise CatseyeError(f"the check found {verdict.headline()} (--fail-on {fail_on})")
    return verdict


def _read_channels(images: ImageSet, settings: DataSettings) -> tuple[ImageSet, list[Finding]]:
    """The images with their channels and value range, and findings on these."""
    try:
        images = with_channels(images, settings)
    except DataError as error:
        why = "training needs images that show something"
        return images, [
            Finding("nothing-to-see", "error", len(images), str(error), "check how the images were saved", stops=why)
        ]
    if images.channels is not None:
        title = describe_channels(images.channels, images.value_range)
        advice = "catseye train reads all of them; published weights cannot be used"
        return images, [Finding("channels", "note", len(images), title, advice)]
    if images.value_range is not None:
        title = describe_range(images.value_range)
        advice = "catseye train derives the range from its training images"
        return images, [Finding("value-range", "note", len(images), title, advice)]
    return images, []


def _search_copies(
    images: ImageSet, looks: Looks, equal: NDArray[np.int64], stamp: bytes
) -> tuple[Twins, dict[str, Any]]:
    """The near duplicates among images of different bytes, and search settings."""
    first_of_group = looks.readable & (equal == np.arange(len(images)))
    lossless = np.array([kind not in LOSSY_FORMATS for kind in looks.formats], bool)
    glances = Glances(looks.thumbs, np.minimum(looks.width_px, looks.height_px), lossless)
    twins = _cached_copies(images, glances, first_of_group, stamp)
    return twins, {
        "hash_bits": 64,
        "max_distance": MAX_DISTANCE,
        "band_radius": BAND_RADIUS,
        "min_correlation": MIN_CORRELATION,
        "min_correlation_mirrored": MIN_MIRRORED,
        "mirrored": images.mirror_safe,
        "compared": int(comparable(glances, first_of_group).sum()),
        "pairs": len(twins.pairs),
    }


def _crowded(twins: Twins) -> list[Finding]:
    num = twins.crowded
    if not num:
        return []
    title = f"{count(num, 'image')} {agree(num, 'resembles', 'resemble')} so many others that each was compared with "
    advice = "near duplicates among them may be missing from this report"
    return [Finding("crowded", "note", num, f"{title}{CROWD} of them only", advice)]


def _cached_copies(images: ImageSet, glances: Glances, selected: NDArray[np.bool_], stamp: bytes) -> Twins:
    """`find_copies`, or its result for the same files from the cache."""
    key = key_of("copies", stamp, images.value_range, images.mirror_safe, images.channels)
    if (kept := kept_entry(key)) is not None:
        return restored_twins(kept)
    begun = time.monotonic()
    twins = find_copies(images, glances, selected)
    keep_entry(key, time.monotonic() - begun, *described_twins(twins))
    return twins


def equal_groups(looks: Looks) -> NDArray[np.int64]:
    """Images of equal bytes share the number of the first; unreadable ones are alone.

    Shape: (N,) int64.
    """
    first: dict[bytes, int] = {}
    return np.array(
        [index if not digest else first.setdefault(digest, index) for index, digest in enumerate(looks.digests)],
        dtype=np.int64,
    )


def make_verdict(
    facts: DataFacts, findings: Sequence[Finding], seconds_s: float = 0.0, searched: dict[str, Any] | None = None
) -> Verdict:
    """The findings, the worst first, with the counts of classes per split."""
    images, sides = facts.images, facts.sides
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
        seconds_s=seconds_s,
        searched=searched or {},
        images=images,
    )


def write_report(verdict: Verdict, images: ImageSet, out: Path) -> None:
    """Write check.json and check.html to `out`, which is created if it is missing.

    Raises:
        CatseyeError: the folder cannot be written to.

    """
    from catseye.data.check.page import render_page

    page = render_page(verdict, images)
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(verdict.to_json(), indent=2, allow_nan=False)
        (out / "check.json").write_text(text + "\n", encoding="utf-8")
        (out / "check.html").write_bytes(page.encode("utf-8", "replace"))
    except OSError as error:
        raise CatseyeError(f"--out {out} cannot be written ({error.strerror}); choose a different folder") from None
