"""The queue of questions, the most valuable first, each with its reason.

Enters: `Material`, perhaps a run's mistakes. Leaves: `Item`s. Called by desk.py. An image is in the queue once, for its
first reason.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from catseye.counting import count
from catseye.data.check.findings import printable
from catseye.data.sources import SPLIT_LABELS
from catseye.data.sources.missing_labels import NO_LABEL
from catseye.embedding.neighbours import NUM_NEIGHBOURS, find_neighbours
from catseye.evaluation.label_errors import find_doubted
from catseye.review.material import Material

TITLES = {
    "suspect": "suspected labels",
    "two-labels": "one image under two labels",
    "leak": "leaks between splits",
    "outlier": "unlike their class",
    "odd": "blank, broken and odd images",
    "mistake": "the model's most confident mistakes",
    "unlabelled": "images without a label",
}
MAX_ITEMS = 500  # of one kind; the worst come first
MAX_OUTLIERS = 0.02  # of the images
FAR = 4.0  # robust standard deviations
_ODD_RULES = {"blank", "empty", "missing", "cut-off", "no-image", "pointer", "unsupported", "too-large", "few-colours"}


@dataclass(frozen=True)
class Item:
    """One question, about the first of `images`; `likely` is a class, or empty.

    A pair has two `images`, shown side by side. A decision applies to all images in `covers`: copies of one another.
    """

    kind: str
    images: tuple[int, ...]
    covers: tuple[int, ...]
    reason: str
    likely: str = ""


@dataclass(frozen=True)
class Mistake:
    """A held-out image, and the run's answer."""

    index: int
    answer: str
    confidence: float


def make_queue(material: Material, mistakes: Sequence[Mistake] = ()) -> list[Item]:
    """All questions, the most valuable kind first."""
    seen: set[int] = set()
    queue: list[Item] = []
    two = {int(material.groups[index]) for item in _pair_items(material, "two-labels") for index in item.images}
    makers = (
        _suspects(material, two),
        _pair_items(material, "two-labels"),
        _pair_items(material, "leak"),
        _outliers(material),
        _odd(material),
        _mistakes(material, mistakes),
        _unlabelled(material),
    )
    for items in makers:
        num = 0
        for item in items:
            group = int(material.groups[item.images[0]])
            if group in seen or num >= MAX_ITEMS:
                continue
            seen.add(group)
            num += 1
            queue.append(item)
    return queue


def _copies(material: Material, index: int) -> tuple[int, ...]:
    others = np.flatnonzero(material.groups == material.groups[index]).tolist()
    return (index, *(other for other in others if other != index))


def _suspects(material: Material, elsewhere: set[int]) -> Iterator[Item]:
    """Labels that are contradicted by a head that has not seen the image."""
    classes = material.images.classes
    known = (material.images.labels != NO_LABEL) & ~np.isnan(material.probabilities).any(1)
    rows = np.flatnonzero(known) if len(classes) else np.empty(0, np.int64)
    if not len(rows):
        return
    answers, labels = material.probabilities[rows], material.images.labels[rows]
    for suspect in find_doubted(answers, labels):
        index = int(rows[suspect.row])
        own = answers[suspect.row, suspect.label]
        if own == 0 or int(material.groups[index]) in elsewhere:  # no other image of its class, or in a pair
            continue
        share = answers[suspect.row, suspect.likely]
        yield Item(
            "suspect",
            (index,),
            _copies(material, index),
            f"a model that has not seen this image answers {classes[suspect.likely]} ({share:.0%}); its label, "
            f"{classes[suspect.label]}, gets {own:.0%}",
            classes[suspect.likely],
        )


