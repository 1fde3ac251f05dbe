"""`catseye explain kernels`, `feature-maps`, `receptive-field`, `gradient-flow`.

Enters: a run, an image. Leaves: `Drawn`, figures by name; PNGs and a page if a folder is given. Called by users in
notebooks and by cli.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from catseye.explanation.figures import (
    draw_feature_maps,
    draw_gradient_flow,
    draw_kernels,
    draw_receptive_field,
    figure_png,
    write_figures,
)
from catseye.explanation.gradient_flow import gradient_flow
from catseye.files import StrPath
from catseye.notebook import Html, html_bytes, html_of, html_table
from catseye.preprocess import ImageSource
from catseye.settings.typed import parse_place


class Drawn(dict[str, Figure]):
    """Figures by name, shown by a notebook.

    `lines` are facts in words, `written` the files, `facts` the numbers.
    """

    def __init__(
        self, figures: Mapping[str, Figure], title: str, lines: Mapping[str, str], out: StrPath | None
    ) -> None:
        super().__init__(figures)
        self.lines = dict(lines)
        self.facts: dict[str, Any] = {}
        self.written = write_figures(Path(out), title, self, self.lines) if out is not None else []

    def _repr_html_(self) -> str:
        shown = (f"<p>{html_of(name)}</p>{html_bytes(figure_png(figure), name)}" for name, figure in self.items())
        return Html(html_table((), self.lines.items()) + "".join(shown))


def explain_kernels(
    run: StrPath, image: ImageSource | None = None, *, out: StrPath | None = None, device: str = "auto"
) -> Drawn:
    """Draw the filters of the first convolution and, with an image, their outputs.

    With `out`, PNGs and an index.html go into that folder.

    Raises:
        ModelFileError, ImageError: run or image cannot be used. UsageError: there is no convolution.

    """
    figures = draw_kernels(run, image, device=device)
    return Drawn(figures, "The first filters", {"model": _name(run)}, out)


def explain_feature_maps(
    run: StrPath, image: ImageSource, *, layer: str | None = None, out: StrPath | None = None, device: str = "auto"
) -> Drawn:
    """Draw the strongest maps after a layer, or after six convolutions.

    The six are spread from the first to the last. With `out`, PNGs and an index.html go into that folder.

    Raises:
        ModelFileError, ImageError: run or image cannot be used. UnknownName: no such layer.

    """
    figures = draw_feature_maps(run, image, layer=layer, device=device)
    return Drawn(figures, "Feature maps", {"model": _name(run), "image": _name(image)}, out)


def explain_receptive_field(
    run: StrPath,
    image: ImageSource,
    *,
    layer: str | None = None,
    channel: int | None = None,
    at: str | tuple[int, int] | None = None,
    out: StrPath | None = None,
    device: str = "auto",
) -> Drawn:
    """Draw the region of an image that one activation can see, and does look at.

    `at` is (row, column) in the map, or "ROW,COLUMN". The defaults are the last convolution that still has a map, its
    strongest channel, and the highest value there. With `out`, PNGs and an index.html go into that folder.

    Raises:
        ModelFileError, ImageError: run or image cannot be used. UnknownName: no such layer.
        UsageError: no such channel or place.

    """
    place = parse_place(at) if isinstance(at, str) else at
    figures = draw_receptive_field(run, image, layer=layer, channel=channel, place=place, device=device)
    return Drawn(figures, "Receptive field", {"model": _name(run), "image": _name(image)}, out)


def explain_gradient_flow(
    *,
    depth: int = 50,
    norm: bool = False,
    init: str = "pytorch",
    steps: int = 20,
    seed: int = 0,
    out: StrPath | None = None,
) -> Drawn:
    """Measure the gradient at each layer of a deep network, with and without skips.

    `depth`: layers with weights, an even number from 10 to 100. `init`: pytorch, glorot or he. The gradient is measured
    before and after `steps` of training. Without batch normalisation neither network learns in so few steps, so the
    losses are those of the same two networks with it, as in the paper. `facts` of the result has the numbers.

    Raises:
        UsageError: a value is out of range.

    """
    measured = gradient_flow(depth, norm=norm, initialisation=init, num_steps=steps, seed=seed)
    plain, residual = measured.plain.start, measured.residual.start
    lines = {
        "layers": str(depth),
        f"0.8 to the power of {depth - 1}": f"{measured.arithmetic:.2g}",
        "left at layer 1 without skips": f"{plain.share:.2g}, × {plain.per_layer:.3f} a layer",
        "left at layer 1 with skips": f"{residual.share:.2g}, × {residual.per_layer:.3f} a layer",
    }
    race = (
        measured
        if norm or not steps
        else gradient_flow(depth, norm=True, initialisation=init, num_steps=steps, seed=seed)
    )
    if steps:
        for name, tower in (("without", race.plain), ("with", race.residual)):
            lines[f"loss, normalised, {name} skips"] = f"{tower.losses[0]:.2f} → {tower.losses[-1]:.2f}"
    drawn = Drawn(draw_gradient_flow(measured, race), "Gradient flow", lines, out)
    normalised = {"plain": list(race.plain.losses), "residual": list(race.residual.losses)}
    drawn.facts = {**measured.to_json(), "losses_with_norm": normalised}
    return drawn


def _name(what: object) -> str:
    """A path as it was given; "given in Python" for anything else."""
    if isinstance(what, np.ndarray) or not (isinstance(what, str) or hasattr(what, "__fspath__")):
        return "given in Python"
    return str(Path(what))
