"""Answers for chapter 4: shapes, feature maps, receptive fields, the decision.

The decision comes with its heat map.
"""

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor

from catseye.classifier import softmax
from catseye.explanation import cam
from catseye.explanation.feature_maps import feature_maps, top_patches
from catseye.explanation.receptive_field import Box, gradient_field, map_side, receptive_field, row_of
from catseye.lab.networks import GIVEN, Shown, data_pixels, names, shown
from catseye.lab.questions import Answer, Question, QuestionFields
from catseye.models.summary import EVERYTHING, LayerRow, ModelSummary, summarise
from catseye.preprocess import Pixels, normalise, preprocess

if TYPE_CHECKING:
    from catseye.lab.bench import Workbench

NUM_MAPS = 12
NUM_PATCHES = 9
NUM_BARS = 10
BATCH = 64


class AskNetwork(QuestionFields):
    """A network: the one that the lab was started with, or a registered name."""

    network: str = Field(default=GIVEN, max_length=80)


class OnImage(AskNetwork):
    """A network, and the image that it gets."""

    image: str = Field(max_length=64)


class Layer(OnImage):
    """A layer by its dotted name."""

    layer: str = Field(max_length=120)


class Place(Layer):
    """One activation."""

    channel: int = Field(ge=0, le=100_000)
    row: int = Field(default=0, ge=0, le=2000)
    column: int = Field(default=0, ge=0, le=2000)


class Channel(AskNetwork):
    """One channel of a layer."""

    layer: str = Field(max_length=120)
    channel: int = Field(ge=0, le=100_000)


class Overlay(OnImage):
    """A class by its number (by default the predicted one) and a mapping method."""

    target: int | None = Field(default=None, ge=0, le=100_000)
    method: str = Field(default="gradcam", max_length=20)


def flow(bench: "Workbench", question: AskNetwork) -> Answer:
    """Every layer in the order of the forward pass, and facts about the network."""
    with bench.lock:
        network = shown(bench, question.network)
        summary = _summary(bench, question.network, network)
    return {
        "network": network.name,
        "trained": network.trained,
        "says": network.says,
        "classes": list(network.classes),
        "choices": names(bench),
        "input": [network.spec.channels, network.spec.height_px, network.spec.width_px],
        "num_parameters": summary.num_parameters,
        "num_macs": summary.num_macs,
        "layers": [_line(row) for row in summary.rows],
        "methods": list(cam.METHODS),
    }


def _line(row: LayerRow) -> Answer:
    return {
        "name": row.name,
        "kind": row.kind,
        "shape": _shape(row),
        "parameters": row.num_parameters,
        "macs": row.num_macs,
        "sees": row.receptive_px,
    }


def _shape(row: LayerRow) -> list[int]:
    """The shape with channels first, whatever the layer's own order."""
    if len(row.output_shape) != 3:
        return list(row.output_shape)
    side = map_side(row)
    num_channels = row.output_shape[2] if row.output_shape[2] != side else row.output_shape[0]
    return [num_channels, side, side]


def maps(bench: "Workbench", question: Layer) -> Answer:
    """The strongest feature maps of a layer for this image."""
    with bench.lock:
        network = shown(bench, question.network)
        feature = feature_maps(network.model, _network_input(bench, question, network)[1], question.layer)
    order = feature.order[:NUM_MAPS].tolist()
    return {
        "layer": question.layer,
        "shape": list(feature.maps.shape),
        "maps": [
            {
                "channel": channel,
                "strength": float(feature.strength[channel]),
                "lowest": float(feature.maps[channel].min()),
                "highest": float(feature.maps[channel].max()),
                "values": _rounded_array(feature.maps[channel].numpy()),
            }
            for channel in order
        ],
        "silent": int((feature.strength == 0).sum()),
    }


def place(bench: "Workbench", question: Place) -> Answer:
    """The receptive field of one activation, and where its gradient lies."""
    with bench.lock:
        network = shown(bench, question.network)
        pixels, x = _network_input(bench, question, network)
        box = _box(
            _summary(bench, question.network, network), question.layer, question.row, question.column, x.shape[-1]
        )
        field = gradient_field(
            network.model, x, question.layer, question.channel, question.row, question.column
        ).numpy()
    inside = field[box.top : box.bottom, box.left : box.right]
    total = float(field.sum())
    half = _half_radius(field, box) if total > 0 else 0.0
    return {
        "image": _png(pixels),
        "box": _box_json(box),
        "part": _png(pixels[box.top : box.bottom, box.left : box.right]),
        "gradient": _rounded_array(field / max(float(field.max()), 1e-12)),
        "inside": float(inside.sum()) / total if total > 0 else 0.0,
        "share_of_pixels": inside.size / field.size,
        "half_px": half,
    }


