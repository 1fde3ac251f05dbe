"""Rules on images that show the same: with two labels, in two splits, or twice.

Enters: `DataFacts` and its groups. Leaves: findings. Called by `rules.py`.
"""

from collections.abc import Sequence

import numpy as np

from catseye.counting import agree, count
from catseye.data.check.data_facts import DataFacts, repeated_groups
from catseye.data.check.duplicates import Twins
from catseye.data.check.findings import Example, Finding, Severity
from catseye.data.sources import SPLIT_LABELS, TEST, TRAIN, VAL, ImageSet

_CROSSINGS = ((TEST, TRAIN), (VAL, TRAIN), (TEST, VAL))


def two_labels(members: list[list[int]], facts: DataFacts) -> list[Finding]:
    """Equal images with different labels."""
    labels = facts.images.labels
    conflicts = [group for group in members if len(set(labels[group].tolist())) > 1]
    if not conflicts:
        return []
    total = sum(map(len, conflicts))

    def conflict(group: list[int]) -> tuple[int, int]:
        return group[0], next(index for index in group if labels[index] != labels[group[0]])

    return [
        Finding(
            "two-labels",
            "error",
            total,
            f"{count(total, 'equal image')} have different labels",
            "decide which label is right and remove the other copies",
            [Example(conflict(group), _labels_of(group, facts.images)) for group in conflicts],
        )
    ]


def byte_copies(members: list[list[int]]) -> list[Finding]:
    """Images that repeat another one byte for byte."""
    repeats = sum(len(group) - 1 for group in members)
    if not repeats:
        return []
    return [
        Finding(
            "duplicates",
            "note",
            repeats,
            f"{count(repeats, 'image')} {agree(repeats, 'repeats', 'repeat')} another one byte for byte",
            "remove the copies; catseye keeps them together when it splits",
            [Example(tuple(group[:2]), f"{len(group)} copies") for group in members],
        )
    ]


def crossings(members: list[list[int]], facts: DataFacts, rule: str) -> list[Finding]:
    """Equal images, or groups of images, in two splits."""
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
        advice = f"remove {'equal images' if rule == 'leak' else 'their group'} from one split: the {here} score "
        findings.append(
            Finding(
                f"{rule}-{here}-{there}",
                "error" if seen == TRAIN else "warning",
                num,
                f"{num:,} of {count(int((sides == side).sum()), f'{here} image')} {are} also in {there}",
                f"{advice}is too optimistic" + ("; or use --set data.allow_leaks=true" if stops else ""),
                examples,
                stops=f"a score needs {here} images that were not used for training" if stops else "",
            )
        )
    return findings


def near_copies(facts: DataFacts, twins: Twins) -> list[Finding]:
    """Near duplicates; `twins` are pairs of the first images of groups of equal ones."""
    labels, sides = facts.images.labels, facts.sides
    copies = {group[0]: group for group in repeated_groups(facts.equal)}
    across: dict[tuple[int, int], dict[int, Example]] = {crossing: {} for crossing in _CROSSINGS}
    conflicts: list[Example] = []
    inside: list[Example] = []
    order = np.argsort(-twins.correlations, kind="stable")
    for number in order.tolist():
        first, second = twins.pairs[number].tolist()
        note = f"similarity {twins.correlations[number]:.3f}" + (", mirrored" if twins.mirrored[number] else "")
        if labels[first] != labels[second]:
            conflicts.append(Example((first, second), f"{_labels_of([first, second], facts.images)}; {note}"))
        crossed = False
        for a in copies.get(first, [first]):
            for b in copies.get(second, [second]):
                for held, seen in ((a, b), (b, a)):
                    if (known := across.get((int(sides[held]), int(sides[seen])))) is not None:
                        crossed = True
                        known.setdefault(held, Example((held, seen), note))
        if not crossed:
            inside.append(Example((first, second)))
    findings = [
        Finding(
            f"near-leak-{SPLIT_LABELS[side]}-{SPLIT_LABELS[seen]}",
            "warning",
            len(cases),
            f"{count(len(cases), f'{SPLIT_LABELS[side]} image')} {agree(len(cases), 'has', 'have')} a near duplicate "
            f"in {SPLIT_LABELS[seen]}",
            "the score may be too optimistic; look at the pairs and remove one image of each",
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
                f"{count(len(conflicts), 'pair')} of near duplicates {agree(len(conflicts), 'has', 'have')} different "
                "labels",
                "look at each pair: one of the labels is probably wrong",
                conflicts,
            )
        )
    return findings + _near_inside(inside, facts.split)


def _near_inside(pairs: list[Example], split: bool) -> list[Finding]:
    """Near duplicates within a split, or in data without splits."""
    num = len({index for pair in pairs for index in pair.images})
    if not num:
        return []
    title = f"{count(num, 'image')} {agree(num, 'is a near duplicate', 'are near duplicates')} of another one"
    advice = "remove the copies" if split else "remove the copies, or use data.group_by to keep images together"
    severity: Severity = "note" if split else "warning"
    place = " in the same split" if split else "; a random split would separate them, that of catseye train does not"
    return [Finding("near-duplicates", severity, num, title + place, advice, pairs)]


def _labels_of(group: Sequence[int], images: ImageSet) -> str:
    return " and ".join(images.classes[label] for label in dict.fromkeys(images.labels[list(group)].tolist()))
