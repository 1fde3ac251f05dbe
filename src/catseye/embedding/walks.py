"""`catseye.embed` and `catseye.search`: images to a file of vectors; a search.

Enters: a model and DATA, or a file of features and an image. Leaves: `Embedding`, or hits. Called by users and by cli.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from catseye.data.sources import Images, open_source
from catseye.embedding.backbone import open_backbone
from catseye.embedding.embed import Embedding, embed
from catseye.embedding.features import Features, read_features
from catseye.embedding.search import Hit, search
from catseye.errors import UsageError
from catseye.files import StrPath, path_of
from catseye.settings.reading import reading_values
from catseye.settings.schema import DataSettings


def embed_data(
    model: StrPath | None,
    data: Images,
    *,
    out: StrPath = "features.npz",
    pretrained: bool = False,
    layout: str = "auto",
    device: str = "auto",
    data_dir: StrPath | None = None,
    tell: Callable[[str], None] | None = None,
) -> Embedding:
    """Turn images into feature vectors, one row each, in a file: .npz or .parquet.

    `model` is a run, or None with `pretrained=True` for published ImageNet weights; `data` is that of `catseye.train`.
    `tell` gets messages about the progress. A call that was killed continues when it is repeated.

    Raises:
        UsageError: no network, or two. DataError: the images cannot be read. SaveError: the disk is full.

    """
    if (model is None) != pretrained:
        raise UsageError("embed needs one network: a run, or None with pretrained=True; got both or neither")
    reading = {key.removeprefix("data."): value for key, value in reading_values({"layout": layout}).items()}
    folder = Path(data_dir) if data_dir else None
    images = open_source(data, data_dir=folder, settings=DataSettings.model_validate(reading))
    backbone = open_backbone(None if model is None else path_of(model), images, device=device)
    return embed(images, backbone, Path(out), tell=tell)


def search_file(
    features: StrPath | Features,
    image: Any,
    *,
    top: int = 20,
    model: StrPath | None = None,
    device: str = "auto",
) -> list[Hit]:
    """The `top` images most like `image` in a file that `embed` wrote, nearest first.

    `image` is a path, bytes, a uint8 array or a Pillow image; `model` is the new path of the run that made the file, if
    it was moved.

    Raises:
        ImageError: the image cannot be read. DataError: another network made the file.

    """
    opened = features if isinstance(features, Features) else read_features(Path(features))
    return search(opened, image, top=top, model=None if model is None else path_of(model), device=device)
