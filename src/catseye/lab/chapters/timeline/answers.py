"""Answers for chapter 8: the milestones, one in detail, and measured results.

The results are the user's own, or measured.json: benchmarks/results/cifar10-timeline.json, which the documents quote.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from catseye.lab.chapters.timeline import maths as timeline
from catseye.lab.questions import Answer, Nothing, Question, QuestionFields
from catseye.models.diagram import block_diagram
from catseye.models.milestones import MILESTONES

if TYPE_CHECKING:
    from catseye.lab.bench import Workbench
    from catseye.models.summary import LayerRow

MEASURED = Path(__file__).parent / "measured.json"


def milestones(bench: "Workbench", question: Nothing) -> Answer:
    """All milestones with their published facts and measured results.

    The results are those of `catseye lab --timeline`, or else the ones in the package.
    """
    path = bench.timeline or MEASURED
    measured = bench.once("timeline", lambda: timeline.read_measured(path))
    published = [{**asdict(milestone), "link": milestone.link} for milestone in MILESTONES]
    return {"milestones": published, "measured": {**measured, "yours": bench.timeline is not None}}


class Choose(QuestionFields):
    """A milestone by its name."""

    name: str = Field(max_length=40)


def answer_milestone(bench: "Workbench", question: Choose) -> Answer:
    """A milestone's sizes, counted on the module, with its layers and its block."""
    milestone = timeline.of_the_timeline(question.name)
    return bench.once(f"milestone:{milestone.name}", lambda: _take_apart(milestone))


def _take_apart(milestone: Any) -> Answer:
    anatomy = timeline.anatomy(milestone)
    drawn = block_diagram(milestone.name)
    channels = 1 if milestone.px < 64 else 3
    extra = {"two_for_one": timeline.two_for_one()} if milestone.name == "vgg16" else {}
    return {
        "name": milestone.name,
        "input": [channels, milestone.px, milestone.px],
        "num_parameters": anatomy.summary.num_parameters,
        "num_macs": anatomy.summary.num_macs,
        "num_convolutions": anatomy.num_convolutions,
        "num_linear": anatomy.num_linear,
        "layers": [_layer(row) for row in anatomy.layers],
        "diagram": asdict(drawn),
        **extra,
    }


def _layer(row: "LayerRow") -> Answer:
    shape = row.output_shape
    pointwise = timeline.is_pointwise(row)  # (h, w, C), the others (C, h, w)
    dense = row.kind == "Linear" and not pointwise
    return {
        "name": row.name,
        "kind": "pooling" if "Pool" in row.kind else "linear" if dense else "convolution",
        "channels": shape[-1] if pointwise or dense else shape[0],
        "side": 1 if dense else shape[0] if pointwise else shape[-1],
        "num_parameters": row.num_parameters,
        "num_macs": row.num_macs,
        "sees_px": row.receptive_px,
    }


QUESTIONS = {"milestones": Question(Nothing, milestones), "milestone": Question(Choose, answer_milestone)}
