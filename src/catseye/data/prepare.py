"""Listed images to loaders for training: survey, choose, decode, split, check.

Enters: listed images and settings. Leaves: `Prepared` with one loader per split, the verdict and the notes for the
user. Called by `training/session.py`; `prepare_evaluation.py` does the same for evaluation.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from catseye.data.channel_counts import describe_channels, with_channels
from catseye.data.check.check import make_verdict
from catseye.data.check.copies import copy_groups
from catseye.data.check.data_facts import DataFacts
from catseye.data.check.findings import Verdict
from catseye.data.check.rules import find_faults
from catseye.data.decode import decode_all
from catseye.data.groups import Groups, keep_together, related_groups
from catseye.data.input_spec import choose_spec, own_spec, plain_channels, statistics_sample, with_statistics
from catseye.data.loaders import Indices, Loader, MemoryLoader, StreamLoader
from catseye.data.sources import NOT_SPLIT, SPLIT_LABELS, TRAIN, ImageSet
from catseye.data.splits import draw_splits
from catseye.data.storage import EVALUATION_BATCH, choose_storage, decoded_bytes, refuse_bad
from catseye.data.survey import Survey, choose_input_px, first_sight, read_all
from catseye.data.value_range import describe_range
from catseye.errors import DataError
from catseye.machine.cores import num_cores
from catseye.preprocess import Expected, Preprocessing
from catseye.settings.schema import DataSettings

MAX_LOOKED = 100_000  # training searches for near duplicates among at most this many images


@dataclass
class Prepared:
    """Images that are ready for training and evaluation."""

    images: ImageSet
    spec: Preprocessing
    splits: NDArray[np.int8]  # (N,); unreadable images have NOT_SPLIT
    loaders: dict[str, Loader]
    in_memory: bool
    data_sha256: str
    verdict: Verdict
    quarantined: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    near_copies: list[list[str]] | None = None  # names of images that show the same; None if not searched for
    digests: list[bytes] | None = None  # of every image's content, if all were read
    groups: Groups | None = None  # (N,) images that a split keeps together share a number
    own_px: float = 0.0  # side of a typical image
    greyscale: bool = False

    @property
    def content(self) -> dict[str, list[str]] | None:
        """Split -> content digests of its images, for data.json."""
        if self.digests is None:
            return None
        return {
            name: [self.digests[index].hex() for index in np.flatnonzero(self.splits == number).tolist()]
            for number, name in enumerate(SPLIT_LABELS)
        }

    @property
    def counts(self) -> dict[str, int]:
        """Images per split."""
        return {name: int((self.splits == number).sum()) for number, name in enumerate(SPLIT_LABELS)}

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Training images per class, (K,)."""
        labels = self.images.labels[self.splits == TRAIN]
        return np.bincount(labels, minlength=len(self.images.classes)).astype(np.int64)


