"""How well a run separates foreign images from its own; fits its familiarity.

Enters: a run and its images. Leaves: `FamiliarityFit`, `Strangers`. Called by `calibrate.py`, and by training when a
run ends.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from catseye.classifier import softmax
from catseye.data.loaders import Loader
from catseye.data.prepare_evaluation import prepare_evaluation, prepare_foreign
from catseye.data.sources import Images, is_place, open_source
from catseye.evaluation.familiarity import FamiliarityFit, cosines, fit_familiarity
from catseye.evaluation.measure import MeasuredModel, collect_outputs
from catseye.evaluation.predict import collect_features
from catseye.evaluation.rejection import auroc, energy
from catseye.files import StrPath
from catseye.manifest import Manifest
from catseye.preprocess import Preprocessing
from catseye.runs import Run
from catseye.runtimes.model_file import OpenedModel

NUM_TRAINING = 2000  # images for the centres, at most

Logits = NDArray[np.floating]


@dataclass(frozen=True)
class Strangers:
    """How well three scores separate the run's images from foreign ones, 0 to 1.

    `refused` and `own_refused` are the shares of images that are "unknown" by either threshold; None if there is no
    threshold.
    """

    source: str
    num_images: int
    auroc_probability: float
    auroc_energy: float
    refused: float | None
    auroc_familiarity: float | None = None
    refused_by_probability: float | None = None
    refused_by_familiarity: float | None = None
    own_refused: float | None = None
    own_split: str = "validation"

    def to_lines(self) -> list[str]:
        """The lines that a terminal shows."""
        scores = "" if self.auroc_familiarity is None else f"familiarity {self.auroc_familiarity:.3f}, "
        scores += f"largest probability {self.auroc_probability:.3f}, energy {self.auroc_energy:.3f}"
        lines = [
            f"AUROC (chance that an image of the run scores above a foreign one: 0.5 is guessing, 1 perfect) against "
            f"{self.num_images:,} images of {self.source}: {scores}"
        ]
        if self.refused is None:
            return lines
        parts = {"familiarity": self.refused_by_familiarity, "the largest probability": self.refused_by_probability}
        by = ", ".join(f"{share:.1%} by {name}" for name, share in parts.items() if share is not None)
        lines.append(
            f"“unknown” is the answer for {self.refused:.1%} of those ({by}) and {self.own_refused:.1%} of the run's "
            f"own {self.own_split} images"
        )
        return lines


def learn_familiarity(
    layers: nn.Module, train: Loader, unseen: Loader | None, spec: Preprocessing, num_classes: int
) -> FamiliarityFit | None:
    """Centres and threshold of a finished network; None if there are too few images.

    The centres come from training images without augmentation; the threshold also from `unseen`, on which the network
    was not trained. Loaders of cached features are used as they are.
    """
    features, labels = collect_features(layers, train, spec)
    others = collect_features(layers, unseen, spec)[0] if unseen is not None and len(unseen.indices) else None
    return fit_familiarity(features, labels, num_classes, unseen=others)


def training_images(model: OpenedModel, run: Run, validation: MeasuredModel, data_dir: StrPath | None) -> Loader | None:
    """Some training images of a run that has no familiarity yet.

    None if the run names none.

    Raises:
        DataError: the training images are missing, or cannot be read.

    """
    recorded = run.data
    names = sorted(recorded["splits"].get("train") or ())
    drawn = np.random.default_rng(model.manifest.provenance.seed).permutation(len(names))[:NUM_TRAINING]
    if not len(drawn):
        return None
    folder = data_dir or recorded["data_dir"]
    folder = Path(folder) if folder else None
    _, loader, _ = prepare_evaluation(
        validation.source,  # where the images are now
        model.manifest.preprocessing,
        model.manifest.classes,
        device=torch.device(model.device),
        recorded={
            names[index]: "val" for index in drawn.tolist()
        },  # prepare_evaluation takes the held-out split of these
        data_dir=folder,
        settings=run.settings.data if (run.path / "settings.toml").is_file() else None,
    )
    return loader


def familiarity_of(model: OpenedModel, loader: Loader, fit: FamiliarityFit) -> NDArray[np.float64]:
    """How familiar every image of a loader is, in its order.

    Shape: -> (N,).
    """
    features, _ = collect_features(model.layers(), loader, model.manifest.preprocessing)
    return cosines(features, fit.scale, fit.centres)


def stored_fit(model: OpenedModel) -> FamiliarityFit | None:
    """The familiarity that a run already has."""
    threshold = model.manifest.familiarity_threshold
    if threshold is None or not model.knows_strangers:
        return None
    part = model.layers().get_submodule("familiarity")
    scale, centres = (part.get_buffer(name).float().cpu().numpy() for name in ("scale", "centres"))
    return FamiliarityFit(scale, centres, threshold)


def judge_strangers(
    model: OpenedModel,
    manifest: Manifest,
    own: tuple[Logits, NDArray[np.float64] | None, str],
    fit: FamiliarityFit | None,
    source: Images,
    data_dir: StrPath | None,
) -> Strangers:
    """Measure the model on foreign images.

    `manifest` has the thresholds and the temperature to use. `own` has logits (N, K), familiarity (N,) or None, and the
    split of the run's images.

    Source: Hendrycks, Gimpel 2017, arXiv 1610.02136 (largest probability); Liu et al. 2020 (energy).
    """
    loader = prepare_foreign(
        source,
        manifest.preprocessing,
        device=torch.device(model.device),
        data_dir=Path(data_dir) if data_dir else None,
    )
    foreign = collect_outputs(model, loader).logits
    logits, familiarity, split = own
    inside, outside = (softmax(values, manifest.temperature) for values in (logits, foreign))
    strange = familiarity_of(model, loader, fit) if fit is not None else None
    facts: dict[str, Any] = {"refused": None}
    if manifest.unknown_threshold is not None or strange is not None:
        facts = {
            "refused": float(manifest.are_unknown(outside, strange).mean()),
            "own_refused": float(manifest.are_unknown(inside, familiarity).mean()),
        }
        if manifest.unknown_threshold is not None:
            facts["refused_by_probability"] = float(manifest.are_unknown(outside).mean())
        if strange is not None and fit is not None:
            facts["refused_by_familiarity"] = float((strange < fit.threshold).mean())
    return Strangers(
        source=str(source) if is_place(source) else open_source(source).source,
        num_images=len(foreign),
        auroc_probability=auroc(inside.max(1), outside.max(1)),
        auroc_energy=auroc(energy(logits), energy(foreign)),
        auroc_familiarity=None if strange is None or familiarity is None else auroc(familiarity, strange),
        own_split=split,
        **facts,
    )