def _pair_items(material: Material, kind: str) -> Iterator[Item]:
    """The same image, or nearly the same, with two labels or in two splits."""
    labels, classes, sides = material.images.labels, material.images.classes, material.images.splits
    for finding in material.findings:
        conflict = finding.rule in ("two-labels", "near-two-labels")
        crossing = "leak-" in finding.rule
        if not (conflict if kind == "two-labels" else crossing):
            continue
        how = "nearly the same image" if finding.rule.startswith("near") else "the same image"
        for example in finding.examples:
            if len(example.images) != 2:
                continue
            first, second = example.images
            if kind == "two-labels":
                reason = f"{how} is labelled both {classes[labels[first]]} and {classes[labels[second]]}"
                covers = tuple(dict.fromkeys((*_copies(material, first), second)))
                yield Item(kind, (first, second), covers, reason, classes[labels[second]])
            else:
                here, there = (SPLIT_LABELS[sides[index]] for index in (first, second))
                reason = f"{how} is in {here} and in {there}: a score on it is too good"
                yield Item(kind, (first, second), (first,), reason)


def _outliers(material: Material) -> Iterator[Item]:
    """Images far from all others, by the distance to their nearest neighbours."""
    there = np.flatnonzero((material.row >= 0) & (material.images.labels != NO_LABEL))
    if len(there) < 4 * NUM_NEIGHBOURS:
        return
    features = np.asarray(material.features[material.row[there]])
    _, first = np.unique(material.groups[there], return_index=True)
    near = find_neighbours(features[first], features, NUM_NEIGHBOURS + 1)
    closeness = near.cosines[:, 1:].mean(1)
    middle = float(np.median(closeness))
    spread = 1.4826 * float(np.median(np.abs(closeness - middle))) or 1.0
    far = (middle - closeness) / spread
    for place in np.argsort(-far, kind="stable")[: max(1, int(MAX_OUTLIERS * len(there)))].tolist():
        if far[place] < FAR:
            return
        index = int(there[place])
        label = material.images.classes[material.images.labels[index]]
        reason = f"no other image is similar: even the nearest ones are unusually far for {label}"
        yield Item("outlier", (index,), _copies(material, index), reason)


def _odd(material: Material) -> Iterator[Item]:
    for finding in material.findings:
        if finding.rule in _ODD_RULES:
            for example in finding.examples:
                if example.images:
                    note = printable(example.note) if example.note else finding.title
                    index = example.images[0]
                    yield Item("odd", (index,), _copies(material, index), f"{finding.rule.replace('-', ' ')}: {note}")


def _mistakes(material: Material, mistakes: Sequence[Mistake]) -> Iterator[Item]:
    for mistake in sorted(mistakes, key=lambda each: -each.confidence):
        label = material.images.classes[material.images.labels[mistake.index]]
        reason = f"the run answers {mistake.answer} ({mistake.confidence:.0%}); the label is {label}"
        yield Item("mistake", (mistake.index,), _copies(material, mistake.index), reason, mistake.answer)


def _unlabelled(material: Material) -> Iterator[Item]:
    """Images without a label, the least certain first: their labels help most."""
    classes = material.images.classes
    rows = np.flatnonzero((material.images.labels == NO_LABEL) & (material.row >= 0))
    sure = np.nan_to_num(material.probabilities[rows].max(1), nan=0.0) if len(classes) else np.zeros(len(rows))
    for index in rows[np.argsort(sure, kind="stable")].tolist():
        shares = material.probabilities[index]
        if np.isnan(shares).any():
            yield Item("unlabelled", (index,), _copies(material, index), "it has no label in DATA: what is it?")
            continue
        best = int(shares.argmax())
        reason = f"it has no label in DATA; a model trained on the others answers {classes[best]} ({shares[best]:.0%})"
        yield Item("unlabelled", (index,), _copies(material, index), reason, classes[best])


def count_kinds(queue: Sequence[Item]) -> str:
    """The queue in words: how many of each kind."""
    parts = [f"{num:,} {TITLES[kind]}" for kind in TITLES if (num := sum(item.kind == kind for item in queue))]
    return f"{count(len(queue), 'question')}: {', '.join(parts)}" if parts else "no questions"
