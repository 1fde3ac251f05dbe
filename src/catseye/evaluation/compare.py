"""`catseye compare RUN RUN …`: runs measured on the same images, side by side.

Enters: runs, or exported files with DATA. Leaves: `RunComparison`, which also says which differences are noise. Called
by cli.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.counting import agree, count
from catseye.data.sources import Images
from catseye.errors import UsageError
from catseye.evaluation.answered import AnsweredImage, AnsweredImages, answered
from catseye.evaluation.corrected import (
    CorrectionsWorth,
    data_without_corrections,
    decisions_of,
    in_classes_of,
    latest_corrected,
    plain_worth,
    worth_of_corrections,
)
from catseye.evaluation.measure import MeasuredModel, measure
from catseye.evaluation.metrics import confusion_matrix, macro_f1, wilson_interval
from catseye.evaluation.statistics import holm, mcnemar, mean_and_spread
from catseye.files import StrPath, path_of
from catseye.notebook import Html, html_of, html_table
from catseye.runs import open_run
from catseye.runtimes.loading import open_model

ALPHA = 0.05
MAX_DISAGREEMENTS = 12


@dataclass(frozen=True)
class ComparisonRow:
    """One model on the common images.

    Shares are 0 to 1; runs that differ only in their seed have the same `group`.
    """

    name: str
    network: str
    seed: int
    group: int
    accuracy: float
    low: float
    high: float
    macro_f1: float


@dataclass(frozen=True)
class Pair:
    """The first model against another, with the verdict.

    `first_only` and `other_only` count images that only one of them has right; `p` is adjusted by Holm's method.
    """

    other: str
    difference: float
    first_only: int
    other_only: int
    p: float
    real: bool
    verdict: str


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ only in their seed: mean accuracy and its standard deviation."""

    names: tuple[str, ...]
    mean: float
    spread: float | None


@dataclass(frozen=True)
class RunComparison:
    """Everything `catseye compare` prints."""

    num_images: int
    rows: tuple[ComparisonRow, ...]
    pairs: tuple[Pair, ...]
    groups: tuple[RunGroup, ...]
    notes: tuple[str, ...]
    corrections: tuple[CorrectionsWorth, ...] = ()
    disagreements: AnsweredImages | None = field(
        default=None, repr=False
    )  # images that some models have right and others wrong

    def _repr_html_(self) -> str:
        rows = [
            (r.name, r.network, r.seed, f"{r.accuracy:.2%}", f"{r.low:.2%} – {r.high:.2%}", f"{r.macro_f1:.3f}")
            for r in self.rows
        ]
        table = html_table(("model", "network", "seed", "accuracy", "95% interval", "macro F1"), rows)
        lines = "".join(f"<li>{html_of(line)}</li>" for line in self.to_lines())
        shown = self.disagreements._repr_html_() if self.disagreements else ""
        return Html(f"{table}<ul>{lines}</ul>{shown}")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "num_images": self.num_images,
            "models": [vars(row) for row in self.rows],
            "pairs": [vars(pair) for pair in self.pairs],
            "groups": [{**vars(group), "names": list(group.names)} for group in self.groups],
            "notes": list(self.notes),
            "corrections": plain_worth(self.corrections),
        }

    def to_lines(self) -> list[str]:
        """The lines that a terminal shows below the table."""
        lines = [f"{self.num_images:,} images; " + ("; ".join(self.notes) or "the same for every model")]
        for group in self.groups:
            if group.spread is not None:
                names = ", ".join(group.names)
                count = len(group.names)
                lines.append(f"{names}: {group.mean:.2%} ± {group.spread * 100:.2f} points (sd of {count} seeds)")
        pairs = [
            f"{pair.other} against {self.rows[0].name}: {pair.verdict}; right alone: {pair.other_only} and "
            f"{pair.first_only}"
            for pair in self.pairs
        ]
        return [*lines, *pairs, *(worth.sentence() for worth in self.corrections)]


