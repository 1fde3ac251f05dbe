"""The parity gate: an exported file gives the run's answers for the same bytes.

Enters: the run's `Classifier`, a function that runs the file, and held-out images. Leaves: `ParityResult`; `require`
raises if it is not good enough. Called by `proving.py`.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from catseye.classifier import Classifier, softmax
from catseye.errors import CatseyeError
from catseye.evaluation.metrics import Z_95, confusion_matrix, macro_f1, wilson_interval
from catseye.exporting.familiarity_proof import compare_familiarity, require_familiarity
from catseye.exporting.held_out import HeldOut
from catseye.exporting.map_proof import require_map
from catseye.exporting.parity_result import Answers, BatchRow, ParityLimits, ParityResult, Score
from catseye.machine.waiting import Waiting
from catseye.preprocess import Pixels, Preprocessing, preprocess

BATCH_SIZES = (1, 7, 64)
NUM_WORST = 5

Ask = Callable[[Pixels], tuple[NDArray[np.floating], ...]]
"""(N, H, W, C) uint8 -> logits (N, K), probabilities (N, K), and familiarity (N,) if the file has it, computed by the
format's own runtime."""


class RunAnswers(NamedTuple):
    """The run's probabilities (N, K), and its familiarity (N,) if it has that."""

    probabilities: Answers
    familiarity: Answers | None = None

    def part(self, stop: int, *, familiarity: bool = True) -> "RunAnswers":
        """The answers to the first `stop` images.

        Without `familiarity` for a format that cannot have it.
        """
        kept = None if self.familiarity is None or not familiarity else self.familiarity[:stop]
        return RunAnswers(self.probabilities[:stop], kept)


def compare_answers(
    reference: Classifier,
    ask: Ask,
    spec: Preprocessing,
    temperature: float,
    images: HeldOut,
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    expected: RunAnswers | Answers | None = None,
    more: HeldOut | None = None,
) -> ParityResult:
    """Compare the run's answers with the file's at every batch size.

    The run is evaluated once, or not at all if `expected` has its answers. `spec` and `temperature` come from the file
    itself. The file's probabilities are taken twice, from its own output and from its logits, at a temperature above 1
    also without it; the largest difference counts. For the images in `more` only equal answers count, not labels.
    """
    reference_answers = answers_of(reference, images) if expected is None else expected
    expected, run_familiarity = (
        reference_answers if isinstance(reference_answers, RunAnswers) else RunAnswers(reference_answers)
    )
    pixels = np.stack([preprocess(content, spec) for content in images.contents])
    waiting = Waiting("asking the file", len(pixels) * len(batch_sizes))
    rows, largest, familiarity = [], np.zeros(len(pixels)), []
    answers = file_answers = expected.argmax(1)
    for batch_size in batch_sizes:
        logits, probabilities, *others = _ask_in_batches(ask, pixels, batch_size, waiting)
        familiarity.append(others[0] if others else None)
        apart = _differences(logits, probabilities, expected, temperature)
        file_answers = logits.argmax(1)
        largest = np.maximum(largest, apart.max(1))
        agreement = float((file_answers == answers).mean())
        rows.append(BatchRow(batch_size, float(apart.max()), float(apart.mean()), agreement))
    names = reference.classes
    worst = [
        (images.names[index], float(largest[index]), names[answers[index]], names[file_answers[index]])
        for index in np.argsort(-largest, kind="stable")[:NUM_WORST]
    ]
    scores = [_score(predicted, images.labels, len(names)) for predicted in (answers, file_answers)]
    before, after = answers == images.labels, file_answers == images.labels
    result = ParityResult(
        images.split,
        len(pixels),
        tuple(rows),
        scores[0],
        scores[1],
        tuple(worst),
        expected,
        paired_drop(before, after),
    )
    if run_familiarity is not None:
        result = replace(result, familiarity=compare_familiarity(run_familiarity, familiarity, images.names))
    if more is None:
        return result
    same = answers_of(reference, more).probabilities.argmax(1) == _ask_once(ask, more.pixels(spec))
    pooled = paired_drop(np.append(before, np.full(len(same), True)), np.append(after, same))
    return replace(result, num_more=len(same), more=pooled)


def _ask_in_batches(ask: Ask, pixels: Pixels, batch_size: int, waiting: Waiting) -> list[NDArray[np.floating]]:
    """The file's outputs for all images, computed in batches.

    These are logits, probabilities, and familiarity if the file has it.
    """
    batches = []
    with waiting:
        for start in range(0, len(pixels), batch_size):
            batches.append(ask(pixels[start : start + batch_size]))
            waiting.step(len(pixels[start : start + batch_size]))
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def _differences(
    logits: NDArray[np.floating],
    probabilities: NDArray[np.floating],
    expected: NDArray[np.float64],
    temperature: float,
) -> NDArray[np.float64]:
    """The difference of each probability from the run's.

    Of the ways to get a probability from the file, the one with the largest difference counts.

    Shape: (N, K).
    """
    apart = np.maximum(np.abs(probabilities - expected), np.abs(softmax(logits, temperature) - expected))
    if temperature > 1:  # a high temperature must not hide differences of the logits
        apart = np.maximum(apart, np.abs(softmax(logits) - _at_one(expected, temperature)))
    return np.where(np.isnan(apart), 1.0, apart)  # NaN agrees with nothing


