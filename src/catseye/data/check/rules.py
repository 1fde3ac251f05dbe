"""All rules that need no pixels, and those on classes, labels and file names.

Enters: `DataFacts`. Leaves: findings; `catseye train` refuses data with a finding that has `stops`. Called by
`check.py` and `data/prepare.py` (in `catseye train`), so that both report the same.
"""

import re
import unicodedata
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from catseye.counting import agree, count
from catseye.data.check.copy_rules import byte_copies, crossings, near_copies, two_labels
from catseye.data.check.data_facts import DataFacts, repeated_groups
from catseye.data.check.findings import Example, Finding, Severity
from catseye.data.groups import keep_together
from catseye.data.sources import SPLIT_LABELS, TEST, TRAIN, VAL, ImageSet

FEW = 10  # training images of a class
UNEVEN, VERY_UNEVEN = 3, 10  # most frequent class / rarest class


def find_faults(facts: DataFacts) -> list[Finding]:
    """Apply every rule that needs no pixels."""
    members = repeated_groups(facts.equal)
    findings = [
        *_unreadable(facts),
        *_class_twins(facts.images),
        *_missing_classes(facts),
        *_nothing_to_hold_out(facts),
        *two_labels(members, facts),
        *crossings(members, facts, "leak"),
        *(crossings(repeated_groups(facts.related), facts, "group-leak") if facts.related is not None else []),
        *byte_copies(members),
        *_class_sizes(facts),
        *_name_twins(facts.images),
    ]
    if facts.twins is not None:
        findings += near_copies(facts, facts.twins)
    images = facts.images
    return [
        *findings,
        *(Finding("left-out", "warning", 1, note, "check whether this is right", [Example()]) for note in images.notes),
        *(Finding("reading", "note", 1, remark, "this is how DATA was read", [Example()]) for remark in images.remarks),
    ]


def _unreadable(facts: DataFacts) -> list[Finding]:
    bad = facts.unreadable
    if not bad:
        return []
    title = f"{count(len(bad), 'image')} cannot be read and {agree(len(bad), 'is', 'are')} left out"
    examples = [Example((index,), reason) for index, reason in bad.items()]
    return [
        Finding("unreadable", "error", len(bad), title, "catseye check DATA says what is wrong with each", examples)
    ]


def _class_twins(images: ImageSet) -> list[Finding]:
    """Classes that are most likely one: Cat and cat; 1 and 1.0; a_b and a b."""
    by_folded: dict[str, list[str]] = defaultdict(list)
    by_spelling: dict[str, list[str]] = defaultdict(list)
    for name in images.classes:
        folded = "".join(unicodedata.normalize("NFKC", name).casefold().split())
        by_folded[folded].append(name)
        by_spelling[_plain_spelling(folded)].append(folded)
    twins = [names for names in by_folded.values() if len(names) > 1]
    spellings = [sorted(name for each in set(group) for name in by_folded[each])
                 for group in by_spelling.values() if len(set(group)) > 1]  # fmt: skip
    letters = all(len(name) == 1 for names in twins for name in names)  # a and A may well be two classes
    case = "by case or white space: the same folder on Windows and macOS"
    form = "by the form of a number, or by _ or - instead of a space"
    return [
        *_one_class("class-twins", "warning" if letters else "error", twins, case),
        *_one_class("class-spellings", "warning", spellings, form),
    ]


def _one_class(rule: str, severity: Severity, groups: list[list[str]], difference: str) -> list[Finding]:
    """Groups of classes that differ only in their names; nothing for no groups."""
    if not groups:
        return []
    return [
        Finding(
            rule,
            severity,
            len(groups),
            f"{count(len(groups), 'pair')} of classes {agree(len(groups), 'differs', 'differ')} only {difference}",
            "rename the folders or labels so that one class has one name",
            [Example((), " and ".join(map(repr, names))) for names in groups],
        )
    ]


def _plain_spelling(name: str) -> str:
    """A folded name without separators; a number in its plainest form.

    >>> _plain_spelling("tabby_cat"), _plain_spelling("01"), _plain_spelling("1.0"), _plain_spelling("c-")
    ('tabbycat', '1', '1', 'c-')
    """
    if re.fullmatch(r"\d+(\.\d*)?", name):
        whole, _, fraction = name.partition(".")
        return f"{whole.lstrip('0') or '0'}.{fraction.rstrip('0')}".rstrip(".")
    return re.sub(r"(?<=[^\W\d_])[-_]+(?=[^\W\d_])", "", name)


