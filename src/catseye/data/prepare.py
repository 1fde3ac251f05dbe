"""Everything between DATA on the command line and loaders: list, look, decide, decode, split.

Enters: a source and settings. Leaves: `Prepared` with one loader per split and the sentences to print.
Called by `training/fit.py` (train) and `evaluation/evaluate.py`.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from catseye.data.check import quick_verdict, together
from catseye.data.checks import Survey, check_split, choose_input_px, survey
from catseye.data.findings import Verdict
from catseye.data.loaders import Indices, Loader, MemoryLoader, StreamLoader, decode_all
from catseye.data.side_rules import group_by_name, refuse_leak
from catseye.data.sources import SPLIT_LABELS, TEST, TRAIN, VAL, ImageSet, open_source
from catseye.data.splits import split
from catseye.errors import DataError, UsageError
from catseye.machine.cores import num_cores
from catseye.machine.memory import free_memory_bytes
from catseye.preprocess import Expected, Preprocessing
from catseye.seeds import derive
from catseye.settings.schema import DataSettings

MEMORY_SHARE = 0.25  # of what is free: the decoded images may take this much
EVALUATION_BATCH = 256
LARGER_THAN_TRAINED = 9 / 7  # 224 -> 288: see recipes/transfer.toml
STATISTICS_SAMPLE = 2_000
MAX_FOREIGN = 10_000


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
    source: str | Path,
    settings: DataSettings,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    data_dir: Path | None = None,
    min_area: float = 1.0,
    expected: Expected | None = None,
    num_sharing: int = 1,
) -> Prepared:
    """List, survey, decode and split the images of DATA.

    `expected` is the input that published weights want; without it the images decide. `num_sharing` processes
    do the same on this machine at the same time and share its memory and its cores.

    Raises:
        DataError: no images, fewer than two classes, a class without training images, held-out images that
            also train (unless data.allow_leaks), or, when strict, any unreadable image.

    """
    images = open_source(source, data_dir=data_dir)
    related = group_by_name(images.names, settings.group_by)
    found = survey(images, seed=seed)
    spec = _choose_spec(settings, found, expected)
    bad = dict(found.unreadable)
    usable = np.array([index for index in range(len(images)) if index not in bad], dtype=np.int64)
    in_memory, reason = _choose_storage(settings, len(usable), spec, min_area, device, num_sharing)
    if in_memory:
        pixels, usable, unreadable = decode_all(images, usable, spec)
        bad |= unreadable
    _refuse_bad(images, bad, settings.strict)
    splits = np.full(len(images), -1, np.int8)
    splits[usable] = split(
        images.labels[usable],
        together(found.groups, related)[usable],
        images.splits[usable],
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
        seed=seed,
    )
    notes = [*images.notes, *check_split(images, splits, found)]
    if not settings.allow_leaks and not images.published:
        refuse_leak(images, splits, found.groups, related)
    verdict = quick_verdict(
        images,
        unreadable=bad,
        equal=found.groups,
        related=related,
        grouped=bool(settings.group_by),
        sides=splits,
    )
    if bad:
        first = next(iter(bad.values()))
        notes.append(f"{len(bad)} images cannot be read and are left out, e.g. {first}")
    train = usable[splits[usable] == TRAIN]
    if in_memory:
        row = np.full(len(images), -1, np.int64)
        row[usable] = np.arange(len(usable))
        spec = spec if expected else _with_statistics(spec, pixels, row[train])
        loaders = _memory_loaders(images, pixels, row, splits, batch_size, seed, device)
    else:
        if expected is None:
            sample, _, _ = decode_all(images, _sample(train, seed), spec)
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
    notes.append(reason)
    return Prepared(images, spec, splits, loaders, in_memory, found.sha256, verdict, bad, notes)


def prepare_evaluation(
    source: str | Path,
    spec: Preprocessing,
    classes: tuple[str, ...],
    *,
    device: torch.device,
    chosen: dict[str, str] | None = None,
    data_dir: Path | None = None,
    strict: bool = False,
) -> tuple[ImageSet, MemoryLoader | StreamLoader, list[str]]:
    """The held-out images of DATA, labelled in the order of a model's own classes.

    `chosen` is name -> split from a run's manifest. Without it the test split counts, else
    validation, else everything there is. Returns images, one loader and the sentences to print.

    Raises:
        DataError: a class of DATA is none of the model's, or an image of the run is gone.

    """
    images = open_source(source, data_dir=data_dir)
    unknown = sorted(set(images.classes) - set(classes))
    if unknown:
        raise DataError(f"{source} has class {unknown[0]!r}, the model knows only: {', '.join(classes[:20])}")
    number = np.array([classes.index(name) for name in images.classes], dtype=np.int64)
    splits = images.splits
    if chosen is not None:
        splits = _recorded_splits(images, chosen)
    side = next((side for side in (TEST, VAL) if (splits == side).any()), None)
    indices = np.flatnonzero(splits == side) if side is not None else np.arange(len(images))
    notes = [f"evaluating on the {SPLIT_LABELS[side]} split" if side is not None else "evaluating on every image"]
    if side == VAL:
        notes.append("there is no test split; where validation chose the epoch, its score leans to the good side")
    # Labels and classes are rewritten to the model's order, so that a logit's column means the same class everywhere.
    images = ImageSet(images.source, classes, images.names, number[images.labels], splits, images.read)
    if _decoded_bytes(len(indices), spec) < MEMORY_SHARE * free_memory_bytes(device):
        pixels, usable, bad = decode_all(images, indices.astype(np.int64), spec)
        _refuse_bad(images, bad, strict)
        if not len(usable):
            raise DataError(f"{source}: none of {len(indices)} images can be read; first: {next(iter(bad.values()))}")
        row = np.full(len(images), -1, np.int64)
        row[usable] = np.arange(len(usable))
        labels = torch.from_numpy(images.labels[usable]).to(device)
        loader = MemoryLoader(torch.from_numpy(pixels).to(device), labels, row, usable, EVALUATION_BATCH, bad=bad)
        return images, loader, notes
    indices = indices.astype(np.int64)
    stream = StreamLoader(images, spec, indices, EVALUATION_BATCH, num_cores(), device, strict=strict)
    return images, stream, notes


def prepare_foreign(
    source: str | Path, spec: Preprocessing, *, device: torch.device, data_dir: Path | None = None
) -> MemoryLoader:
    """At most 10,000 images of something else, whatever their classes, as a model's input; their labels mean nothing.

    Raises:
        DataError: none can be read.

    """
    images = open_source(source, data_dir=data_dir)
    sides = [np.flatnonzero(images.splits == side) for side in (TEST, VAL)]
    indices = next((found for found in sides if len(found)), np.arange(len(images)))
    chosen = np.sort(np.random.default_rng(0).permutation(indices)[:MAX_FOREIGN]).astype(np.int64)
    pixels, usable, bad = decode_all(images, chosen, spec)
    if not len(usable):
        raise DataError(f"{source}: none of {len(chosen)} images can be read; first: {next(iter(bad.values()))}")
    row = np.full(len(images), -1, np.int64)
    row[usable] = np.arange(len(usable))
    labels = torch.from_numpy(images.labels[usable]).to(device)
    return MemoryLoader(torch.from_numpy(pixels).to(device), labels, row, usable, EVALUATION_BATCH, bad=bad)


def _choose_spec(settings: DataSettings, found: Survey, expected: Expected | None) -> Preprocessing:
    side = settings.input_px
    if side == "auto":
        side = round(expected.px * LARGER_THAN_TRAINED / 32) * 32 if expected else choose_input_px(found.median_px)
    if not 8 <= side <= 1024:
        raise UsageError(f"data.input_px: a side of 8 to 1024 pixels; got {side}")
    if expected is not None:
        if settings.channels == 1:
            raise UsageError("data.channels = 1 does not fit published weights, which take colour; leave it out")
        return Preprocessing(
            height_px=side,
            width_px=side,
            resize=settings.resize,
            filter=expected.filter,
            mean=expected.mean,
            std=expected.std,
        )
    channels = (1 if found.greyscale else 3) if settings.channels == "auto" else settings.channels
    return Preprocessing(
        height_px=side,
        width_px=side,
        channels=channels,
        resize=settings.resize,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )


def _choose_storage(
    settings: DataSettings,
    num_images: int,
    spec: Preprocessing,
    min_area: float,
    device: torch.device,
    num_sharing: int,
) -> tuple[bool, str]:
    needed, free = _decoded_bytes(num_images, spec), free_memory_bytes(device) // num_sharing
    size = f"{needed / 1e6:,.0f} MB decoded" if needed < 1e9 else f"{needed / 1e9:,.1f} GB decoded"
    if settings.storage == "memory" and min_area < 1:
        raise UsageError("augment.crop_scale would do nothing here: it needs data.storage = stream or auto")
    if settings.storage == "memory" and needed > free:
        raise UsageError(f"data.storage = memory: {size}, but {free / 1e9:,.1f} GB are free; say auto or stream")
    if settings.storage == "stream" or min_area < 1:
        why = "as set" if settings.storage == "stream" else "random resized crop needs the files"
        return False, f"images are streamed from their files ({why})"
    if settings.storage == "memory" or needed < MEMORY_SHARE * free:
        return True, f"images stay in memory ({size})"
    return (
        False,
        f"images are streamed from their files ({size}, more than a quarter of the {free / 1e9:.0f} GB free)",
    )


def _decoded_bytes(num_images: int, spec: Preprocessing) -> int:
    return num_images * spec.height_px * spec.width_px * spec.channels


def _refuse_bad(images: ImageSet, bad: dict[int, str], strict: bool) -> None:
    if bad and strict:
        listed = "\n  ".join(list(bad.values())[:10])
        raise DataError(f"{images.source}: {len(bad)} images cannot be read (data.strict):\n  {listed}")


def _sample(indices: Indices, seed: int) -> Indices:
    if len(indices) <= STATISTICS_SAMPLE:
        return indices
    return np.sort(np.random.default_rng(derive(seed, "statistics")).choice(indices, STATISTICS_SAMPLE, replace=False))


def _with_statistics(spec: Preprocessing, pixels: NDArray[np.uint8], rows: Indices) -> Preprocessing:
    """Mean and standard deviation of the training images, rounded to what four digits can say."""
    total = np.zeros(spec.channels)
    squares = np.zeros(spec.channels)
    for start in range(0, len(rows), 1024):  # in portions: the floats take eight times the memory of the pixels
        portion = pixels[rows[start : start + 1024]].reshape(-1, spec.channels) / 255
        total += portion.sum(0)
        squares += (portion**2).sum(0)
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


def _recorded_splits(images: ImageSet, chosen: dict[str, str]) -> NDArray[np.int8]:
    known = set(images.names)
    gone = [name for name in chosen if name not in known]
    if gone:
        raise DataError(f"{images.source}: {len(gone)} images of the run are gone, e.g. {gone[0]}")
    number = {name: index for index, name in enumerate(SPLIT_LABELS)}
    return np.array([number.get(chosen.get(name, ""), -1) for name in images.names], dtype=np.int8)