def _half_radius(field: NDArray[np.float32], box: Box) -> float:
    """The side of the square that holds half of the gradient.

    The square has the same centre as the box.
    """
    middle_y, middle_x = (box.top + box.bottom - 1) / 2, (box.left + box.right - 1) / 2
    y, x = np.mgrid[0 : field.shape[0], 0 : field.shape[1]]
    distance = np.maximum(np.abs(y - middle_y), np.abs(x - middle_x)).ravel()
    order = np.argsort(distance, kind="stable")
    share = np.cumsum(field.ravel()[order]) / field.sum()
    return float(2 * distance[order][int(np.searchsorted(share, 0.5))] + 1)


def patches(bench: "Workbench", question: Channel) -> Answer:
    """The parts of images in the data set that activate one channel most."""
    with bench.lock:
        network = shown(bench, question.network)
        data = bench.once(f"network:data:{question.network}", lambda: data_pixels(network))
        summary = _summary(bench, question.network, network)
        batches = (
            torch.from_numpy(normalise(data.pixels[at : at + BATCH], network.spec))
            for at in range(0, len(data.pixels), BATCH)
        )
        best = top_patches(network.model, batches, question.layer, question.channel, NUM_PATCHES)
    shown_patches = []
    for patch in best:
        box = _box(summary, question.layer, patch.row, patch.column, network.spec.width_px)
        pixels = data.pixels[patch.image]
        shown_patches.append(
            {
                "label": data.labels[patch.image],
                "row": patch.row,
                "column": patch.column,
                "value": patch.value,
                "box": _box_json(box),
                "image": _png(pixels),
                "part": _png(pixels[box.top : box.bottom, box.left : box.right]),
            }
        )
    return {"source": data.source, "num_images": len(data.pixels), "patches": shown_patches}


def decision(bench: "Workbench", question: OnImage) -> Answer:
    """The head's answer: logits and probabilities, the most likely classes first."""
    with bench.lock:
        network = shown(bench, question.network)
        pixels, x = _network_input(bench, question, network)
        with torch.no_grad():
            logits = network.model(x).float().numpy()
    shares = softmax(logits, network.temperature)[0]
    order = np.argsort(-shares, kind="stable")[:NUM_BARS]
    return {
        "image": _png(pixels),
        "side": network.spec.height_px,
        "temperature": network.temperature,
        "bars": [
            {
                "index": int(index),
                "name": network.classes[index],
                "share": float(shares[index]),
                "logit": float(logits[0, index]),
            }
            for index in order
        ],
        "others": float(1 - shares[order].sum()) if len(shares) > NUM_BARS else 0.0,
        "num_classes": len(shares),
    }


def answer_overlay(bench: "Workbench", question: Overlay) -> Answer:
    """The class-activation map over the image, 0 to 1."""
    with bench.lock:
        network = shown(bench, question.network)
        pixels, x = _network_input(bench, question, network)
        with torch.no_grad():
            best = int(network.model(x).argmax())
        target = best if question.target is None else min(question.target, len(network.classes) - 1)
        heat = cam.explain_batch(network.model, x, torch.tensor([target]), question.method)[0]  # type: ignore[arg-type]
    return {"image": _png(pixels), "class": network.classes[target], "heat": _rounded_array(heat.detach().numpy(), 3)}


def _network_input(bench: "Workbench", question: OnImage, network: Shown) -> tuple[Pixels, Tensor]:
    """The network's input: pixels (H, W, C) and the normalised batch (1, C, H, W)."""
    pixels = preprocess(bench.images.get(question.image).pixels, network.spec)
    return pixels, torch.from_numpy(normalise(pixels[None], network.spec))


def _summary(bench: "Workbench", which: str, network: Shown) -> ModelSummary:
    spec = network.spec
    shape = (spec.channels, spec.height_px, spec.width_px)
    return bench.once(f"network:summary:{which}", lambda: summarise(network.model, shape))


def _box(summary: ModelSummary, layer: str, row: int, column: int, side_px: int) -> Box:
    layer_row = row_of(summary, layer)
    if len(layer_row.output_shape) == 3:
        last = map_side(layer_row) - 1
        row, column = min(row, last), min(column, last)
    return receptive_field(summary, layer, row, column, side_px)


def _box_json(box: Box) -> Answer:
    span = box.side_px if box.side_px < EVERYTHING else None
    return {"top": box.top, "left": box.left, "bottom": box.bottom, "right": box.right, "span": span}


def _png(pixels: Pixels) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _rounded_array(values: NDArray[np.floating[Any]], digits: int = 4) -> Any:
    return np.round(values.astype(np.float64), digits).tolist()


QUESTIONS = {
    "flow": Question(AskNetwork, flow),
    "maps": Question(Layer, maps),
    "place": Question(Place, place),
    "patches": Question(Channel, patches),
    "decision": Question(OnImage, decision),
    "overlay": Question(Overlay, answer_overlay),
}