def compare(
    models: Sequence[StrPath],
    data: Images | None = None,
    *,
    device: str = "auto",
    data_dir: StrPath | None = None,
) -> RunComparison:
    """Measure two or more models on the same held-out images.

    Without `data`: the images that no run was trained or selected on. Splits differ with the seed, so these may be
    fewer than each run's own.

    Raises:
        UsageError: fewer than two models, other classes, other data, or no image in common.

    """
    models = [path_of(model) for model in models]
    if len(models) < 2:
        raise UsageError(f"compare takes two models or more; got {len(models)}: catseye compare RUN RUN …")
    if len(set(models)) < len(models):
        raise UsageError("compare was given the same model twice")
    measurements = [
        measure(open_model(path, device=device), data, data_dir=data_dir, held_out_only=False) for path in models
    ]
    reference = measurements[latest_corrected(measurements)]
    columns = [in_classes_of(measurement, reference) for measurement in measurements]
    _refuse_other_classes_and_data(measurements, columns, reference, own_images=data is None)
    names = sorted(set.intersection(*(set(measurement.names) for measurement in measurements)))
    if not names:
        raise UsageError("the runs have no held-out image in common; give images that are new to all: --data DATA")
    answers, labels = _aligned(measurements, names, columns, reference)
    groups = _group(measurements)
    rows = tuple(
        _comparison_row(measurement, group, right, labels, len(reference.images.classes))
        for measurement, group, right in zip(measurements, groups, answers, strict=True)
    )
    worth = worth_of_corrections(measurements, [each == labels for each in answers], len(names)) if data is None else []
    return RunComparison(
        len(names),
        rows,
        _pairs(rows, answers, labels),
        _seed_spread(rows),
        tuple(_notes(measurements, names)),
        tuple(worth),
        disagreements=_disagreements(reference, names, answers, labels),
    )


def _refuse_other_classes_and_data(
    measurements: list[MeasuredModel],
    columns: list[NDArray[np.int64]],
    reference: MeasuredModel,
    *,
    own_images: bool,
) -> None:
    first = measurements[0]
    for other, column in zip(measurements, columns, strict=True):
        same = other.images.classes == reference.images.classes
        # Corrections may merge classes, make new ones and leave others without images.
        if not same and (decisions_of(reference.model.path) is None or (column < 0).all()):
            raise UsageError(
                f"{other.model.path} has other classes than {first.model.path}; compare models of the same classes"
            )
        hashes = {data_without_corrections(measurement.model.path) for measurement in (first, other)}
        if own_images and len(hashes) > 1:
            raise UsageError(f"{other.model.path} was trained on other data; give the images: --data DATA")


def _notes(measurements: list[MeasuredModel], names: list[str]) -> list[str]:
    """Which images are left out, and which models were trained on some of them."""
    notes = []
    if len(names) < len(measurements[0].names):
        notes.append(f"only {count(len(names), 'image')} {agree(len(names), 'is', 'are')} held out by every run")
    for measurement in measurements:
        if measurement.trained_on:
            notes.append(f"{measurement.model.path}: {measurement.trained_on:,} of these images trained it")
    return notes


def _disagreements(
    reference: MeasuredModel, names: list[str], answers: list[NDArray[np.int64]], labels: NDArray[np.int64]
) -> AnsweredImages:
    """Some of the images that some models have right and others wrong.

    The answers are in the order of the models.
    """
    right = np.stack([predicted == labels for predicted in answers])
    rows = np.flatnonzero(right.any(0) & ~right.all(0))[:MAX_DISAGREEMENTS].tolist()
    number, classes = {name: index for index, name in enumerate(reference.images.names)}, reference.images.classes
    texts = [" / ".join(classes[int(predicted[row])] for predicted in answers) for row in rows]
    return AnsweredImages(
        [
            AnsweredImage(names[row], classes[int(labels[row])], text, float(right[:, row].mean()), number[names[row]])
            for row, text in zip(rows, texts, strict=True)
        ],
        answered(reference),
    )


