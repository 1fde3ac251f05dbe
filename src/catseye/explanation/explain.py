"""`catseye explain cam RUN IMAGE`: the part of the image an answer rests on.

Enters: a run and an image. Leaves: `Explanation` with the map and its scores, and a PNG. Called by cli.
"""

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from catseye.decoding.channels import as_colours
from catseye.errors import UsageError
from catseye.explanation.opened_image import map_image
from catseye.explanation.worth import Worth, measure_worth
from catseye.files import StrPath, make_folder, write_atomically
from catseye.notebook import Html, html_bytes, html_table
from catseye.preprocess import ImageSource, Pixels
from catseye.runtimes.loading import open_model

SHOWN_PX = 448
# Viridis at nine points: equal steps look equal, also in grey and to colour-blind readers.
_VIRIDIS = (
    (68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140),
    (40, 174, 128), (94, 201, 98), (173, 220, 48), (253, 231, 37),
)  # fmt: skip


@dataclass(frozen=True)
class Explanation:
    """The map of a class on an image, with its scores.

    `probability` is that of the class, 0 to 1; `heat` (H, W) is the map, 0 to 1; `path` is that of the PNG, None if the
    image was no file and `out` was left out. `pixels` (H, W, C) uint8 are the image.
    """

    label: str
    probability: float
    method: str
    heat: NDArray[np.float32]
    worth: Worth
    path: Path | None
    pixels: Pixels = field(repr=False)

    def plot(self) -> Figure:
        """The image, and the image under its map, as a matplotlib figure."""
        figure = Figure(figsize=(7, 3.8), layout="constrained")
        both = (self.pixels, overlay(self.pixels, self.heat))
        for axes, shown in zip(figure.subplots(1, 2), both, strict=True):
            axes.imshow(shown.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.axis("off")
        figure.suptitle(f"{self.label} {self.probability:.1%}, {self.method}")
        return figure

    def _repr_html_(self) -> str:
        facts = {"class": f"{self.label} {self.probability:.1%}", "method": self.method, **vars(self.worth)}
        rows = [(name, f"{value:.3f}" if isinstance(value, float) else value) for name, value in facts.items()]
        return Html(html_bytes(side_by_side(self.pixels, self.heat), self.label) + html_table((), rows))


def explain(
    run: StrPath,
    image: ImageSource,
    *,
    method: str = "gradcam",
    target: str | None = None,
    out: StrPath | None = None,
    device: str = "auto",
) -> Explanation:
    """Map the part of an image that one class rests on.

    The class is `target`, by default the network's own answer. `method` is gradcam, gradcam++, eigencam or cam. The PNG
    goes to `out`, a folder or a file; by default to IMAGE-METHOD.png if the image is a file.

    Raises:
        ModelFileError, ImageError: run or image cannot be used. UnknownName: no such class or method.
        UsageError: the network's feature map has a single place, or it is an exported file, which has no layers.

    """
    opened = open_model(run, device=device, need="layers")
    image_map = map_image(opened, image, method, target)
    worth = measure_worth(opened.layers(), image_map.x[0], image_map.heat, image_map.index)
    values = image_map.heat.cpu().numpy()
    path = None
    if out is not None or isinstance(image, str | Path):
        stem = Path(image).stem if isinstance(image, str | Path) else image_map.label
        path = _png_path(out, f"{stem}-{method}.png")
        write_atomically(path, side_by_side(image_map.pixels, values))
    return Explanation(image_map.label, image_map.probability, method, values, worth, path, image_map.pixels)


def _png_path(out: StrPath | None, name: str) -> Path:
    """The path of the PNG: `out` itself, or `name` in the folder `out`."""
    if out is None:
        return Path(name)
    path = Path(out)
    if path.is_dir() or not path.suffix:
        make_folder(path)
        return path / name
    if path.suffix.lower() != ".png":
        raise UsageError(f"--out is a folder or a file that ends in .png; got {path}")
    return path


def side_by_side(pixels: Pixels, heat: NDArray[np.float32]) -> bytes:
    """The image, and the image under its map, as the bytes of a PNG.

    Shape: (H, W, C) uint8, (H, W) 0 to 1.
    """
    both = np.concatenate([_colour(pixels), overlay(pixels, heat)], axis=1)
    factor = max(1, SHOWN_PX // pixels.shape[0])
    image = Image.fromarray(both)
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def overlay(pixels: Pixels, heat: NDArray[np.float32], strength: float = 0.55) -> Pixels:
    """The image in grey under the map in colour.

    Shape: (H, W, C) uint8, (H, W) 0 to 1 -> (H, W, 3) uint8.
    """
    steps = np.linspace(0, 1, len(_VIRIDIS))
    colours = np.stack(
        [np.interp(heat, steps, [colour[channel] for colour in _VIRIDIS]) for channel in range(3)], axis=2
    )
    grey = _colour(pixels).mean(2, keepdims=True)
    mixed: Pixels = ((1 - strength) * grey + strength * colours).round().clip(0, 255).astype(np.uint8)
    return mixed


def _colour(pixels: Pixels) -> Pixels:
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else as_colours(pixels)
