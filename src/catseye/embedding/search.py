"""`catseye search`: the images of a file of features that are most like one image.

Enters: the file and an image. Leaves: `Hit`s, the nearest first. Called by cli. The image is turned into a vector by
the network that made the file; which one that was stands in it.
"""

from dataclasses import dataclass
from pathlib import Path

from catseye.embedding.backbone import Backbone, open_backbone
from catseye.embedding.features import Features
from catseye.embedding.neighbours import find_neighbours
from catseye.errors import DataError, UsageError
from catseye.preprocess import ImageSource, Preprocessing, preprocess


@dataclass(frozen=True)
class Hit:
    """One image of the file; `cosine` is 1 for the same direction, `label` empty where it has none."""

    name: str
    label: str
    cosine: float


def search(
    features: Features, image: ImageSource, *, top: int = 20, model: str | Path | None = None, device: str = "auto"
) -> list[Hit]:
    """The `top` images of the file whose features have the largest cosine to those of `image`.

    `model` is where the run that made the file is now, if it was moved.

    Raises:
        ImageError: the image cannot be read. DataError: another network made the file.

    """
    backbone = backbone_of(features, model, device)
    query = backbone.embed(preprocess(image, backbone.spec)[None])
    if query.shape[1] != features.values.shape[1]:
        raise DataError(
            f"the file has {features.values.shape[1]} features an image, the network gives {query.shape[1]}"
        )
    found = find_neighbours(features.values, query, top, norms=features.norms)
    hits = []
    for row, cosine in zip(found.rows[0].tolist(), found.cosines[0].tolist(), strict=True):
        label = int(features.labels[row])
        hits.append(Hit(str(features.names[row]), features.classes[label] if label >= 0 else "", float(cosine)))
    return hits


def backbone_of(features: Features, model: str | Path | None = None, device: str = "auto") -> Backbone:
    """The network that made a file of features, where it is still the same.

    Raises:
        UsageError: it is not where it was. DataError: it is another one by now.

    """
    name, made = str(features.origin["backbone"]), str(features.origin["sha256"])
    published = name.startswith(("PyPI package", "published weights"))
    if model is None and not published:
        if not Path(name).exists():
            raise UsageError(f"the features were made by {name}, which does not exist; say where it is: --model RUN")
        model = name
    spec = Preprocessing.model_validate(features.origin["preprocessing"])
    backbone = open_backbone(model, None, device=device, spec=spec)
    if backbone.sha256 != made:
        raise DataError(
            f"{name} made these features, and {backbone.name} is another network than that one was; give the right one "
            "with --model, or make the features anew with catseye embed"
        )
    return backbone
