"""The first rungs of the ladder: heads on the frozen features of published weights, at several input sizes.

Enters: a `Search`. Leaves: trials, and a model after the first head. Called by ladder.py. Features are computed once
per image and size, and lie in the run folder while the run is unfinished. The test images have none.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from catseye.counting import count
from catseye.data.augment import normalise_batch, to_unit
from catseye.data.loaders import Indices, Loader, MemoryLoader, StreamLoader
from catseye.data.prepare import prepare_again
from catseye.data.sources import TRAIN, VAL
from catseye.errors import DataError, TrainingError
from catseye.evaluation.calibration import fit_temperature
from catseye.machine.memory import answered_in_parts
from catseye.manifest import Architecture
from catseye.models.folding import fold_norms
from catseye.preprocess import Preprocessing
from catseye.seeds import derive
from catseye.training.cached_features import FeatureLoader
from catseye.training.kept_features import features_key, find_features, keep_features
from catseye.training.run_folder import make_manifest
from catseye.training.session import RunSession
from catseye.training.transfer import build_pretrained, pretrained_options
from catseye.training.trials.linear_head import (
    FeatureTable,
    HeadFit,
    few_threads,
    fit_discriminant,
    fit_logistic,
    vote_neighbours,
)
from catseye.training.trials.scores import TrialScore, score_answers
from catseye.training.trials.search import Found, Kept, Search, SearchOver, choose_jury

SIZES_PX = (352, 288, 224, 160, 128, 96)
FIRST_SHARE = 0.55  # of what is left: the features of the first head may take so much
MOST_JUDGES = 2_000  # validation images that judge
TIMED_IMAGES = 8
LEAST_LEARNERS = 2


@dataclass(frozen=True)
class FrozenBackbone:
    """A network with published weights, frozen, and its features again, faster and giving the same.

    `session` has its settings, its weights, and images as it takes them.
    """

    session: RunSession
    model: nn.Module
    fast: nn.Module
    architecture: Architecture


@dataclass(frozen=True)
class TrialFeatures:
    """Pooled features of the learners (V, n, F) and of the judges (m, F), at one input size."""

    session: RunSession
    numbers: Indices
    train: Tensor
    val_numbers: Indices
    val: Tensor

    @property
    def px(self) -> int:
        """Side of the input."""
        return self.session.prepared.spec.height_px

    def loaders(self) -> dict[str, Loader]:
        """The loaders that a finished run is measured with."""
        prepared = self.session.prepared
        made = dict(prepared.loaders)
        for side, features, numbers in (
            ("train", self.train[:1], self.numbers),
            ("val", self.val[None], self.val_numbers),
        ):
            if len(numbers):
                row = np.full(len(prepared.images), -1, np.int64)
                row[numbers] = np.arange(len(numbers))
                labels = torch.from_numpy(prepared.images.labels[numbers])
                made[side] = FeatureLoader(
                    features, labels, row, np.sort(numbers), 4096, bad=prepared.loaders[side].bad
                )
        return made


def open_frozen(search: Search, session: RunSession) -> FrozenBackbone:
    """The network of a session, and how fast it is on this machine."""
    assert session.published is not None
    torch.manual_seed(session.settings.seed)
    whole = session.settings.transfer.model_copy(update={"strategy": "full"})  # what is frozen is each trial's own
    chosen = session.settings.model_copy(update={"transfer": whole})
    model, _ = build_pretrained(chosen, session.prepared, session.published, session.place.device)
    model.eval().requires_grad_(False)
    architecture = Architecture(
        name=session.settings.model.name, options={**pretrained_options(session.settings), "head": session.head}
    )
    spec = session.prepared.spec
    x = torch.rand(TIMED_IMAGES, spec.channels, spec.height_px, spec.width_px, device=session.place.device)
    x = x.to(memory_format=torch.channels_last)
    fast = fold_norms(model.get_submodule("features"), x[:2])
    with torch.inference_mode():
        for _ in range(2):  # the first pass is slower than those that follow
            begun = time.perf_counter()
            float(fast(x).sum())
            seconds = time.perf_counter() - begun
    search.pace_of(session).note(TIMED_IMAGES, spec.height_px, seconds)
    return FrozenBackbone(session, model, fast, architecture)


def first_size(search: Search, backbone: FrozenBackbone) -> int:
    """The largest input, at most the one the weights ask for, whose features leave time for more; else the smallest.

    A search that goes on has the features it began with.
    """
    prepared, pace = backbone.session.prepared, search.pace_of(backbone.session)
    for px in (prepared.spec.height_px, *SIZES_PX):
        if _features_path(search, backbone.session, px).exists():
            return px
    num_images = prepared.counts["train"] + min(MOST_JUDGES, prepared.counts["val"])
    own = prepared.spec.height_px
    for side in (own, *(px for px in SIZES_PX if px < own)):
        if pace.forecast_s(num_images, side) <= FIRST_SHARE * search.budget.left_s:
            return side
    return min(own, SIZES_PX[-1])


def at_size(session: RunSession, px: int) -> RunSession:
    """The session with another input size; its images are decoded again, or streamed at that size."""
    return with_input(session, session.prepared.spec.model_copy(update={"height_px": px, "width_px": px}))


def with_input(session: RunSession, spec: Preprocessing) -> RunSession:
    """The session with images prepared in another way.

    Raises:
        DataError: they do not fit into memory.

    """
    prepared = session.prepared
    if spec == prepared.spec:
        return session
    if isinstance(prepared.loaders["train"], StreamLoader):
        loaders: dict[str, Loader] = {}
        for side, loader in prepared.loaders.items():
            assert isinstance(loader, StreamLoader)
            loaders[side] = replace(loader, spec=spec)
        return replace(session, prepared=replace(prepared, spec=spec, loaders=loaders))
    settings = session.settings
    again = prepare_again(
        prepared, settings.data, spec, batch_size=settings.training.batch_size, device=session.place.device,
        seed=settings.seed,
    )  # fmt: skip
    return replace(session, prepared=again)


def _features_path(search: Search, session: RunSession, px: int, more: str = "") -> Path:
    network = session.settings.model.name.replace(":", "-").replace("/", "-")
    return search.run.path / f"features-{network}-{px}{more}.safetensors"


def features_forecast_s(search: Search, session: RunSession) -> float:
    """Seconds until there are features of learners and judges; 0 where the run folder has them."""
    px = session.prepared.spec.height_px
    if _features_path(search, session, px).exists() or search.jury is None:
        return 0.0
    num = len(np.union1d(search.jury.learners, search.jury.asked))
    return search.pace_of(session).forecast_s(num, px)


def get_features(
    search: Search, backbone: FrozenBackbone, session: RunSession, *, mirrored: bool = False
) -> TrialFeatures:
    """Features of all learners and judges, from the run folder where it has them.

    Before there is a head, as many of the learners as the time allows, drawn at random; later all, or the rung is over.

    Raises:
        SearchOver: the time is up, or a signal came.

    """
    prepared, seed = session.prepared, session.settings.seed
    rng = np.random.default_rng(derive(seed, "learners"))
    numbers = rng.permutation(np.flatnonzero(prepared.splits == TRAIN).astype(np.int64))
    judges = rng.permutation(np.flatnonzero(prepared.splits == VAL).astype(np.int64))[:MOST_JUDGES]
    if search.jury is not None:
        numbers = search.jury.learners
    key = features_key(
        network=session.settings.model.model_dump(), weights=session.published.source if session.published else "",
        spec=prepared.spec.model_dump(), data=prepared.data_sha256, sides=prepared.splits.tolist(), seed=seed,
    )  # fmt: skip
    side = prepared.spec.height_px
    path = _features_path(search, session, side, "-mirrored" if mirrored else "")
    known = find_features(path, key)
    if known is None:
        begun = time.perf_counter()
        val, val_numbers = (
            (torch.empty(0, 0), judges[:0]) if mirrored else _pass(search, backbone, session, "val", judges)
        )
        train, numbers = _pass(search, backbone, session, "train", numbers, mirrored=mirrored)
        search.pace_of(session).note(len(train) + len(val), side, time.perf_counter() - begun)
        known = {"train": train, "numbers": torch.from_numpy(numbers), "val": val,
                 "val_numbers": torch.from_numpy(val_numbers)}  # fmt: skip
        keep_features(path, known, key)
    return TrialFeatures(
        session, known["numbers"].numpy(), known["train"][None], known["val_numbers"].numpy(), known["val"]
    )


@torch.inference_mode()
def _pass(
    search: Search,
    backbone: FrozenBackbone,
    session: RunSession,
    side: str,
    numbers: Indices,
    *,
    mirrored: bool = False,
) -> tuple[Tensor, Indices]:
    """Pooled features (n, F) in the order of `numbers`, which those that cannot be read are taken out of."""
    if not len(numbers):
        return torch.empty(0, 0), numbers
    loader = session.prepared.loaders[side].subset(numbers)
    assert isinstance(loader, MemoryLoader | StreamLoader)
    loader = replace(loader, shuffle=False, batch_size=min(loader.batch_size, 64))
    pooled: list[Tensor] = []
    seen: list[Tensor] = []
    begun = time.perf_counter()
    for batch in loader.epoch(0):
        x = normalise_batch(to_unit(batch.pixels), session.prepared.spec)
        x = x.flip(3) if mirrored else x
        pooled += [backbone.fast(part).float().mean((2, 3)).cpu() for part in answered_in_parts(x)]
        seen.append(batch.indices)
        if search.stop.asked() is not None:
            raise SearchOver
        done = sum(map(len, seen))
        each_s = (time.perf_counter() - begun) / done
        if search.kept is not None:
            search.look()
        elif side == "train" and done >= LEAST_LEARNERS and search.budget.left_s < 2 + FIRST_SHARE * each_s * done:
            search.session.place.say(f"- time for the features of {done:,} of {len(numbers):,} training images")
            break
    if not pooled:
        raise DataError(f"none of {count(len(numbers), 'image')} can be read")
    return torch.cat(pooled), torch.cat(seen).numpy()


def frozen_rungs(search: Search, backbone: FrozenBackbone) -> None:
    """Neighbours, logistic regression, other heads: one trial each."""
    px = first_size(search, backbone)
    begun = time.perf_counter()
    try:
        session = at_size(backbone.session, px)
    except DataError:
        session = backbone.session
    found = get_features(search, backbone, session)
    if search.jury is None:
        search.jury = choose_jury(search.session, found.numbers)
    name = f"frozen features, {px} px"
    table = _trial_table(search, found)
    groups = session.prepared.groups
    votes = vote_neighbours(table, groups[found.numbers] if groups is not None else np.arange(len(found.numbers)))
    spent = time.perf_counter() - begun
    score = score_answers(votes, search.labels[found.numbers], found.numbers, search.weights)
    search.consider(f"nearest neighbours on {name}", score, spent)
    try_head(search, backbone, found, fit_logistic, f"logistic regression on {name}")
    try_head(search, backbone, found, lambda t: fit_logistic(t, standardise=True), "the same, features standardised")
    try_head(search, backbone, found, fit_discriminant, "linear discriminants")
    search.look()


def more_frozen_rungs(search: Search, backbone: FrozenBackbone) -> None:
    """Other sizes and mirrored copies, one trial each, with the backbone of the best head.

    Raises:
        SearchOver: the time is up, or a signal came.

    """
    if search.kept is not None and search.may_gain:
        _try_sizes(search, backbone, search.kept.session.prepared.spec.height_px)
    if search.may_gain:
        _try_mirrored(search, backbone)


def _try_sizes(search: Search, backbone: FrozenBackbone, first_px: int) -> None:
    own, pace = backbone.session.prepared, search.pace_of(backbone.session)
    for px in SIZES_PX:
        enough = px <= max(own.own_px, first_px) * 1.1
        num = len(search.jury.learners) + len(search.jury.asked) if search.jury else 0
        forecast = pace.forecast_s(num, px)
        if px == first_px or not enough or px < 160 or not search.budget.fits(forecast):
            continue
        try:
            found = get_features(search, backbone, at_size(backbone.session, px))
        except DataError:  # no memory for images of that size
            continue
        try_head(search, backbone, found, fit_logistic, f"logistic regression, {px} px")


def _try_mirrored(search: Search, backbone: FrozenBackbone) -> None:
    kept, jury = search.kept, search.jury
    if kept is None or jury is None or not search.session.prepared.images.mirror_safe:
        return
    side = kept.session.prepared.spec.height_px
    try:
        session = at_size(backbone.session, side)  # the model that is kept may be of two networks
    except DataError:
        return
    forecast = search.pace_of(session).forecast_s(len(jury.learners), side) + features_forecast_s(search, session)
    if not search.budget.fits(forecast):
        return
    plain = get_features(search, backbone, session)
    turned = get_features(search, backbone, session, mirrored=True)
    both = replace(plain, train=torch.cat([plain.train, turned.train]))
    try_head(search, backbone, both, fit_logistic, f"logistic regression with mirrored copies, {side} px")


def _trial_table(search: Search, found: TrialFeatures) -> FeatureTable:
    assert search.jury is not None
    labels = search.labels[found.numbers]
    weights = torch.from_numpy(search.weights[found.numbers]).float()
    return FeatureTable(found.train, torch.from_numpy(labels), weights, search.jury.folds, search.num_classes)


def try_head(
    search: Search, backbone: FrozenBackbone, found: TrialFeatures, fit: Callable[[FeatureTable], HeadFit], name: str,
    spent_s: float = 0.0, *, tunable: bool = True,
) -> bool:  # fmt: skip
    """Fit a head and consider it; whether it was kept. `spent_s`: what its features took, to be told with it.

    `tunable`: whether the rungs above may begin from it.

    Raises:
        SearchOver: the time is up, or a signal came. TrainingError: the head has no finite weights.

    """
    search.look()
    if search.kept is not None and not search.budget.fits(search.slowest_head_s):
        return False
    begun = time.perf_counter()
    with few_threads(found.train.numel()):
        head = fit(_trial_table(search, found))
    search.slowest_head_s = max(search.slowest_head_s, time.perf_counter() - begun)
    if not bool(head.weight.isfinite().all() and head.bias.isfinite().all()):
        raise TrainingError(f"{name}: the head has no finite weights; are all images of one colour?")
    score = _score_head(search, found, head)
    seconds = spent_s + time.perf_counter() - begun
    kept = search.consider(name, score, seconds, lambda: _found(search, backbone, found, head, name, score))
    if kept and tunable:
        search.heads["best"] = (head.weight, head.bias)
    return kept


def _score_head(search: Search, found: TrialFeatures, head: HeadFit) -> TrialScore:
    """Learners outside their folds, and the judges of the validation split, where those judge."""
    assert search.jury is not None
    numbers, logits = found.numbers, head.logits
    if search.jury.by_validation and len(found.val_numbers):
        unseen = (found.val @ head.weight.T + head.bias).numpy()
        logits = np.concatenate([logits, np.broadcast_to(unseen, (len(logits), *unseen.shape))], axis=1)
        numbers = np.concatenate([numbers, found.val_numbers])
    return score_answers(logits, search.labels[numbers], numbers, search.weights)


def _found(
    search: Search, backbone: FrozenBackbone, found: TrialFeatures, head: HeadFit, name: str, score: TrialScore
) -> Found:
    manifest = make_manifest(found.session, backbone.architecture)
    known = ~np.isnan(head.logits[0]).any(1)
    temperature = fit_temperature(head.logits[0][known], search.labels[found.numbers][known])
    manifest = manifest.model_copy(update={"temperature": temperature})
    state: Mapping[str, Tensor] = {**backbone.model.state_dict(), **head_state(head.weight, head.bias)}
    return Found(state, Kept(name, score, found.session, found.loaders(), manifest))


def head_state(weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """The tensors of a network's linear head, by their names."""
    return {"head.3.weight": weight.contiguous(), "head.3.bias": bias.contiguous()}
