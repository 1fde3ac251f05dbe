"""The images in a report: their choice, thumbnails, probabilities and maps.

Enters: the measurement of a model. Leaves: `Gallery`, plain data that the page's script draws, with class activation
maps. The total size stays within a budget, whatever the number of images. Called by `report.py`.
"""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from catseye.data.augment import normalise_batch, to_unit
from catseye.decoding.channels import as_colours
from catseye.errors import ImageError
from catseye.evaluation.label_errors import Suspect
from catseye.evaluation.measure import MeasuredModel
from catseye.explanation.cam import grad_cam, scale
from catseye.preprocess import Pixels, preprocess

MAX_TEXT_BYTES = 700_000  # names and probabilities
MAX_IMAGE_BYTES = 2_800_000  # small images in base64
MAX_PER_CELL = 12
NUM_LISTED = 18
THUMBNAIL_PX = 96


@dataclass(frozen=True)
class Gallery:
    """The images of a report.

    Keys of `items`: n name, t true class, p predicted class, q best classes, i image, h map. `cells` maps
    "true,predicted" to items; `worst`, `doubtful` and `suspects` are items too. `heat_size` is (h, w) of the maps, None
    if there are none.
    """

    items: list[dict[str, Any]]
    cells: dict[str, list[int]]
    worst: list[int]
    doubtful: list[int]
    suspects: list[int]
    heat_size: tuple[int, int] | None


def choose_images(measured: MeasuredModel, probabilities: NDArray[np.float64], suspects: Sequence[Suspect]) -> Gallery:
    """Choose the images that a report shows.

    Worst mistakes, most doubtful right answers, suspects, and some of every cell of the confusion matrix.

    Shape: probabilities (N, K), row by row those of `measured`.
    """
    labels, predicted = measured.outputs.labels, probabilities.argmax(1)
    confidence = probabilities.max(1)
    wrong, right = np.flatnonzero(predicted != labels), np.flatnonzero(predicted == labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    right = right[np.argsort(confidence[right], kind="stable")]
    worst, doubtful = wrong[:NUM_LISTED].tolist(), right[:NUM_LISTED].tolist()
    suspected = [suspect.row for suspect in suspects[:NUM_LISTED]]
    cells: dict[tuple[int, int], list[int]] = {}
    for row in [*wrong.tolist(), *right.tolist()]:
        cell = cells.setdefault((int(labels[row]), int(predicted[row])), [])
        if labels[row] != predicted[row] or len(cell) < MAX_PER_CELL:
            cell.append(row)
    order = _unique([*worst, *suspected, *doubtful, *_round_robin(cells)])
    items: list[dict[str, Any]] = []
    number: dict[int, int] = {}
    text_bytes = 0
    names = measured.names
    for row in order:
        best = np.argsort(-probabilities[row], kind="stable")[:3].tolist()
        item = {
            "n": names[row],
            "t": int(labels[row]),
            "p": int(predicted[row]),
            "q": [[index, round(float(probabilities[row, index]), 4)] for index in best],
        }
        text_bytes += len(names[row].encode("utf-8", "surrogateescape")) + 70
        if text_bytes > MAX_TEXT_BYTES:
            break
        number[row] = len(items)
        items.append(item)
    heat_size = _add_images(measured, items, list(number), predicted)
    known = [[number[row] for row in rows if row in number] for rows in (worst, doubtful, suspected)]
    return Gallery(
        items,
        {f"{t},{p}": [number[row] for row in rows if row in number] for (t, p), rows in cells.items()},
        known[0],
        known[1],
        known[2],
        heat_size,
    )


def _round_robin(cells: dict[tuple[int, int], list[int]]) -> Iterable[int]:
    """The first image of every cell, then every second one …; mistakes first."""
    ordered = sorted(cells.items(), key=lambda item: (item[0][0] == item[0][1], -len(item[1])))
    for depth in range(max((len(rows) for _, rows in ordered), default=0)):
        for _, rows in ordered:
            if depth < len(rows):
                yield rows[depth]


def _unique(rows: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(rows))


def _add_images(
    measured: MeasuredModel, items: list[dict[str, Any]], rows: list[int], predicted: NDArray[np.int64]
) -> tuple[int, int] | None:
    spent, shown = 0, []
    per_cell: dict[tuple[int, int], int] = {}
    pixels: list[Pixels] = []
    for item, row in zip(items, rows, strict=True):
        cell = (item["t"], item["p"])
        per_cell[cell] = per_cell.get(cell, 0) + 1
        if per_cell[cell] > MAX_PER_CELL + NUM_LISTED:
            continue
        try:
            image = preprocess(
                measured.images.read(int(measured.outputs.indices[row])), measured.model.manifest.preprocessing
            )
        except ImageError:
            continue  # no longer readable; its text stays
        item["i"] = thumbnail(image)
        spent += len(item["i"])
        shown.append(item)
        pixels.append(image)
        if spent > MAX_IMAGE_BYTES:
            break
    if measured.model.network is None or not pixels:
        return None
    return _add_maps(measured, shown, pixels)


def _add_maps(measured: MeasuredModel, shown: list[dict[str, Any]], pixels: list[Pixels]) -> tuple[int, int] | None:
    size: tuple[int, int] | None = None
    for start in range(0, len(pixels), 64):
        stacked = torch.from_numpy(np.stack(pixels[start : start + 64])).to(measured.model.device)
        x = normalise_batch(to_unit(stacked.permute(0, 3, 1, 2)), measured.model.manifest.preprocessing)
        target = torch.tensor([item["p"] for item in shown[start : start + 64]], device=x.device)
        maps = grad_cam(measured.model.network, x, target)  # type: ignore[arg-type]
        size = (maps.shape[1], maps.shape[2])
        if size[0] * size[1] < 2:
            return None  # a single value shows no position
        values = (scale(maps) * 255).round().to(torch.uint8).cpu().numpy()
        for item, heat in zip(shown[start : start + 64], values, strict=True):
            item["h"] = base64.b64encode(heat.tobytes()).decode()
    return size


def thumbnail(pixels: Pixels) -> str:
    """The image as base64 WebP, at most 96 px wide or high.

    Shape: (H, W, C) uint8.
    """
    pixels = as_colours(pixels)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=72, method=4)
    return base64.b64encode(stream.getvalue()).decode()
