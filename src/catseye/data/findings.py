"""What a check found, and the one verdict that follows from it.

Enters: findings of `side_rules.py` and `image_rules.py`. Leaves: `Verdict`, as lines, JSON and (in `check_page.py`)
a page. Called by `check.py`, `prepare.py` and cli.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
MAX_LISTED = 1000  # examples of one finding that check.json names; `count` says how many there are


@dataclass(frozen=True)
class Example:
    """One case: the numbers of the images it is about (two for a pair) and what is special about it."""

    images: tuple[int, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """One kind of fault. `rule` is its fixed short name; `title` says with the count what it is."""

    rule: str
    severity: Severity
    count: int
    title: str
    advice: str
    examples: Sequence[Example] = ()


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
        return ", ".join(f"{count} {each}{'s' * (count != 1)}" for each, count in self.counts.items())

    def three_lines(self) -> list[str]:
        """What `catseye train` says: verdict, worst finding, next step."""
        worst = self.findings[0] if self.findings else None
        second = "classes, files and sides are in order"
        if worst:
            second = f"{worst.severity}: {worst.title}{self.first_case(worst)}"
        third = worst.advice if worst and worst.severity != "note" else "catseye check DATA looks at every image too"
        return [f"check: {self.headline()}", f"check: {second}", f"check: {third}"]

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


def printable(name: str) -> str:
    """A name that can be printed: bytes that are no UTF-8 (old archives have them) become question marks."""
    return name.encode("utf-8", "replace").decode()


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Errors, warnings, notes; within each the order of the rules."""
    return sorted(findings, key=lambda found: SEVERITIES.index(found.severity))
