"""Everything between DATA on the command line and loaders to train from: look, decide, decode, split, ask the rules.

Enters: listed images and settings. Leaves: `Prepared` with one loader per split, the verdict and the sentences to
print. Called by `training/session.py`; the evaluation half is `prepare_evaluation.py`.
"""

import math
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
from catseye.data.loaders import Indices, Loader, MemoryLoader, StreamLoader
from catseye.data.sources import NOT_SPLIT, SPLIT_LABELS, TRAIN, ImageSet
from catseye.data.splits import keep_in_training, split
from catseye.data.storage import EVALUATION_BATCH, choose_storage, decoded_bytes, refuse_bad
from catseye.data.survey import Sight, choose_input_px, first_sight, read_all
from catseye.data.value_range import describe_range
from catseye.errors import DataError, UsageError
from catseye.machine.cores import num_cores
from catseye.preprocess import Expected, Preprocessing
from catseye.seeds import derive
from catseye.settings.schema import DataSettings

LARGER_THAN_TRAINED = 9 / 7  # 224 -> 288: see recipes/transfer.toml
STATISTICS_SAMPLE = 2_000
STATISTICS_BYTES = 4_000_000
MAX_LOOKED = 100_000  # images among which a training looks for near duplicates


@dataclass
class Prepared:
    """Images that are ready to train on or to be evaluated."""

    images: ImageSet
    spec: Preprocessing
    splits: NDArray[np.int8]  # (N,); unreadable images have NOT_SPLIT
    loaders: dict[str, Loader]
    in_memory: bool
    data_sha256: str
    verdict: Verdict
    quarantined: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    near_copies: list[list[str]] | None = None  # names of what shows the same; None where it was not looked for
    digests: list[bytes] | None = None  # of every image's content, where all were read
    groups: Groups | None = None  # (N,) what a split must not part shares a number
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

    `expected` is the input that published weights want; without it the images decide. `num_sharing` processes
    do the same on this machine at the same time and share its memory and its cores.

    Raises:
        DataError: fewer than two classes, a class without training images, held-out images that also train (unless
            data.allow_leaks), or, when strict, any unreadable image.

    """
    images = with_channels(images, settings, seed=seed)
    related = related_groups(images, settings.group_by)
    near = settings.near_copies == "together" and not images.published and len(images) <= MAX_LOOKED
    sight = first_sight(images, seed=seed, near=near)
    spec = _choose_spec(settings, sight, expected, images.channels).model_copy(
        update={"value_range": images.value_range}
    )
    num_readable = len(images) - len(sight.unreadable)
    in_memory, reason = choose_storage(settings, decoded_bytes(num_readable, spec), min_area, device, num_sharing)
    found, decoded = read_all(images, sight, seed=seed, near=near, spec=spec if in_memory else None, share=num_sharing)
    bad = dict(found.unreadable)
    if decoded is not None:
        pixels, usable = decoded.pixels, decoded.usable
        bad |= decoded.bad
    else:
        usable = np.array([index for index in range(len(images)) if index not in bad], dtype=np.int64)
    refuse_bad(images, bad, settings.strict)
    together = keep_together(found.groups, related, found.near.pairs if found.near else None)
    splits = _draw_sides(images, usable, together, settings, seed)
    there = usable[splits[usable] != NOT_SPLIT]  # without what people left out
    readable = np.zeros(len(images), bool)
    readable[there] = True
    facts = DataFacts(images, readable, splits, found.groups, related, found.near, bad, settings.allow_leaks)
    facts = without_left_out(facts)
    verdict = make_verdict(facts, find_faults(facts))
    verdict.refuse()
    train = there[splits[there] == TRAIN]
    if decoded is not None:
        row = np.full(len(images), -1, np.int64)
        row[usable] = np.arange(len(usable))
        spec = spec if expected else _with_statistics(spec, pixels, row[train])
        loaders = _memory_loaders(images, pixels, row, splits, batch_size, seed, device)
    else:
        if expected is None:
            sample, _, _ = decode_all(images, _statistics_sample(train, seed), spec)
            spec = _with_statistics(spec, sample, np.arange(len(sample)))
        cores = max(1, num_cores() // num_sharing)
        workers = cores if settings.workers == "auto" else settings.workers
        loaders = {
            name: StreamLoader(
                images,
                spec,
                indices=np.flatnonzero(splits == number).astype(np.int64),
                batch_size=batch_size if number == TRAIN else EVALUATION_BATCH,
                shuffle=number == TRAIN,
                seed=seed,
                workers=workers,
                device=device,
                min_area=min_area if number == TRAIN else 1.0,
                strict=settings.strict,
            )
            for number, name in enumerate(SPLIT_LABELS)
        }
    notes = _pixel_notes(images)
    notes.append(reason)
    if settings.near_copies == "together" and not images.published and not near:
        notes.append(f"near duplicates are not looked for among more than {MAX_LOOKED:,} images; catseye check does")
    copies = copy_groups(images, found.groups, found.near) if found.near else None
    return Prepared(
        images, spec, splits, loaders, in_memory, found.sha256, verdict, bad, notes, copies, found.digests,
        together, found.median_px, found.greyscale,
    )  # fmt: skip


def prepare_again(
    prepared: Prepared, settings: DataSettings, spec: Preprocessing, *, batch_size: int, device: torch.device,
    seed: int, measure: bool = False,
) -> Prepared:  # fmt: skip
    """The same images on the same sides for another input; with `measure` its mean and spread are those of training.

    Images that could not be read before are left out; nothing is looked for again.
    """
    usable = np.flatnonzero(prepared.splits != NOT_SPLIT).astype(np.int64)
    in_memory, _ = choose_storage(settings, decoded_bytes(len(usable), spec), 1.0, device, 1)
    if not in_memory:
        raise DataError("decoded images of that size do not fit into memory")
    pixels, usable, bad = decode_all(prepared.images, usable, spec)
    splits = prepared.splits.copy()
    splits[list(bad)] = NOT_SPLIT
    row = np.full(len(prepared.images), -1, np.int64)
    row[usable] = np.arange(len(usable))
    if measure:
        spec = _with_statistics(spec, pixels, row[usable[splits[usable] == TRAIN]])
    loaders = _memory_loaders(prepared.images, pixels, row, splits, batch_size, seed, device)
    return replace(prepared, spec=spec, splits=splits, loaders=loaders, in_memory=True)


def own_input(prepared: Prepared, settings: DataSettings) -> Preprocessing:
    """The input that the images themselves ask for, whatever published weights want; without statistics yet."""
    side = choose_input_px(prepared.own_px) if settings.input_px == "auto" else settings.input_px
    channels = prepared.images.channels or _plain_channels(settings, prepared.greyscale)
    return _own_spec(settings, side, channels).model_copy(update={"value_range": prepared.spec.value_range})


def _draw_sides(
    images: ImageSet, usable: Indices, groups: Groups, settings: DataSettings, seed: int
) -> NDArray[np.int8]:
    """The side of every image, (N,); those that cannot be used have NOT_SPLIT. Groups stay on one side.

    Corrections move no image: the sides are drawn from the labels that DATA has. Only a class that is new, and that
    has nothing to learn from, gets an image back.
    """
    splits = np.full(len(images), NOT_SPLIT, np.int8)
    corrected = images.corrected
    drawn = split(
        (images.labels if corrected is None else corrected.given_labels)[usable],
        groups[usable],
        images.splits[usable],
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
        seed=seed,
    )
    splits[usable] = drawn
    if corrected is not None:
        usable = usable[~corrected.left_out[usable]]
        drawn = splits[usable]
        if (images.splits[usable] == NOT_SPLIT).any():
            keep_in_training(drawn, images.labels[usable], groups[usable], np.ones(len(usable), bool), seed)
        splits[corrected.left_out] = NOT_SPLIT
        splits[usable] = drawn
    return splits


def without_left_out(facts: DataFacts) -> DataFacts:
    """The facts without the images that people left out: those are no copies of others any more."""
    corrected = facts.images.corrected
    if corrected is None or not corrected.left_out.any():
        return facts
    out = corrected.left_out
    equal = np.where(out, np.arange(len(out)), facts.equal)
    for first in np.unique(facts.equal[out]).tolist():  # a group whose first image is gone has another first
        members = np.flatnonzero((facts.equal == first) & ~out)
        equal[members] = members[0] if len(members) else first
    twins = facts.twins
    if twins is not None:
        keep = ~out[twins.pairs].any(1)
        twins = replace(
            twins, pairs=twins.pairs[keep], correlations=twins.correlations[keep], mirrored=twins.mirrored[keep]
        )
    return replace(facts, equal=equal, twins=twins)


def _choose_spec(settings: DataSettings, found: Sight, expected: Expected | None, many: int | None) -> Preprocessing:
    side = settings.input_px
    if side == "auto":
        side = round(expected.px * LARGER_THAN_TRAINED / 32) * 32 if expected else choose_input_px(found.median_px)
    height, width = (side, side) if isinstance(side, int) else side
    if expected is not None:
        if settings.channels == 1:
            raise UsageError("data.channels = 1 does not fit published weights, which take colour; leave it out")
        if many:
            raise UsageError(
                f"published weights take colour, 3 channels per pixel; the images have {many}; leave out --pretrained: "
                "catseye train then learns from fresh weights"
            )
        return Preprocessing(
            height_px=height,
            width_px=width,
            resize=settings.resize,
            filter=expected.filter,
            mean=expected.mean,
            std=expected.std,
        )
    channels = many or _plain_channels(settings, found.greyscale)
    return _own_spec(settings, side, channels)


def _own_spec(settings: DataSettings, side: int | tuple[int, int], channels: int) -> Preprocessing:
    height, width = (side, side) if isinstance(side, int) else side
    return Preprocessing(
        height_px=height,
        width_px=width,
        channels=channels,
        resize=settings.resize,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )


def _plain_channels(settings: DataSettings, greyscale: bool) -> int:
    return (1 if greyscale else 3) if settings.channels == "auto" else settings.channels


def _pixel_notes(images: ImageSet) -> list[str]:
    if images.channels is not None:
        return [describe_channels(images.channels, images.value_range)]
    return [describe_range(images.value_range)] if images.value_range is not None else []


def _statistics_sample(indices: Indices, seed: int) -> Indices:
    if len(indices) <= STATISTICS_SAMPLE:
        return indices
    return np.sort(np.random.default_rng(derive(seed, "statistics")).choice(indices, STATISTICS_SAMPLE, replace=False))


def _with_statistics(spec: Preprocessing, pixels: NDArray[np.uint8], rows: Indices) -> Preprocessing:
    """Mean and standard deviation of the training images, rounded to what four digits can say."""
    # Sums of whole numbers, which are exact; the channels are told apart at the end, since NumPy is slow at reducing
    # an axis of three.
    shape = (-1, spec.width_px * spec.channels)
    total, squares = (np.zeros(shape[1], np.uint64) for _ in range(2))
    # In portions: the squares take twice the memory, and 65,536 of 255 * 255 are what 32 bits hold.
    at_once = max(1, min(STATISTICS_BYTES // math.prod(pixels.shape[1:]), 65_536 // spec.height_px))
    for start in range(0, len(rows), at_once):
        portion = pixels[rows[start : start + at_once]].reshape(shape)
        total += portion.sum(0, dtype=np.uint32)
        squares += np.square(portion, dtype=np.uint16).sum(0, dtype=np.uint32)
    total, squares = (
        each.reshape(-1, spec.channels).sum(0) / scale for each, scale in ((total, 255), (squares, 255**2))
    )
    count = len(rows) * spec.height_px * spec.width_px
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-4))
    return spec.model_copy(update={"mean": tuple(np.round(mean, 4).tolist()), "std": tuple(np.round(std, 4).tolist())})


def _memory_loaders(
    images: ImageSet,
    pixels: NDArray[np.uint8],
    row: Indices,
    splits: NDArray[np.int8],
    batch_size: int,
    seed: int,
    device: torch.device,
) -> dict[str, Loader]:
    shared = torch.from_numpy(pixels).to(device)
    labels = torch.from_numpy(images.labels[row >= 0]).to(device)
    return {
        name: MemoryLoader(
            shared,
            labels,
            row,
            indices=np.flatnonzero(splits == number).astype(np.int64),
            batch_size=batch_size if number == TRAIN else EVALUATION_BATCH,
            shuffle=number == TRAIN,
            seed=seed,
        )
        for number, name in enumerate(SPLIT_LABELS)
    }
