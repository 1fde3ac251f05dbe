"""What a check found, and the one verdict that follows from it.

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
MAX_LETTERS = 40  # of each of them
MAX_TOLD = 12  # findings that `catseye train` says
MAX_PICTURED = 4  # images of a finding that a notebook shows


@dataclass(frozen=True)
class Example:
    """One case: the numbers of the images it is about (two for a pair) and what is special about it."""

    images: tuple[int, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """One kind of fault. `rule` is its fixed short name; `title` says with the count what it is.

    `count` is of what the title counts, images as a rule; an example may be a pair of them. `stops` is empty, or the
    rule of training that is broken: `catseye train` refuses such data.
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
        """What one example is: an image, a pair of images, or a case without images."""
        return {1: "image", 2: "pair"}.get(max((len(each.images) for each in self.examples), default=0), "case")


@dataclass(frozen=True)
class Verdict:
    """All findings, the worst first, with what they are about. `names` are those of the images, by number."""

    source: str
    names: Sequence[str]
    classes: Sequence[str]
    class_counts: dict[str, list[int]]  # split -> images per class
    findings: list[Finding]
    seconds_s: float
    searched: dict[str, Any] = field(default_factory=dict)  # how near duplicates were looked for; empty: not at all
    images: ImageSet | None = field(default=None, repr=False)  # read again where a notebook shows examples

    def _repr_html_(self) -> str:
        rows = [(one.severity, f"{one.count:,}", one.title, one.advice, self._shown(one)) for one in self.findings]
        head = f"{self.headline()} in {count(len(self.names), 'image')}; {name_classes(self.classes)}"
        table = html_table(("severity", "count", "what", "next", "examples"), rows) if rows else ""
        return Html(f"<p><b>{html_of(head)}</b></p>{table}")

    def _shown(self, found: "Finding") -> Html:
        """The first examples of a finding as small images."""
        numbers = [index for example in found.examples[:MAX_PICTURED] for index in example.images][:MAX_PICTURED]
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
        return {each: sum(found.severity == each for found in self.findings) for each in SEVERITIES}

    def fails(self, fail_on: Severity) -> bool:
        """Whether there is a finding of this severity or a worse one."""
        return any(self.counts[each] for each in SEVERITIES[: SEVERITIES.index(fail_on) + 1])

    def headline(self) -> str:
        """The verdict in a few words, e.g. `1 error, 2 warnings, 0 notes`."""
        if not self.findings:
            return "nothing found"
        return ", ".join(count(number, each) for each, number in self.counts.items())

    def lines(self) -> list[str]:
        """What `catseye train` says: the verdict, every finding once, the next step for the worst."""
        told = [f"{found.severity}: {found.title}{self.first_case(found)}" for found in self.findings[:MAX_TOLD]]
        if len(self.findings) > MAX_TOLD:
            told.append(f"{count(len(self.findings) - MAX_TOLD, 'more finding')}: catseye check DATA lists them")
        worst = self.findings[0] if self.findings else None
        advice = worst.advice if worst and worst.severity != "note" else "catseye check DATA looks at every image too"
        return [f"check: {line}" for line in (self.headline(), *told, f"next: {advice}")]

    def refuse(self) -> None:
        """Stop where there is a finding that training does not bear.

        Raises:
            DataError: the broken rule, the finding with its first case, and what to do.

        """
        for found in self.findings:
            if found.stops:
                raise DataError(
                    f"{self.source}: {found.stops}; {found.title}{self.first_case(found)}; {found.advice}; "
                    "`catseye check DATA` lists every case"
                )

    def first_case(self, found: Finding) -> str:
        """The first example in brackets, or nothing where there is none."""
        case = self.case(found.examples[0]) if found.examples else ""
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
                    "rule": found.rule,
                    "severity": found.severity,
                    "count": found.count,
                    "title": found.title,
                    "advice": found.advice,
                    "stops_training": bool(found.stops),
                    "examples": [
                        {
                            "images": [printable(self.names[index]) for index in example.images],
                            "note": printable(example.note),
                        }
                        for example in found.examples[:MAX_LISTED]
                    ],
                }
                for found in self.findings
            ],
        }


def name_classes(classes: Sequence[str]) -> str:
    """The classes that were found, for the first line of a command: how many, and at most twenty of their names.

    >>> name_classes(("ant", "bee"))
    '2 classes: ant, bee'
    """
    named = ", ".join(_shortened(printable(name)) for name in classes[:MAX_NAMED])
    rest = f" and {len(classes) - MAX_NAMED:,} more" if len(classes) > MAX_NAMED else ""
    return f"{count(len(classes), 'class')}: {named}{rest}"


def _shortened(name: str) -> str:
    return name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS - 1]}…"


def printable(name: str) -> str:
    """A name that can be printed: bytes that are no UTF-8 (old archives have them) become question marks."""
    return name.encode("utf-8", "replace").decode()


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Errors, warnings, notes; within each the order of the rules."""
    return sorted(findings, key=lambda found: SEVERITIES.index(found.severity))
