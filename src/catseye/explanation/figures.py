"""Figures for notebooks and for `catseye explain`, one function for each kind.

Enters: a run folder or a model.safetensors, and an image. Leaves: matplotlib figures by name; `write_figures` writes
them as PNGs and a small page. In a notebook: `figures.draw_feature_maps("first-run", "cat.jpg")["features.0"]`.
"""

import io
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from urllib.parse import quote

import numpy as np
from matplotlib.figure import Figure

from catseye.errors import UsageError
from catseye.explanation.explain import overlay
from catseye.explanation.feature_maps import feature_map_figure
from catseye.explanation.feature_maps import feature_maps as maps_of
from catseye.explanation.gradient_flow import FACTOR, GradientFlow
from catseye.explanation.kernels import filter_figure, first_filters
from catseye.explanation.opened_image import map_image, see_image
from catseye.explanation.receptive_field import receptive_field_figure
from catseye.files import StrPath, make_folder, write_atomically
from catseye.models.summary import summarise
from catseye.preprocess import ImageSource
from catseye.runtimes.loading import open_model
from catseye.runtimes.model_file import OpenedModel

Figures = dict[str, Figure]
NUM_LAYERS = 6


def draw_kernels(run: StrPath, image: ImageSource | None = None, *, device: str = "auto") -> Figures:
    """The filters of the first convolution and, with an image, their outputs.

    Raises:
        ModelFileError, ImageError: run or image cannot be used. UsageError: there is no convolution.

    """
    opened = open_model(run, device=device, need="layers")
    filters = first_filters(opened.layers())
    figures = {"kernels": filter_figure(filters)}
    if image is not None:
        _, x = see_image(opened, image)
        figures["answers"] = feature_map_figure(maps_of(opened.layers(), x, filters.layer))
    return figures


def draw_feature_maps(run: StrPath, image: ImageSource, *, layer: str | None = None, device: str = "auto") -> Figures:
    """The strongest maps after a layer, or after six convolutions.

    The six are spread from the first to the last.

    Raises:
        ModelFileError, ImageError: run or image cannot be used. UnknownName: no such layer.

    """
    opened = open_model(run, device=device, need="layers")
    _, x = see_image(opened, image)
    names = [layer] if layer is not None else _spread(_convolutions(opened), NUM_LAYERS)
    return {name: feature_map_figure(maps_of(opened.layers(), x, name)) for name in names}