def prepare(
    images: ImageSet,
    settings: DataSettings,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    min_area: float = 1.0,
    expected: Expected | None = None,
    num_sharing: int = 1,
) -> Prepared:
    """Survey, decode and split listed images.

    `expected` is the input that published weights need; without it the images decide. `num_sharing` processes
    do the same on this machine at the same time and share its memory and its cores.

    Raises:
        DataError: fewer than two classes, a class without training images, held-out images that also train (unless
            data.allow_leaks is set), or any unreadable image if data.strict is set.

    """
    images = with_channels(images, settings, seed=seed)
    related = related_groups(images, settings.group_by)
    near = settings.near_copies == "together" and not images.published and len(images) <= MAX_LOOKED
    sight = first_sight(images, seed=seed, near=near)
    spec = choose_spec(settings, images, sight, expected).model_copy(update={"value_range": images.value_range})
    num_bytes = decoded_bytes(len(images) - len(sight.unreadable), spec)
    in_memory, reason = choose_storage(settings, num_bytes, min_area, device, num_sharing)
    surveyed, decoded = read_all(
        images, sight, seed=seed, near=near, spec=spec if in_memory else None, share=num_sharing
    )
    bad = surveyed.unreadable | (decoded.bad if decoded is not None else {})
    readable = np.array([index for index in range(len(images)) if index not in bad], dtype=np.int64)
    usable = decoded.usable if decoded is not None else readable
    refuse_bad(images, bad, settings.strict)
    together = keep_together(surveyed.groups, related, surveyed.near.pairs if surveyed.near else None)
    splits = draw_splits(images, usable, together, settings, seed)
    verdict = _check(images, splits, surveyed, related, bad, settings)
    trains = splits[usable] == TRAIN
    if decoded is not None:
        spec = spec if expected else with_statistics(spec, decoded.pixels, np.flatnonzero(trains))
        loaders = _memory_loaders(images, decoded.pixels, usable, splits, batch_size, seed, device)
    else:
        if expected is None:
            sample, _, _ = decode_all(images, statistics_sample(usable[trains], seed), spec)
            spec = with_statistics(spec, sample, np.arange(len(sample)))
        cores = max(1, num_cores() // num_sharing)
        workers = cores if settings.workers == "auto" else settings.workers
        stream = StreamLoader(
            images, spec, usable, batch_size, workers, device, seed=seed, min_area=min_area, strict=settings.strict
        )
        loaders = _split_loaders(stream, splits)
    copies = copy_groups(images, surveyed.groups, surveyed.near) if surveyed.near else None
    notes = [*_pixel_notes(images), reason]
    if settings.near_copies == "together" and not images.published and not near:
        notes.append(f"training searches for near duplicates among at most {MAX_LOOKED:,} images; run catseye check")
    return Prepared(
        images, spec, splits, loaders, in_memory, surveyed.sha256, verdict, bad, notes, copies, surveyed.digests,
        together, surveyed.median_px, surveyed.greyscale,
    )  # fmt: skip


def prepare_again(
    prepared: Prepared, settings: DataSettings, spec: Preprocessing, *, batch_size: int, device: torch.device,
    seed: int, measure: bool = False,
) -> Prepared:  # fmt: skip
    """The same images in the same splits, for another input.

    With `measure` its mean and standard deviation are computed from the training images. Images that could not be read
    before stay left out; nothing is surveyed again.

    Raises:
        DataError: the decoded images do not fit into memory.

    """
    usable = np.flatnonzero(prepared.splits != NOT_SPLIT).astype(np.int64)
    in_memory, _ = choose_storage(settings, decoded_bytes(len(usable), spec), 1.0, device, 1)
    if not in_memory:
        raise DataError("decoded images of that size do not fit into memory")
    pixels, usable, bad = decode_all(prepared.images, usable, spec)
    splits = prepared.splits.copy()
    splits[list(bad)] = NOT_SPLIT
    if measure:
        spec = with_statistics(spec, pixels, np.flatnonzero(splits[usable] == TRAIN))
    loaders = _memory_loaders(prepared.images, pixels, usable, splits, batch_size, seed, device)
    return replace(prepared, spec=spec, splits=splits, loaders=loaders, in_memory=True)


def own_input(prepared: Prepared, settings: DataSettings) -> Preprocessing:
    """The input that fits the images, not published weights; no statistics yet."""
    side = choose_input_px(prepared.own_px) if settings.input_px == "auto" else settings.input_px
    channels = prepared.images.channels or plain_channels(settings, prepared.greyscale)
    return own_spec(settings, side, channels).model_copy(update={"value_range": prepared.spec.value_range})


def _check(
    images: ImageSet,
    splits: NDArray[np.int8],
    surveyed: Survey,
    related: Groups | None,
    bad: dict[int, str],
    settings: DataSettings,
) -> Verdict:
    """Refuse what would spoil a training; images that people left out do not count."""
    facts = DataFacts(
        images, splits != NOT_SPLIT, splits, surveyed.groups, related, surveyed.near, bad, settings.allow_leaks
    )
    facts = without_left_out(facts)
    verdict = make_verdict(facts, find_faults(facts))
    verdict.refuse()
    return verdict


def without_left_out(facts: DataFacts) -> DataFacts:
    """The facts without images that people left out: these are no copies of others."""
    corrected = facts.images.corrected
    if corrected is None or not corrected.left_out.any():
        return facts
    out = corrected.left_out
    equal = np.where(out, np.arange(len(out)), facts.equal)
    for first in np.unique(facts.equal[out]).tolist():  # a group that lost its first image gets another first one
        members = np.flatnonzero((facts.equal == first) & ~out)
        equal[members] = members[0] if len(members) else first
    twins = facts.twins
    if twins is not None:
        keep = ~out[twins.pairs].any(1)
        twins = replace(
            twins, pairs=twins.pairs[keep], correlations=twins.correlations[keep], mirrored=twins.mirrored[keep]
        )
    return replace(facts, equal=equal, twins=twins)


def _pixel_notes(images: ImageSet) -> list[str]:
    if images.channels is not None:
        return [describe_channels(images.channels, images.value_range)]
    return [describe_range(images.value_range)] if images.value_range is not None else []


def _memory_loaders(
    images: ImageSet,
    pixels: NDArray[np.uint8],
    usable: Indices,
    splits: NDArray[np.int8],
    batch_size: int,
    seed: int,
    device: torch.device,
) -> dict[str, Loader]:
    row = np.full(len(images), -1, np.int64)
    row[usable] = np.arange(len(usable))
    labels = torch.from_numpy(images.labels[usable]).to(device)
    loader = MemoryLoader(torch.from_numpy(pixels).to(device), labels, row, usable, batch_size, seed=seed)
    return _split_loaders(loader, splits)


def _split_loaders(loader: MemoryLoader | StreamLoader, splits: NDArray[np.int8]) -> dict[str, Loader]:
    """One loader per split; only that of training shuffles and crops."""
    training = replace(loader, shuffle=True)
    evaluation = replace(loader, batch_size=EVALUATION_BATCH)
    if isinstance(evaluation, StreamLoader):
        evaluation.min_area = 1.0
    return {
        name: replace(
            training if number == TRAIN else evaluation,
            indices=np.flatnonzero(splits == number).astype(np.int64),
            bad={},
        )
        for number, name in enumerate(SPLIT_LABELS)
    }
