"""The findings of a check, and the verdict that they make.

Enters: findings of `rules.py` and `image_rules.py`. Leaves: `Verdict`, as lines, JSON and (in `page.py`) a page, and
the refusal to train. Called by `check.py`, `data/prepare.py` and cli.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from catseye.counting import count
from catseye.data.sources.image_set import ImageSet
from catseye.errors import DataError, ImageError
from catseye.notebook import Html, html_image, html_of, html_table
from catseye.preprocess import open_image

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
MAX_LISTED = 1000  # examples of one finding that check.json names; `count` says how many there are
MAX_NAMED = 20  # class names in one line
MAX_LETTERS = 40  # of a class name
MAX_PRINTED = 12  # findings that `catseye train` prints
MAX_IMAGES = 4  # images of a finding that a notebook shows


@dataclass(frozen=True)
class Example:
    """One case: the numbers of its images (two for a pair), and a note."""

    images: tuple[int, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """One kind of fault: `rule` is its fixed name, `title` a sentence with the count.

    `count` counts what the title names, usually images; an example may be a pair of them. `stops` is empty, or the
    requirement of training that is not met: then `catseye train` refuses the data.
    """

    rule: str
    severity: Severity
    count: int
    title: str
    advice: str
    examples: Sequence[Example] = ()
    stops: str = ""

    @property
    def unit(self) -> str:
        """What an example is: an image, a pair of images, or a case without images."""
        return {1: "image", 2: "pair"}.get(max((len(each.images) for each in self.examples), default=0), "case")


@dataclass(frozen=True)
class Verdict:
    """All findings, the worst first; `names` are those of the images, by number."""

    source: str
    names: Sequence[str]
    classes: Sequence[str]
    class_counts: dict[str, list[int]]  # split -> images per class
    findings: list[Finding]
    seconds_s: float
    searched: dict[str, Any] = field(default_factory=dict)  # how near duplicates were searched; empty: not searched
    images: ImageSet | None = field(default=None, repr=False)  # read again for examples in a notebook

    def _repr_html_(self) -> str:
        rows = [
            (finding.severity, f"{finding.count:,}", finding.title, finding.advice, self._examples(finding))
            for finding in self.findings
        ]
        head = f"{self.headline()} in {count(len(self.names), 'image')}; {name_classes(self.classes)}"
        table = html_table(("severity", "count", "what", "next", "examples"), rows) if rows else ""
        return Html(f"<p><b>{html_of(head)}</b></p>{table}")

    def _examples(self, finding: "Finding") -> Html:
        """The first examples of a finding as small images."""
        numbers = [index for example in finding.examples[:MAX_IMAGES] for index in example.images][:MAX_IMAGES]
        shown = []
        for index in numbers if self.images is not None else ():
            try:
                image = open_image(self.images.read(index)).convert("RGB")  # type: ignore[union-attr]
                shown.append(html_image(np.asarray(image), printable(self.names[index])))
            except ImageError:
                shown.append(Html(html_of(printable(self.names[index]))))
        return Html(" ".join(shown))

    @property
    def counts(self) -> dict[Severity, int]:
        """Findings per severity."""
        return {each: sum(finding.severity == each for finding in self.findings) for each in SEVERITIES}

    def fails(self, fail_on: Severity) -> bool:
        """Whether there is a finding of this severity or a worse one."""
        return any(self.counts[each] for each in SEVERITIES[: SEVERITIES.index(fail_on) + 1])

    def headline(self) -> str:
        """The verdict in a few words, e.g. `1 error, 2 warnings, 0 notes`."""
        if not self.findings:
            return "nothing found"
        return ", ".join(count(number, each) for each, number in self.counts.items())

    def lines(self) -> list[str]:
        """What `catseye train` prints: the verdict, the findings, and the next step."""
        first = self.findings[:MAX_PRINTED]
        printed = [f"{finding.severity}: {finding.title}{self.first_case(finding)}" for finding in first]
        if len(self.findings) > MAX_PRINTED:
            printed.append(f"{count(len(self.findings) - MAX_PRINTED, 'more finding')}: catseye check DATA lists them")
        worst = self.findings[0] if self.findings else None
        advice = worst.advice if worst and worst.severity != "note" else "catseye check DATA looks at every image too"
        return [f"check: {line}" for line in (self.headline(), *printed, f"next: {advice}")]

    def refuse(self) -> None:
        """Refuse to train if a finding rules it out.

        Raises:
            DataError: the requirement, the finding with its first case, and what to do.

        """
        for finding in self.findings:
            if finding.stops:
                raise DataError(
                    f"{self.source}: {finding.stops}; {finding.title}{self.first_case(finding)}; {finding.advice}; "
                    "`catseye check DATA` lists every case"
                )

    def first_case(self, finding: Finding) -> str:
        """The first example in brackets, or nothing if there is none."""
        case = self.case(finding.examples[0]) if finding.examples else ""
        return f" (e.g. {case})" if case else ""

    def case(self, example: Example) -> str:
        """An example in words: names, and the note."""
        names = " = ".join(printable(self.names[index]) for index in example.images)
        return f"{names}: {printable(example.note)}" if names and example.note else names or printable(example.note)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types; at most MAX_LISTED examples of each finding."""
        return {
            "source": self.source,
            "verdict": self.findings[0].severity if self.findings else "clean",
            "counts": dict(self.counts),
            "num_images": len(self.names),
            "classes": list(map(printable, self.classes)),
            "class_counts": self.class_counts,
            "near_duplicates": self.searched or None,
            "seconds": round(self.seconds_s, 3),
            "findings": [
                {
                    "rule": finding.rule,
                    "severity": finding.severity,
                    "count": finding.count,
                    "title": finding.title,
                    "advice": finding.advice,
                    "stops_training": bool(finding.stops),
                    "examples": [
                        {
                            "images": [printable(self.names[index]) for index in example.images],
                            "note": printable(example.note),
                        }
                        for example in finding.examples[:MAX_LISTED]
                    ],
                }
                for finding in self.findings
            ],
        }


def name_classes(classes: Sequence[str]) -> str:
    """The number of classes and at most twenty of their names.

    >>> name_classes(("ant", "bee"))
    '2 classes: ant, bee'
    """
    named = ", ".join(_shortened(printable(name)) for name in classes[:MAX_NAMED])
    rest = f" and {len(classes) - MAX_NAMED:,} more" if len(classes) > MAX_NAMED else ""
    return f"{count(len(classes), 'class')}: {named}{rest}"


def _shortened(name: str) -> str:
    return name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS - 1]}…"


def printable(name: str) -> str:
    """A name that can be printed: bytes that are not UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode()


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Errors, warnings, notes; within each the order of the rules."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