def _ask_once(ask: Ask, pixels: Pixels) -> NDArray[np.int64]:
    size = BATCH_SIZES[-1]
    parts = [ask(pixels[start : start + size])[0].argmax(1) for start in range(0, len(pixels), size)]
    return np.concatenate(parts)


def paired_drop(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, float, float]:
    """The drop of accuracy on the same N images, with its 95% interval.

    Source: Agresti and Min 2005, Simple improved confidence intervals for comparing matched proportions: Wald's
    interval after adding 1/2 to each cell of the 2 x 2 table.

    >>> hits = np.arange(1000) < 900
    >>> [round(x, 4) for x in paired_drop(hits, hits & (np.arange(1000) >= 10))]
    [0.01, 0.0035, 0.0164]
    """
    num = len(before)
    lost, won = int((before & ~after).sum()) + 0.5, int((after & ~before).sum()) + 0.5
    centre = (lost - won) / (num + 2)
    spread = Z_95 * math.sqrt((lost + won) / (num + 2) - centre**2) / math.sqrt(num + 2)
    return (float(before.mean() - after.mean()), centre - spread, centre + spread)


def _at_one(probabilities: Answers, temperature: float) -> Answers:
    """The probabilities at temperature 1.

    Shape: (N, K) -> (N, K).
    """
    return softmax(np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)) * temperature)


def require(comparison: ParityResult, limits: ParityLimits, file: str) -> None:
    """Raise unless the file's answers equal the run's within the limits.

    Raises:
        CatseyeError: they do not; names the worst images.

    """
    advice = ""
    if limits.max_drop is not None:
        good = comparison.smallest_drop <= limits.max_drop
        low, high = (100 * value for value in comparison.drop[1:])
        got = f"{100 * comparison.drop[0]:.2f} points (95% interval {low:.2f} to {high:.2f}"
        got += f", {comparison.num_images} images)"
        if comparison.more is not None:
            low, high = (100 * value for value in comparison.more[1:])
            got += f", {low:.2f} to {high:.2f} with {comparison.num_more} training images"
        advice = f"; --max-drop {math.ceil(1000 * comparison.smallest_drop) / 10:g} would accept it"
    else:
        good = comparison.max_difference <= limits.max_difference and comparison.agreement >= limits.agreement
        got = f"{comparison.agreement:.2%} and {comparison.max_difference:.4g}"
    if good:
        if limits.max_drop is None and comparison.familiarity is not None:
            require_familiarity(comparison.familiarity, file)
        if limits.max_drop is None and comparison.heat_map is not None:
            require_map(comparison.heat_map, file)
        return
    worst = "".join(
        f"\n  {name}: |Δp| {apart:.4f}, the run says {run}, the file {answer}"
        for name, apart, run, answer in comparison.worst
    )
    raise CatseyeError(
        f"the exported file does not answer as the run does, so {file} was not written; allowed: "
        f"{limits.to_line()}; got {got}{advice}; worst images:{worst}"
    )


def answers_of(reference: Classifier, images: HeldOut) -> RunAnswers:
    """The run's answers, from the bytes of the files."""
    rows, familiarity = [], []
    with Waiting("asking the run", len(images.contents)) as waiting:
        for answer in reference.predict_many(images.contents):
            if isinstance(answer, Exception):
                raise answer
            rows.append(answer.probabilities)
            if answer.familiarity is not None:
                familiarity.append(answer.familiarity)
            waiting.step()
    return RunAnswers(np.stack(rows), np.array(familiarity) if familiarity else None)


def _score(answers: NDArray[np.int64], labels: NDArray[np.int64], num_classes: int) -> Score:
    hits = int((answers == labels).sum())
    low, high = wilson_interval(hits, len(labels))
    return Score(hits / len(labels), low, high, macro_f1(confusion_matrix(labels, answers, num_classes)))


def __getattr__(name: str) -> type[Any]:
    """The old names of version 0.1, for one release."""
    renamed = {"Comparison": ParityResult, "Limits": ParityLimits}
    if name not in renamed:
        raise AttributeError(f"{__name__} has no {name!r}")
    warnings.warn(f"{name} is now called {renamed[name].__name__}", DeprecationWarning, stacklevel=2)
    return renamed[name]
