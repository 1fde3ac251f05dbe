"""A frozen network with published weights, and its features of the images.

Enters: a `Search` and a session. Leaves: `FrozenBackbone`, `TrialFeatures`. Called by the rungs of heads. Features of
the images that train and judge heads are computed once, and stored in the run folder while the run is unfinished, one
file per network, input size and kind of copy. Test images get none.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catseye.counting import count
from catseye.data.augment import normalise_batch, to_unit
from catseye.data.loaders import Indices, Loader, MemoryLoader, StreamLoader
from catseye.data.prepare import prepare_again
from catseye.data.sources import TRAIN, VAL
from catseye.errors import DataError
from catseye.machine.memory import split_for_inference
from catseye.manifest import Architecture
from catseye.models.folding import fold_norms
from catseye.models.heads import linear_on_pooled, replace_head
from catseye.preprocess import Preprocessing
from catseye.seeds import derive
from catseye.training.cached_features import FeatureLoader
from catseye.training.kept_features import features_key, find_features, keep_features
from catseye.training.session import RunSession
from catseye.training.transfer import load_backbone, pretrained_options
from catseye.training.trials.search import Search, SearchOver

FIRST_SHARE = 0.55  # of the time left: the most that the features of the first head may take
MOST_JUDGES = 2_000  # validation images that judge
TIMED_IMAGES = 8
LEAST_LEARNERS = 2
ENLARGED = 0.8  # of each side: the centre of the image that an enlarged copy shows

Copies = Literal["", "mirrored", "enlarged"]


@dataclass(frozen=True)
class FrozenBackbone:
    """A frozen network with published weights; `fast` has the same features.

    `session` has its settings, its weights, and images in the form that it takes. `classifier` (C, F + 1), the last
    column is the bias, is the published one if it is one linear layer on pooled features, else None.
    """

    session: RunSession
    model: nn.Module
    fast: nn.Module
    architecture: Architecture
    classifier: Tensor | None = None


@dataclass(frozen=True)
class TrialFeatures:
    """Pooled features of training images (V, n, F) and of judges (m, F)."""

    session: RunSession
    numbers: Indices
    train: Tensor
    val_numbers: Indices
    val: Tensor

    @property
    def px(self) -> int:
        """The side of the input."""
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
    """Build the network of a session, and measure its speed."""
    assert session.published is not None
    torch.manual_seed(session.settings.seed)
    whole = session.settings.transfer.model_copy(update={"strategy": "full"})  # each trial decides what is frozen
    settings = session.settings.model_copy(update={"transfer": whole})
    spec = session.prepared.spec
    model = load_backbone(settings, spec, session.published, session.place.device)
    classifier = linear_on_pooled(model.eval())
    replace_head(model, search.num_classes, spec.channels, min(spec.height_px, spec.width_px))
    model.eval().requires_grad_(False)
    architecture = Architecture(
        name=session.settings.model.name, options={**pretrained_options(session.settings), "head": session.head}
    )
    x = torch.rand(TIMED_IMAGES, spec.channels, spec.height_px, spec.width_px, device=session.place.device)
    x = x.to(memory_format=torch.channels_last)
    fast = fold_norms(model.get_submodule("features"), x[:2])
    with torch.inference_mode():
        for _ in range(2):  # the first pass is slower than those that follow
            begun = time.perf_counter()
            float(fast(x).sum())
            seconds = time.perf_counter() - begun
    search.pace_of(session).note(TIMED_IMAGES, spec.height_px, seconds)
    return FrozenBackbone(session, model, fast, architecture, classifier)


def at_size(session: RunSession, px: int) -> RunSession:
    """The session with another input size; its images are decoded again at that size."""
    return with_input(session, session.prepared.spec.model_copy(update={"height_px": px, "width_px": px}))


def with_input(session: RunSession, spec: Preprocessing) -> RunSession:
    """The session with other preprocessing of its images.

    Raises:
        DataError: the images do not fit into memory.

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


