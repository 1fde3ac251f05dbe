"""The verdict as one page that opens from disk: no scripts, no network.

Enters: `Verdict` and the images. Leaves: HTML. Called by `check.py`. Names of files and classes are not trusted: Jinja2
escapes everything, and the page's policy forbids it to load or run anything.
"""

import base64
import io
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from catseye.counting import count
from catseye.data.check.findings import MAX_LISTED, Example, Finding, Verdict, name_classes
from catseye.data.sources import NOT_SPLIT, SPLIT_LABELS, ImageSet
from catseye.errors import ImageError, MissingDependency
from catseye.preprocess import open_image

SHOWN = 24  # examples of each finding
THUMB_PX = 240  # shown at 112 px, and larger after a click
_ENLARGED_UP_TO_PX = 48  # smaller images are shown with visible pixels


def render_page(verdict: Verdict, images: ImageSet) -> str:
    """The whole page.

    Raises:
        MissingDependency: Jinja2 is not installed.

    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise MissingDependency("jinja2") from None
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parents[1] / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    thumb = cache(lambda index: _thumb(images, index))  # an image in several findings is read once
    return environment.get_template("check.html").render(
        verdict=verdict,
        name=Path(verdict.source).name,
        sides=list(verdict.class_counts),
        rows=_class_rows(verdict),
        findings=[_finding(finding, verdict, images, thumb) for finding in verdict.findings],
        summary=f"{count(len(images), 'image')}, {name_classes(verdict.classes)}",
    )


def _class_rows(verdict: Verdict) -> list[dict[str, Any]]:
    totals = np.sum(list(verdict.class_counts.values()), axis=0) if verdict.class_counts else np.zeros(1)
    most = max(int(np.max(totals)), 1)
    return [
        {
            "name": name,
            "counts": [counts[k] for counts in verdict.class_counts.values()],
            "share": 100 * sum(counts[k] for counts in verdict.class_counts.values()) / most,
        }
        for k, name in enumerate(verdict.classes)
    ]


def _finding(finding: Finding, verdict: Verdict, images: ImageSet, thumb: "_MakeThumb") -> Mapping[str, Any]:
    cases = [example for example in finding.examples if example.images or example.note]
    more = max(len(cases) - SHOWN, 0)
    listed = "check.json lists them" if len(cases) <= MAX_LISTED else f"check.json lists the first {MAX_LISTED:,}"
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "count": finding.count,
        "title": finding.title,
        "advice": finding.advice,
        "examples": [_example(example, verdict, images, thumb) for example in cases[:SHOWN]],
        "more": f"… and {count(more, f'more {finding.unit}')}; {listed}." if more else "",
    }


def _example(example: Example, verdict: Verdict, images: ImageSet, thumb: "_MakeThumb") -> Mapping[str, Any]:
    return {
        "note": example.note,
        "images": [
            {
                "name": verdict.names[index],
                "label": images.classes[images.labels[index]],
                "side": SPLIT_LABELS[images.splits[index]] if images.splits[index] != NOT_SPLIT else "",
                **thumb(index),
            }
            for index in example.images
        ],
    }


_MakeThumb = Callable[[int], Mapping[str, Any]]


def _thumb(images: ImageSet, index: int) -> dict[str, Any]:
    """The image as a data URI of a few kilobytes, empty if it cannot be read."""
    try:
        image = open_image(images.read(index), value_range=images.value_range or "own").convert("RGB")
    except ImageError:
        return {"uri": "", "enlarged": False}
    small = max(image.size) <= _ENLARGED_UP_TO_PX
    image.thumbnail((THUMB_PX, THUMB_PX))
    stream = io.BytesIO()
    if small:
        image.save(stream, "PNG")
    else:
        image.save(stream, "JPEG", quality=80)
    kind = "png" if small else "jpeg"
    return {"uri": f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}", "enlarged": small}
