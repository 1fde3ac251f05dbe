"""What is known about the images before the first question.

Enters: DATA or a run. Leaves: `Material`: copies, faults, features, probabilities. Called by command.py. Features are
stored beside the file of decisions, so that a second call starts at once.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catseye.data.channel_counts import with_channels
from catseye.data.check.check import equal_groups
from catseye.data.check.copies import LOSSY_FORMATS, Glances, find_copies
from catseye.data.check.data_facts import DataFacts
from catseye.data.check.findings import Finding
from catseye.data.check.image_rules import fault_findings, image_findings
from catseye.data.check.looks import Looks, look_at_all
from catseye.data.check.rules import find_faults
from catseye.data.groups import keep_together
from catseye.data.sources import NOT_SPLIT, SPLIT_LABELS, ImageSet, open_source
from catseye.data.sources.corrections import Standing
from catseye.data.sources.missing_labels import NO_LABEL, with_unlabelled
from catseye.embedding.backbone import Backbone
from catseye.embedding.embed import embed_what_is_new
from catseye.embedding.head import out_of_fold, train_head
from catseye.errors import UsageError
from catseye.runs import Run
from catseye.settings.schema import DataSettings

Say = Callable[[str], None]


@dataclass(frozen=True)
class Material:
    """Everything that the queue is made from.

    `groups` (N,): copies share a number. `row` (N,) is an image's row of `features` (M, F), -1 if it could not be read.
    `probabilities` (N, K) are out of fold, NaN if there are none.
    """

    images: ImageSet
    looks: Looks
    groups: NDArray[np.int64]
    findings: list[Finding]
    row: NDArray[np.int64]
    features: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    backbone: str


def list_data(source: str | Path, settings: DataSettings, data_dir: Path | None, run: Run | None) -> ImageSet:
    """The images with their labels in DATA and, for a run, with its splits."""
    plain = settings.model_copy(update={"corrections": ""})
    images = open_source(source, data_dir=data_dir, settings=plain)
    images = with_unlabelled(with_channels(images, plain))
    if run is None:
        return images
    sides = {name: number for number, side in enumerate(SPLIT_LABELS) for name in run.data["splits"].get(side, {})}
    splits = np.array([sides.get(name, NOT_SPLIT) for name in images.names], np.int8)
    return replace(images, splits=splits)


def gather_material(images: ImageSet, decided: Standing, backbone: Backbone, keep: Path, say: Say) -> Material:
    """Examine every image.

    `keep` is the file of features; they are computed if it is missing or belongs to other images.

    Raises:
        DataError: no image can be read.

    """
    looks = look_at_all(images, tell=lambda done: say(f"looked at {done:,} of {len(images):,} images"))
    say("looking for near duplicates")
    equal = equal_groups(looks)
    first = looks.readable & (equal == np.arange(len(images)))
    lossless = np.array([kind not in LOSSY_FORMATS for kind in looks.formats], bool)
    twins = find_copies(images, Glances(looks.thumbs, np.minimum(looks.width_px, looks.height_px), lossless), first)
    labelled = looks.readable & (images.labels != NO_LABEL)
    sides = np.where(labelled, images.splits, NOT_SPLIT).astype(np.int8)
    facts = DataFacts(images, labelled, sides, equal, None, twins)
    findings = [*fault_findings(looks.faults), *find_faults(facts), *image_findings(looks)]
    groups = keep_together(equal, None, twins.pairs)
    row, features = _features(images, backbone, keep, say)
    say("computing out-of-fold probabilities")
    probabilities = held_out_answers(images, looks, groups, row, features, decided)
    return Material(images, looks, groups, findings, row, features, probabilities, backbone.name)


def _features(
    images: ImageSet, backbone: Backbone, keep: Path, say: Say
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    embedded = embed_what_is_new(images, backbone, keep, say)
    number = {name: index for index, name in enumerate(images.names)}
    row = np.full(len(images), -1, np.int64)
    for place, name in enumerate(embedded.names):
        row[number[name]] = place
    return row, embedded.values


def held_out_answers(
    images: ImageSet,
    looks: Looks,
    groups: NDArray[np.int64],
    row: NDArray[np.int64],
    features: NDArray[np.float32],
    decided: Standing,
) -> NDArray[np.float32]:
    """Out-of-fold probabilities with the labels as decided now.

    An image without a label is classified by a head trained on all labelled ones. NaN for images without features.

    Shape: (N, K) with K the classes of `images`.
    """
    number = {name: index for index, name in enumerate(images.classes)}
    labels = np.full(len(images), -1, np.int64)
    for index, label in enumerate(images.labels.tolist()):
        now = decided.label_of(looks.digests[index].hex(), images.classes[label] if label != NO_LABEL else "")
        labels[index] = number.get(now, -1) if now is not None else -1
    usable = np.flatnonzero((row >= 0) & (labels >= 0))
    probabilities = np.full((len(images), len(images.classes)), np.nan, np.float32)
    values = np.asarray(features[row[usable]])
    with suppress(UsageError):  # one class, or too few images: no label is suspected
        probabilities[usable] = out_of_fold(values, labels[usable], len(images.classes), groups=groups[usable])
        unlabelled = np.flatnonzero((row >= 0) & (images.labels == NO_LABEL) & (labels < 0))
        if len(unlabelled):
            head = train_head(values, labels[usable], len(images.classes))
            probabilities[unlabelled] = head.probabilities(np.asarray(features[row[unlabelled]]))
    return probabilities