def features_path(search: Search, session: RunSession, px: int, copies: Copies = "") -> Path:
    """The file of a network's features at an input size."""
    network = session.settings.model.name.replace(":", "-").replace("/", "-")
    suffix = f"-{copies}" if copies else ""
    return search.run.path / f"features-{network}-{px}{suffix}.safetensors"


def features_forecast_s(search: Search, session: RunSession, copies: Copies = "") -> float:
    """Seconds to compute the features of all images; 0 if the run folder has them."""
    px = session.prepared.spec.height_px
    if features_path(search, session, px, copies).exists() or search.jury is None:
        return 0.0
    num = len(np.union1d(search.jury.learners, search.jury.judges))
    return search.pace_of(session).forecast_s(num, px)


def get_features(search: Search, backbone: FrozenBackbone, session: RunSession, copies: Copies = "") -> TrialFeatures:
    """Features of all images that train and judge, stored in the run folder.

    Before there is a head, as many of the training images as the time allows, drawn at random; later all of them, or
    the search is over.

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
    path = features_path(search, session, side, copies)
    known = find_features(path, key)
    if known is None:
        begun = time.perf_counter()
        if copies == "enlarged":  # only training images are enlarged
            judges = judges[:0]
        val, val_numbers = _compute_features(search, backbone, session, "val", judges, copies)
        train, numbers = _compute_features(search, backbone, session, "train", numbers, copies)
        search.pace_of(session).note(len(train) + len(val), side, time.perf_counter() - begun)
        known = {"train": train, "numbers": torch.from_numpy(numbers), "val": val,
                 "val_numbers": torch.from_numpy(val_numbers)}  # fmt: skip
        keep_features(path, known, key)
    return TrialFeatures(
        session, known["numbers"].numpy(), known["train"][None], known["val_numbers"].numpy(), known["val"]
    )


@torch.inference_mode()
def _compute_features(
    search: Search, backbone: FrozenBackbone, session: RunSession, side: str, numbers: Indices, copies: Copies
) -> tuple[Tensor, Indices]:
    """Pooled features (n, F) in the order of `numbers`, without unreadable images."""
    if not len(numbers):
        return torch.empty(0, 0), numbers
    loader = session.prepared.loaders[side].subset(numbers)
    assert isinstance(loader, MemoryLoader | StreamLoader)
    loader = replace(loader, shuffle=False, batch_size=min(loader.batch_size, 64))
    pooled: list[Tensor] = []
    seen: list[Tensor] = []
    begun = time.perf_counter()
    for batch in loader.epoch(0):
        x = _copy_of(normalise_batch(to_unit(batch.pixels), session.prepared.spec), copies)
        pooled += [backbone.fast(part).float().mean((2, 3)).cpu() for part in split_for_inference(x)]
        seen.append(batch.indices)
        if search.stop.agree() is not None:
            raise SearchOver
        done = sum(map(len, seen))
        each_s = (time.perf_counter() - begun) / done
        if search.kept is not None:
            search.raise_if_over()
        elif side == "train" and done >= LEAST_LEARNERS and search.budget.left_s < 2 + FIRST_SHARE * each_s * done:
            search.session.place.say(
                f"- the time suffices for features of {done:,} of {len(numbers):,} training images"
            )
            break
    if not pooled:
        raise DataError(f"none of {count(len(numbers), 'image')} can be read; run `catseye check` to see why")
    return torch.cat(pooled), torch.cat(seen).numpy()


def _copy_of(x: Tensor, copies: Copies) -> Tensor:
    """Shape: (N, C, H, W) -> the same."""
    if copies == "mirrored":
        return x.flip(3)
    if copies == "enlarged":
        height, width = x.shape[2:]
        top, left = (round(side * (1 - ENLARGED) / 2) for side in (height, width))
        middle = x[:, :, top : height - top, left : width - left]
        return F.interpolate(middle, (height, width), mode="bilinear", align_corners=False)
    return x