def draw_cam(
    run: StrPath, image: ImageSource, *, method: str = "gradcam", target: str | None = None, device: str = "auto"
) -> Figures:
    """The image, and the image under the map of one class.

    The class is `target`, by default the network's own answer.

    Raises:
        ModelFileError, ImageError: run or image cannot be used. UnknownName: no such class or method.

    """
    image_map = map_image(open_model(run, device=device, need="layers"), image, method, target)
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    both = (image_map.pixels, overlay(image_map.pixels, image_map.heat.cpu().numpy()))
    for axes, shown in zip(figure.subplots(1, 2), both, strict=True):
        axes.imshow(shown.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.axis("off")
    figure.suptitle(f"{image_map.label} {image_map.probability:.1%}, {method}")
    return {method: figure}


def draw_receptive_field(
    run: StrPath,
    image: ImageSource,
    *,
    layer: str | None = None,
    channel: int | None = None,
    place: tuple[int, int] | None = None,
    device: str = "auto",
) -> Figures:
    """The region of the image that one activation can see, and does look at.

    The defaults are the last convolution that still has a map, its strongest channel, and the highest value there.

    Raises:
        ModelFileError, ImageError: run or image cannot be used. UnknownName: no such layer.
        UsageError: no such channel or place.

    """
    opened = open_model(run, device=device, need="layers")
    pixels, x = see_image(opened, image)
    name = layer if layer is not None else _convolutions(opened)[-1]
    maps = maps_of(opened.layers(), x, name)
    which = int(maps.order[0]) if channel is None else channel
    if not 0 <= which < len(maps.maps):
        raise UsageError(f"{name} has the channels 0 to {len(maps.maps) - 1}; got {which}")
    highest = int(maps.maps[which].argmax())
    row, column = place if place is not None else divmod(highest, maps.maps.shape[2])
    return {name: receptive_field_figure(opened.layers(), x, pixels, name, which, row, column)}


def draw_gradient_flow(flows: GradientFlow, race: GradientFlow | None = None) -> Figures:
    """The gradient at every layer with skips and without, and the losses.

    The gradient is shown before the steps and after, the losses for the steps between. They are those of `race` if it
    is given: the same two networks with batch normalisation.
    """
    race = race or flows
    trained = flows.plain.after is not None
    figure = Figure(figsize=(12 if trained else 8, 4), layout="constrained")
    panels = figure.subplots(1, 3 if trained else 1, squeeze=False)[0]
    for axes, when in zip(panels, ("start", "after"), strict=False):
        for kind, colour in (("plain", "#d9730d"), ("residual", "#0f6f66")):
            flow = getattr(getattr(flows, kind), when)
            layers = np.arange(1, len(flow.signal) + 1)
            values = np.array(flow.signal) / (flow.signal[-1] or 1)
            axes.semilogy(layers, values, color=colour, label=f"{kind}: {flow.share:.2g} at layer 1")
        rule = FACTOR ** (layers[-1] - layers)
        axes.semilogy(layers, rule, "--", color="#2f6fd0", label=f"× {FACTOR} a layer")
        axes.set(xlabel="layer", ylabel="gradient, last convolution = 1")
        axes.set_title("before training" if when == "start" else f"after {flows.num_steps} steps")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    if trained:
        for kind, colour in (("plain", "#d9730d"), ("residual", "#0f6f66")):
            losses = getattr(race, kind).losses
            panels[2].plot(range(1, len(losses) + 1), losses, color=colour, label=kind)
        panels[2].axhline(np.log(10), linestyle=":", color="grey", label="guessing")
        panels[2].set(
            xlabel="step", ylabel="loss", title=f"does it learn? {'with' if race.norm else 'without'} batch norm"
        )
        panels[2].legend(fontsize=8)
    norm = "with" if flows.norm else "without"
    figure.suptitle(
        f"{flows.depth} layers, {norm} batch normalisation; {FACTOR}^{flows.depth - 1} = {flows.arithmetic:.2g}"
    )
    return {"gradient-flow": figure}


def write_figures(folder: Path, title: str, figures: Figures, lines: Mapping[str, str] | None = None) -> list[Path]:
    """Write a PNG for each figure, and an index.html with all of them.

    `lines` are facts below the title.

    Raises:
        UsageError: the folder cannot be made.

    """
    try:
        make_folder(folder)
    except OSError as error:
        raise UsageError(f"--out {folder} cannot be made ({error.strerror}); choose a different folder") from None
    written = []
    for name, figure in figures.items():
        written.append(folder / f"{name.replace('/', '-')}.png")
        write_atomically(written[-1], figure_png(figure))
    facts = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in (lines or {}).items())
    shown = "".join(
        f'<section><h2>{escape(name)}</h2><a href="{quote(path.name)}" title="open at full size">'
        f'<img src="{quote(path.name)}" alt="{escape(name)}"></a></section>'
        for name, path in zip(figures, written, strict=True)
    )
    style = resources.files("catseye.data").joinpath("templates", "page.css").read_text("utf-8") + _STYLE
    page = folder / "index.html"
    write_atomically(page, _PAGE.format(title=escape(title), style=style, facts=facts, shown=shown))
    return [*written, page]


def figure_png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


# Added to the style of report and check (data/templates/page.css).
_STYLE = """
header, main { max-width: 1080px; margin: 0 auto; padding: 0 20px; } header { padding-top: 28px; }
h1 { font-size: clamp(1.5rem, 4.5vw, 2.3rem); line-height: 1.15; margin: .3rem 0 1.2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 0 0 .6rem; overflow-wrap: anywhere; } main th { width: 12rem; vertical-align: top; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 16px; padding: 18px; margin: 18px 0; }
section a { display: block; overflow-x: auto; border-radius: 8px; } td { overflow-wrap: anywhere; }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 8px; cursor: zoom-in; }
@media (max-width: 760px) { header, main { padding-inline: 12px; } section { padding: 12px; } main th { width: auto; }
  img { min-width: 560px; max-width: none; } }
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="catseye">
<link rel="icon" href="data:,">
<title>{title} · catseye</title>
<style>
{style}</style></head>
<body><header><p class="brand"><svg viewBox="0 0 32 20" aria-hidden="true"><path d="M1 10Q16-6 31 10Q16 26 1 10Z"/>
<ellipse cx="16" cy="10" rx="2.6" ry="7.6"/></svg>catseye explain</p><h1>{title}</h1></header>
<main><section><h2>What is shown</h2><table>{facts}</table></section>{shown}</main></body></html>
"""


def _convolutions(opened: OpenedModel) -> list[str]:
    """The convolutions with a map of more than one place, in order."""
    spec = opened.manifest.preprocessing
    rows = summarise(opened.layers(), (spec.channels, spec.height_px, spec.width_px)).rows
    names = [row.name for row in rows if row.kind == "Conv2d" and row.output_shape[-1] > 1]
    if not names:
        raise UsageError("this network has no convolution with a map, so there is nothing to show")
    return names


def _spread(names: list[str], count: int) -> list[str]:
    """At most `count` names, evenly spread, including the first and the last."""
    places = np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)
    return [names[place] for place in places]