def _name_twins(images: ImageSet) -> list[Finding]:
    """File names that differ only by case: the same file on Windows and macOS."""
    classes: dict[str, str] = {}
    if any(classes.setdefault(name.casefold(), name) != name for name in images.classes):
        return []  # then the files in them collide too, which class-twins reports
    first: dict[str, int] = {}
    pairs = [(index, twin) for index, name in enumerate(images.names)
             if (twin := first.setdefault(name.casefold(), index)) != index and images.names[twin] != name]  # fmt: skip
    if not pairs:
        return []
    return [
        Finding(
            "name-twins",
            "warning",
            len(pairs),
            f"{count(len(pairs), 'file name')} {agree(len(pairs), 'differs', 'differ')} from another one only by case: "
            "on Windows and macOS, one of the two is lost",
            "rename them",
            [Example(pair) for pair in pairs],
        )
    ]


def _missing_classes(facts: DataFacts) -> list[Finding]:
    images, findings = facts.images, []
    if len(images.classes) < 2:
        only = f"there is only one class ({images.classes[0]!r})"
        findings.append(
            Finding(
                "one-class",
                "error",
                1,
                only,
                "add a folder or label for another class",
                stops="a classifier needs two or more classes",
            )
        )
    if (without := np.flatnonzero(count_training(facts) == 0)).size:
        findings.append(
            Finding(
                "class-without-images",
                "error",
                len(without),
                f"{count(len(without), 'class')} {agree(len(without), 'has', 'have')} no readable training image",
                "add images, or remove the class",
                [Example((), images.classes[k]) for k in without],
                stops="every class needs training images",
            )
        )
    for side in (VAL, TEST):
        there = facts.readable & (facts.sides == side)
        counts = np.bincount(images.labels[there], minlength=len(images.classes))
        if there.any() and (without := np.flatnonzero(counts == 0)).size:
            label = SPLIT_LABELS[side]
            findings.append(
                Finding(
                    f"class-missing-in-{label}",
                    "warning",
                    len(without),
                    f"{count(len(without), 'class')} {agree(len(without), 'has', 'have')} no {label} image, "
                    f"so {agree(len(without), 'its', 'their')} {label} score means nothing",
                    f"move some images of each into {label}",
                    [Example((), images.classes[k]) for k in without],
                )
            )
    return findings


def _nothing_to_hold_out(facts: DataFacts) -> list[Finding]:
    """Data that cannot be split: no class has an image to hold out."""
    images, sides = facts.images, facts.sides
    if ((sides == VAL) | (sides == TEST)).any() or not facts.readable.any():
        return []
    groups = keep_together(facts.equal, facts.related, facts.twins.pairs if facts.twins else None)
    _, first = np.unique(groups[facts.readable], return_index=True)
    num_groups = np.bincount(images.labels[facts.readable][first], minlength=len(images.classes))
    if num_groups.max() >= 2:
        return []
    counts = np.bincount(images.labels[facts.readable], minlength=len(images.classes))
    largest = int(counts.argmax())
    copies = ", copies of each other or of one group" if counts[largest] > 1 else ""
    return [
        Finding(
            "nothing-to-hold-out",
            "error",
            1,
            f"no class has enough images to hold one out: the largest, {images.classes[largest]!r}, has "
            f"{count(int(counts[largest]), 'image')}{copies}",
            "add images until at least one class has 2 images that are not copies; better are 10 of every class",
            stops="a score needs images that were not used for training",
        )
    ]


def count_training(facts: DataFacts) -> NDArray[np.int64]:
    """Training images per class, (K,); before a split all readable images."""
    training = facts.readable & ((facts.sides == TRAIN) if facts.split else np.ones(len(facts.sides), bool))
    return np.bincount(facts.images.labels[training], minlength=len(facts.images.classes)).astype(np.int64)


def _class_sizes(facts: DataFacts) -> list[Finding]:
    """Classes with few images, or far fewer than others."""
    classes, counts, findings = facts.images.classes, count_training(facts), []
    present = counts[counts > 0]
    few = np.flatnonzero((counts > 0) & (counts < FEW))
    if len(few):
        findings.append(
            Finding(
                "few-images",
                "warning",
                len(few),
                f"{count(len(few), 'class')} {agree(len(few), 'has', 'have')} fewer than {FEW} training images",
                "add images, or merge classes; with few images, use --pretrained",
                [Example((), f"{classes[k]}: {counts[k]}") for k in few[np.argsort(counts[few], kind="stable")]],
            )
        )
    ratio = present.max() / present.min() if len(present) else 1.0
    if ratio > UNEVEN:
        most, least = int(counts.argmax()), int(np.where(counts > 0, counts, counts.max() + 1).argmin())
        findings.append(
            Finding(
                "imbalance",
                "warning" if ratio > VERY_UNEVEN else "note",
                1,
                f"the most frequent class has {ratio:.1f} times as many images as the rarest",
                "use --set training.class_weights=balanced, and look at macro F1 beside the accuracy",
                [Example((), f"{classes[k]}: {counts[k]:,}") for k in (most, least)],
            )
        )
    return findings
