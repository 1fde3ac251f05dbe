"""Rules about classes, labels, duplicates and sides: what can be known without looking at pixels.

Enters: labels, sides and groups of equal or related images, as arrays. Leaves: findings, and an error where a score
would be worth nothing. Called by `check.py` (whole check) and `prepare.py` (the fast part, in `catseye train`).
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from catseye.data.duplicates import Twins
from catseye.data.findings import Example, Finding, Severity
from catseye.data.sources import SPLIT_LABELS, TEST, TRAIN, VAL, ImageSet
from catseye.errors import DataError, UsageError

Groups = NDArray[np.int64]  # (N,) images of one group share a number
Sides = NDArray[np.int8]  # (N,) TRAIN, VAL, TEST or NOT_SPLIT

FEW = 10  # training images of a class
UNEVEN, VERY_UNEVEN = 3, 10  # commonest class / rarest class
_CROSSINGS = ((TEST, TRAIN), (VAL, TRAIN), (TEST, VAL))


def group_by_name(names: Sequence[str], pattern: str) -> Groups:
    r"""Images whose file names give the same first group of `pattern` (or the same match) share a number.

    Folders do not count; names that do not match stand alone.

    Raises:
        UsageError: it is no regular expression. DataError: it matches no name.

    >>> group_by_name(["a/7_left.png", "b/7_right.png", "b/8.png"], r"^(\d+)_").tolist()
    [0, 0, 2]

    """
    groups = np.arange(len(names), dtype=np.int64)
    if not pattern:
        return groups
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"group_by is a regular expression on file names; {pattern!r} is none ({error}); "
            "for example ^(.*)_aug keeps what stands before _aug together"
        ) from None
    first: dict[str, int] = {}
    matched = 0
    for index, name in enumerate(names):
        if match := compiled.search(PurePosixPath(name).name):
            key = match.group(1) if compiled.groups else match.group()
            if key is not None:
                groups[index] = first.setdefault(key, index)
                matched += 1
    if not matched:
        raise DataError(
            f"group_by {pattern!r} matches none of {len(names):,} file names, e.g. {PurePosixPath(names[0]).name!r}; "
            "it is searched for in the name without its folders"
        )
    return groups


def class_findings(images: ImageSet, readable: NDArray[np.bool_], sides: Sides) -> list[Finding]:
    """Twins by name, classes that are missing somewhere, few or far fewer than others."""
    findings = []
    by_folded: dict[str, list[str]] = defaultdict(list)
    for name in images.classes:
        by_folded["".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    twins = [names for names in by_folded.values() if len(names) > 1]
    if twins:
        letters = all(len(name) == 1 for names in twins for name in names)  # a and A may well be two classes
        findings.append(
            Finding(
                "class-twins",
                "warning" if letters else "error",
                len(twins),
                f"{len(twins)} times, classes differ by case or white space only",
                "rename the folders or labels so that one class has one name",
                [Example((), " and ".join(map(repr, names))) for names in twins],
            )
        )
    if len(images.classes) < 2:
        findings.append(
            Finding("one-class", "error", 1, "there is one class only", "a classifier needs two or more classes")
        )
    num_classes = len(images.classes)
    split = bool((sides >= 0).any())
    training = readable & ((sides == TRAIN) if split else np.ones(len(sides), bool))
    counts = np.bincount(images.labels[training], minlength=num_classes)
    findings += _missing_classes(images, readable, sides, counts)
    present = counts[counts > 0]
    few = np.flatnonzero((counts > 0) & (counts < FEW))
    if len(few):
        findings.append(
            Finding(
                "few-images",
                "warning",
                len(few),
                f"{len(few)} classes have fewer than {FEW} images to learn from",
                "add images, or join classes; with few, use --pretrained",
                [Example((), f"{images.classes[k]}: {counts[k]}") for k in few[np.argsort(counts[few])]],
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
                f"the commonest class has {ratio:.1f} times as many images as the rarest",
                "--set training.class_weights=balanced, and read macro F1 beside the accuracy",
                [Example((), f"{images.classes[k]}: {counts[k]:,}") for k in (most, least)],
            )
        )
    return findings


def _missing_classes(
    images: ImageSet, readable: NDArray[np.bool_], sides: Sides, training: NDArray[np.int64]
) -> list[Finding]:
    findings = []
    if (without := np.flatnonzero(training == 0)).size:
        findings.append(
            Finding(
                "class-without-images",
                "error",
                len(without),
                f"{len(without)} classes have no readable training image",
                "add images, or remove the class",
                [Example((), images.classes[k]) for k in without],
            )
        )
    for side in (VAL, TEST):
        there = readable & (sides == side)
        counts = np.bincount(images.labels[there], minlength=len(images.classes))
        if there.any() and (without := np.flatnonzero(counts == 0)).size:
            findings.append(
                Finding(
                    f"class-missing-in-{SPLIT_LABELS[side]}",
                    "warning",
                    len(without),
                    f"{len(without)} classes have no {SPLIT_LABELS[side]} image: their score there says nothing",
                    f"move some images of each into {SPLIT_LABELS[side]}",
                    [Example((), images.classes[k]) for k in without],
                )
            )
    return findings


def duplicate_findings(
    labels: NDArray[np.int64], sides: Sides, groups: Groups, classes: Sequence[str]
) -> list[Finding]:
    """Images of equal content: repeated, under two labels, on two sides."""
    members = _members(groups)
    findings = []
    conflicts = [group for group in members if len(set(labels[group].tolist())) > 1]
    if conflicts:
        count = sum(map(len, conflicts))
        findings.append(
            Finding(
                "two-labels",
                "error",
                count,
                f"{count} equal images stand under two labels",
                "decide which label is right and remove the other copy",
                [Example(_two_labels(group, labels), _labels_of(group, labels, classes)) for group in conflicts],
            )
        )
    findings += _crossings(members, sides, "leak", "equal images", "error")
    repeats = sum(len(group) - 1 for group in members)
    if repeats:
        findings.append(
            Finding(
                "duplicates",
                "note",
                repeats,
                f"{repeats:,} images repeat another one",
                "remove the copies; a split made by catseye keeps them on one side",
                [Example(tuple(group[:2]), f"{len(group)} copies") for group in members],
            )
        )
    return findings


def group_findings(sides: Sides, groups: Groups) -> list[Finding]:
    """Groups of names that a given split tore apart."""
    return _crossings(_members(groups), sides, "group-leak", "their group", "error")


def twin_findings(
    labels: NDArray[np.int64], sides: Sides, groups: Groups, twins: Twins, classes: Sequence[str]
) -> list[Finding]:
    """Images that nearly are another one. `twins` are pairs of first images of their group of equal ones."""
    copies = {group[0]: group for group in _members(groups)}
    across: dict[tuple[int, int], dict[int, Example]] = {crossing: {} for crossing in _CROSSINGS}
    conflicts: list[Example] = []
    inside: set[int] = set()
    order = np.argsort(-twins.correlations, kind="stable")
    for number in order.tolist():
        one, other = twins.pairs[number].tolist()
        note = f"alike {twins.correlations[number]:.3f}" + (", mirrored" if twins.mirrored[number] else "")
        if labels[one] != labels[other]:
            conflicts.append(Example((one, other), f"{_labels_of([one, other], labels, classes)}; {note}"))
        crossed = False
        for a in copies.get(one, [one]):
            for b in copies.get(other, [other]):
                for held, seen in ((a, b), (b, a)):
                    if (known := across.get((int(sides[held]), int(sides[seen])))) is not None:
                        crossed = True
                        known.setdefault(held, Example((held, seen), note))
        if not crossed:
            inside.update((one, other))
    findings = []
    for (side, seen), cases in across.items():
        if cases:
            findings.append(
                Finding(
                    f"near-leak-{SPLIT_LABELS[side]}-{SPLIT_LABELS[seen]}",
                    "warning",
                    len(cases),
                    f"{len(cases):,} {SPLIT_LABELS[side]} images have a near duplicate in {SPLIT_LABELS[seen]}",
                    "the score leans to the good side; look at the pairs and remove one of each",
                    list(cases.values()),
                )
            )
    if conflicts:
        findings.append(
            Finding(
                "near-two-labels",
                "warning",
                len(conflicts),
                f"{len(conflicts):,} pairs of near duplicates stand under two labels",
                "look at each pair: one of the labels is probably wrong",
                conflicts,
            )
        )
    if inside:
        split = bool((sides >= 0).any())
        pairs = [pair for pair in twins.pairs[order].tolist() if inside.issuperset(pair)]
        findings.append(
            Finding(
                "near-duplicates",
                "note" if split else "warning",
                len(inside),
                f"{len(inside):,} images are near duplicates of another one"
                + (" of their own side" if split else "; a random split would part them"),
                "remove the copies" if split else "remove the copies, or name what belongs together with data.group_by",
                [Example(tuple(pair)) for pair in pairs],
            )
        )
    return findings


def refuse_leak(images: ImageSet, sides: Sides, groups: Groups, related: Groups) -> None:
    """Stop where the score to be reported (test, or validation where there is no test) would be on leaked images.

    Raises:
        DataError: an image of that side also stands in train, or belongs to a group that stands there.

    """
    side = TEST if (sides == TEST).any() else VAL
    for key, rule in ((groups, "are also in train"), (related, "belong to a group that is also in train")):
        held, seen = np.flatnonzero(sides == side), np.flatnonzero(sides == TRAIN)
        leaked = held[np.isin(key[held], key[seen])]
        if len(leaked):
            twin = seen[key[seen] == key[leaked[0]]][0]
            raise DataError(
                f"a score needs {SPLIT_LABELS[side]} images that did not train; {len(leaked):,} of {len(held):,} "
                f"{rule}, e.g. {images.names[leaked[0]]} = {images.names[twin]}; "
                "`catseye check DATA` lists them; remove them, or say --set data.allow_leaks=true"
            )


def _members(groups: Groups) -> list[list[int]]:
    """The groups of two and more, each in ascending order."""
    found: dict[int, list[int]] = defaultdict(list)
    repeated = np.flatnonzero(np.bincount(groups)[groups] > 1) if len(groups) else np.empty(0, np.int64)
    for index in repeated.tolist():
        found[int(groups[index])].append(index)
    return list(found.values())


def _crossings(members: list[list[int]], sides: Sides, rule: str, what: str, severity: Severity) -> list[Finding]:
    findings = []
    for side, seen in _CROSSINGS:
        examples = []
        for group in members:
            held = [index for index in group if sides[index] == side]
            known = [index for index in group if sides[index] == seen]
            if held and known:
                examples += [Example((index, known[0])) for index in held]
        if examples:
            here, there = SPLIT_LABELS[side], SPLIT_LABELS[seen]
            title = f"{len(examples):,} {here} images are also in {there}"
            if rule != "leak":
                title = f"{len(examples):,} {here} images belong to a group that is also in {there}"
            findings.append(
                Finding(
                    f"{rule}-{here}-{there}",
                    severity if seen == TRAIN else "warning",
                    len(examples),
                    title,
                    f"remove {what} from one side; the score of {here} says too much",
                    examples,
                )
            )
    return findings


def _labels_of(group: Sequence[int], labels: NDArray[np.int64], classes: Sequence[str]) -> str:
    return " and ".join(classes[label] for label in dict.fromkeys(labels[list(group)].tolist()))


def _two_labels(group: Sequence[int], labels: NDArray[np.int64]) -> tuple[int, int]:
    """The first image of a group, and the first that has another label."""
    return group[0], next(index for index in group if labels[index] != labels[group[0]])