def _aligned(
    measurements: list[MeasuredModel], names: list[str], columns: list[NDArray[np.int64]], reference: MeasuredModel
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Every model's answers in the reference's classes, and its labels, by name."""
    answers = []
    labels = np.empty(0, np.int64)
    for measurement, column in zip(measurements, columns, strict=True):
        place = {name: row for row, name in enumerate(measurement.names)}
        rows = np.array([place[name] for name in names])
        answers.append(column[measurement.outputs.logits[rows].argmax(1)])
        if measurement is reference:
            labels = measurement.outputs.labels[rows]
    return answers, labels


def _comparison_row(
    measurement: MeasuredModel, group: int, answers: NDArray[np.int64], labels: NDArray[np.int64], num_classes: int
) -> ComparisonRow:
    hits = int((answers == labels).sum())
    low, high = wilson_interval(hits, len(labels))
    manifest = measurement.model.manifest
    score = macro_f1(confusion_matrix(labels, answers, num_classes))
    name, seed = str(measurement.model.path), manifest.provenance.seed
    return ComparisonRow(name, manifest.architecture.name, seed, group, hits / len(labels), low, high, score)


def _group(measurements: list[MeasuredModel]) -> list[int]:
    """Equal numbers for runs whose settings differ only in the seed."""
    seen: list[Any] = []
    numbers = []
    for measurement in measurements:
        settings = open_run(measurement.model.path).settings if measurement.model.path.is_dir() else None
        key: Any = str(measurement.model.path)
        if settings:
            plain = settings.data.model_copy(update={"corrections": ""})  # a file's name says nothing about its rows
            decided = decisions_of(measurement.model.path)
            key = settings.model_copy(update={"seed": 0, "data": plain}), decided and decided[1]
        if key not in seen:
            seen.append(key)
        numbers.append(seen.index(key))
    return numbers


def _seed_spread(rows: Sequence[ComparisonRow]) -> tuple[RunGroup, ...]:
    groups = []
    for number in sorted({row.group for row in rows}):
        mine = [row for row in rows if row.group == number]
        groups.append(RunGroup(tuple(row.name for row in mine), *mean_and_spread([row.accuracy for row in mine])))
    return tuple(groups)


def _pairs(
    rows: Sequence[ComparisonRow], answers: list[NDArray[np.int64]], labels: NDArray[np.int64]
) -> tuple[Pair, ...]:
    right = [predicted == labels for predicted in answers]
    counts = [(int((right[0] & ~other).sum()), int((other & ~right[0]).sum())) for other in right[1:]]
    p_values = holm([mcnemar(*count) for count in counts])
    numbers = sorted({row.group for row in rows})
    spreads = {number: group.spread for number, group in zip(numbers, _seed_spread(rows), strict=True)}
    pairs = []
    for row, (first_only, other_only), p in zip(rows[1:], counts, p_values, strict=True):
        difference = row.accuracy - rows[0].accuracy
        known = [spread for spread in (spreads[rows[0].group], spreads[row.group]) if spread is not None]
        verdict = _verdict(difference, p, row.group == rows[0].group, max(known, default=None))
        pairs.append(Pair(row.name, difference, first_only, other_only, p, verdict.startswith("real"), verdict))
    return tuple(pairs)


def _verdict(difference: float, p: float, same_settings: bool, spread: float | None) -> str:
    """Whether a difference is real or noise, as a sentence.

    McNemar's test covers chance in the images, the spread of seeds covers chance in training; a difference must pass
    both.
    """
    points = f"{abs(difference) * 100:.2f} points"
    if p >= ALPHA:
        return f"noise: {points} are within chance for this many images (p = {p:.2g})"
    if same_settings:
        return (
            f"noise: {points} between seeds of the same settings, although these two networks do differ (p = {p:.2g})"
        )
    if spread is not None and abs(difference) < 2 * spread:
        return f"noise: {points} are less than twice the spread between seeds (sd {spread * 100:.2f} points)"
    better = "better" if difference > 0 else "worse"
    sure = "" if spread is not None else "; one seed each, so another seed may change it"
    return f"real: {points} {better} (p = {p:.2g}{sure})"
