"""Rules about classes, labels, equal and near images and sides. Each is judged here and nowhere else.

Enters: `DataFacts`. Leaves: findings; one with `stops` is a reason for which training refuses. Called by
`check.py` (the whole check) and `data/prepare.py` (in `catseye train`), so that both tell the same.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from catseye.counting import agree, count
from catseye.data.check.duplicates import Twins
from catseye.data.check.findings import Example, Finding, Severity
from catseye.data.groups import Groups, keep_together
from catseye.data.sources import SPLIT_LABELS, TEST, TRAIN, VAL, ImageSet

Sides = NDArray[np.int8]  # (N,) TRAIN, VAL, TEST or NOT_SPLIT

FEW = 10  # training images of a class
UNEVEN, VERY_UNEVEN = 3, 10  # commonest class / rarest class
_CROSSINGS = ((TEST, TRAIN), (VAL, TRAIN), (TEST, VAL))


@dataclass(frozen=True)
class DataFacts:
    """What is known when the rules are asked.

    Shape: sides, equal and related have N values. `sides` of unreadable images are NOT_SPLIT; before a split all are.
    `equal` are groups of images of equal content, `related` those that a name rule keeps together. `twins` are None
    where no near duplicates were looked for. `unreadable` is number -> reason, where no rule of its own tells them.
    """

    images: ImageSet
    readable: NDArray[np.bool_]
    sides: Sides
    equal: Groups
    related: Groups | None = None
    twins: Twins | None = None
    unreadable: Mapping[int, str] = field(default_factory=dict)
    allow_leaks: bool = False

    @property
    def split(self) -> bool:
        """Whether the images have sides."""
        return bool((self.sides >= 0).any())

    @property
    def scored(self) -> int:
        """The side that a training reports: test, or validation where there is no test."""
        return TEST if (self.sides == TEST).any() else VAL


def find_faults(facts: DataFacts) -> list[Finding]:
    """Ask every rule that needs no pixels."""
    members = gather(facts.equal)
    findings = [
        *_unreadable(facts),
        *_class_twins(facts.images),
        *_missing_classes(facts),
        *_nothing_to_hold_out(facts),
        *_two_labels(members, facts),
        *_crossings(members, facts, "leak"),
        *(_crossings(gather(facts.related), facts, "group-leak") if facts.related is not None else []),
        *_byte_copies(members),
        *_class_sizes(facts),
        *_name_twins(facts.images),
    ]
    if facts.twins is not None:
        findings += _near(facts, facts.twins)
    images = facts.images
    return [
        *findings,
        *(Finding("left-out", "warning", 1, note, "look whether this is right", [Example()]) for note in images.notes),
        *(Finding("reading", "note", 1, said, "this is how DATA was read", [Example()]) for said in images.remarks),
    ]


def gather(groups: Groups) -> list[list[int]]:
    """The groups of two and more, each in ascending order."""
    found: dict[int, list[int]] = defaultdict(list)
    repeated = np.flatnonzero(np.bincount(groups)[groups] > 1) if len(groups) else np.empty(0, np.int64)
    for index in repeated.tolist():
        found[int(groups[index])].append(index)
    return list(found.values())


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
    by_folded: dict[str, list[str]] = defaultdict(list)
    for name in images.classes:
        by_folded["".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    twins = [names for names in by_folded.values() if len(names) > 1]
    if not twins:
        return []
    letters = all(len(name) == 1 for names in twins for name in names)  # a and A may well be two classes
    return [
        Finding(
            "class-twins",
            "warning" if letters else "error",
            len(twins),
            f"{count(len(twins), 'pair')} of classes {agree(len(twins), 'differs', 'differ')} by case or white space "
            "only: one folder on Windows and macOS",
            "rename the folders or labels so that one class has one name",
            [Example((), " and ".join(map(repr, names))) for names in twins],
        )
    ]


def _name_twins(images: ImageSet) -> list[Finding]:
    """File names that are two here and one where a file system does not tell upper from lower case."""
    classes: dict[str, str] = {}
    if any(classes.setdefault(name.casefold(), name) != name for name in images.classes):
        return []  # then the files in them collide too, and the classes are told already
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
            f"{count(len(pairs), 'file name')} {agree(len(pairs), 'differs', 'differ')} from another one by case only: "
            "on Windows and macOS one of the two is lost",
            "rename them",
            [Example(pair) for pair in pairs],
        )
    ]


def _missing_classes(facts: DataFacts) -> list[Finding]:
    images, findings = facts.images, []
    if len(images.classes) < 2:
        only = f"there is one class only ({images.classes[0]!r})"
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
                stops="every class needs images to learn from",
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
                    f"{count(len(without), 'class')} {agree(len(without), 'has', 'have')} no {label} image: "
                    f"{agree(len(without), 'its', 'their')} score there says nothing",
                    f"move some images of each into {label}",
                    [Example((), images.classes[k]) for k in without],
                )
            )
    return findings


def _nothing_to_hold_out(facts: DataFacts) -> list[Finding]:
    """Data without held-out images, of which no split could take any: a class must keep one to learn from."""
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
            "give at least one class 2 images that are no copies of each other, better 10 of every class",
            stops="a score needs images that did not train",
        )
    ]


def count_training(facts: DataFacts) -> NDArray[np.int64]:
    """Images to learn from per class, (K,): of the training side, or all where nothing is split yet."""
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
                f"{count(len(few), 'class')} {agree(len(few), 'has', 'have')} fewer than {FEW} images to learn from",
                "add images, or join classes; with few, use --pretrained",
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
                f"the commonest class has {ratio:.1f} times as many images as the rarest",
                "--set training.class_weights=balanced, and read macro F1 beside the accuracy",
                [Example((), f"{classes[k]}: {counts[k]:,}") for k in (most, least)],
            )
        )
    return findings


def _two_labels(members: list[list[int]], facts: DataFacts) -> list[Finding]:
    labels = facts.images.labels
    conflicts = [group for group in members if len(set(labels[group].tolist())) > 1]
    if not conflicts:
        return []
    total = sum(map(len, conflicts))

    def two(group: list[int]) -> tuple[int, int]:
        return group[0], next(index for index in group if labels[index] != labels[group[0]])

    return [
        Finding(
            "two-labels",
            "error",
            total,
            f"{count(total, 'equal image')} stand under two labels",
            "decide which label is right and remove the other copy",
            [Example(two(group), _labels_of(group, facts.images)) for group in conflicts],
        )
    ]


def _byte_copies(members: list[list[int]]) -> list[Finding]:
    repeats = sum(len(group) - 1 for group in members)
    if not repeats:
        return []
    return [
        Finding(
            "duplicates",
            "note",
            repeats,
            f"{count(repeats, 'image')} {agree(repeats, 'repeats', 'repeat')} another one byte for byte",
            "remove the copies; a split made by catseye keeps them on one side",
            [Example(tuple(group[:2]), f"{len(group)} copies") for group in members],
        )
    ]


def _crossings(members: list[list[int]], facts: DataFacts, rule: str) -> list[Finding]:
    """Equal images, or groups of names, that stand on two sides."""
    sides, findings = facts.sides, []
    for side, seen in _CROSSINGS:
        examples = []
        for group in members:
            held = [index for index in group if sides[index] == side]
            known = [index for index in group if sides[index] == seen]
            if held and known:
                examples += [Example((index, known[0])) for index in held]
        if not examples:
            continue
        here, there, num = SPLIT_LABELS[side], SPLIT_LABELS[seen], len(examples)
        are = agree(num, "is", "are") if rule == "leak" else f"{agree(num, 'belongs', 'belong')} to a group that is"
        stops = seen == TRAIN and side == facts.scored and not facts.allow_leaks and not facts.images.published
        advice = f"remove {'equal images' if rule == 'leak' else 'their group'} from one side: the score of {here} "
        findings.append(
            Finding(
                f"{rule}-{here}-{there}",
                "error" if seen == TRAIN else "warning",
                num,
                f"{num:,} of {count(int((sides == side).sum()), f'{here} image')} {are} also in {there}",
                f"{advice}is too good" + ("; or say --set data.allow_leaks=true" if stops else ""),
                examples,
                stops=f"a score needs {here} images that did not train" if stops else "",
            )
        )
    return findings


def _near(facts: DataFacts, twins: Twins) -> list[Finding]:
    """Images that nearly are another one. `twins` are pairs of first images of their group of equal ones."""
    labels, sides = facts.images.labels, facts.sides
    copies = {group[0]: group for group in gather(facts.equal)}
    across: dict[tuple[int, int], dict[int, Example]] = {crossing: {} for crossing in _CROSSINGS}
    conflicts: list[Example] = []
    inside: list[Example] = []
    order = np.argsort(-twins.correlations, kind="stable")
    for number in order.tolist():
        one, other = twins.pairs[number].tolist()
        note = f"alike {twins.correlations[number]:.3f}" + (", mirrored" if twins.mirrored[number] else "")
        if labels[one] != labels[other]:
            conflicts.append(Example((one, other), f"{_labels_of([one, other], facts.images)}; {note}"))
        crossed = False
        for a in copies.get(one, [one]):
            for b in copies.get(other, [other]):
                for held, seen in ((a, b), (b, a)):
                    if (known := across.get((int(sides[held]), int(sides[seen])))) is not None:
                        crossed = True
                        known.setdefault(held, Example((held, seen), note))
        if not crossed:
            inside.append(Example((one, other)))
    findings = [
        Finding(
            f"near-leak-{SPLIT_LABELS[side]}-{SPLIT_LABELS[seen]}",
            "warning",
            len(cases),
            f"{count(len(cases), f'{SPLIT_LABELS[side]} image')} {agree(len(cases), 'has', 'have')} a near duplicate "
            f"in {SPLIT_LABELS[seen]}",
            "the score may be too good; look at the pairs and remove one of each",
            list(cases.values()),
        )
        for (side, seen), cases in across.items()
        if cases
    ]
    if conflicts:
        findings.append(
            Finding(
                "near-two-labels",
                "warning",
                len(conflicts),
                f"{count(len(conflicts), 'pair')} of near duplicates {agree(len(conflicts), 'stands', 'stand')} under "
                "two labels",
                "look at each pair: one of the labels is probably wrong",
                conflicts,
            )
        )
    return findings + _near_inside(inside, facts.split)


def _near_inside(pairs: list[Example], split: bool) -> list[Finding]:
    """Near duplicates of one side, or of data without sides."""
    num = len({index for pair in pairs for index in pair.images})
    if not num:
        return []
    title = f"{count(num, 'image')} {agree(num, 'is a near duplicate', 'are near duplicates')} of another one"
    advice = "remove the copies" if split else "remove the copies, or name what belongs together with data.group_by"
    severity: Severity = "note" if split else "warning"
    where = " of the same side" if split else "; a random split would part them, the one of train does not"
    return [Finding("near-duplicates", severity, num, title + where, advice, pairs)]


def _labels_of(group: Sequence[int], images: ImageSet) -> str:
    return " and ".join(images.classes[label] for label in dict.fromkeys(images.labels[list(group)].tolist()))
