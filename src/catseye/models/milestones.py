"""The published facts of the seven milestones, and the pages of `catseye models`.

Enters: the registry. Leaves: `MILESTONES`, tables for a terminal, plain JSON types. Called by cli. Facts are the
papers' own where the paper states them; every accuracy has its source and protocol and, where the source article prints
a different figure, that figure and what it belongs to.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from catseye.models import registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType


@dataclass(frozen=True)
class Milestone:
    """One network of the timeline, as published.

    `parameters` and `gflops` (10^9 multiply-adds at `px`) are rounded as the source rounds them. `top1` is
    ImageNet accuracy in percent, one network, unless the source says otherwise; None: not stated or not
    applicable. `top1_weights` is the accuracy of torchvision's first published weights, all under the same
    protocol: a single central crop at the training size. `article`: another figure in the source article.
    """

    name: str
    title: str
    year: int
    innovation: str
    parameters: float
    gflops: float
    top1: float | None
    top1_source: str
    paper: str
    px: int = 224
    top1_weights: float | None = None
    article: str = ""
    extra: bool = False  # not one of the seven
    doi: str = ""  # its address if it is not on arXiv

    @property
    def link(self) -> str:
        """The address of the paper.

        >>> milestone("vgg16").link
        'https://arxiv.org/abs/1409.1556'
        """
        return self.doi or f"https://arxiv.org/abs/{self.paper.rpartition('arXiv ')[2]}"


MILESTONES = (
    Milestone(
        name="lenet5",
        title="LeNet-5",
        year=1998,
        innovation="first practical CNN: convolution, subsampling, learned end to end",
        parameters=60_000,
        gflops=0.0004,
        px=32,
        top1=None,
        top1_source="never on ImageNet; 99.05% of MNIST's test digits (section III.B)",
        paper="LeCun et al. 1998, Proceedings of the IEEE 86(11)",
        doi="https://doi.org/10.1109/5.726791",
    ),
    Milestone(
        name="alexnet",
        title="AlexNet",
        year=2012,
        innovation="GPU training, ReLU, dropout",
        parameters=60e6,
        gflops=0.71,
        top1=59.3,
        top1_source="the paper's table 2, one network, ILSVRC-2012 validation",
        paper="Krizhevsky, Sutskever, Hinton 2012, NIPS",
        doi="https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks",
        top1_weights=56.522,
        article="63.3%: the paper's seven networks averaged, two of them trained on more images",
    ),
    Milestone(
        name="vgg16",
        title="VGG-16",
        year=2014,
        innovation="depth from uniform 3x3 convolutions",
        parameters=138e6,
        gflops=15.5,
        top1=74.4,
        top1_source="the paper's table 3, configuration D, one scale",
        paper="Simonyan, Zisserman 2014, arXiv 1409.1556",
        top1_weights=71.592,
        article="74.5%: VGG-19 in the same table",
    ),
    Milestone(
        name="googlenet",
        title="GoogLeNet",
        year=2014,
        innovation="inception modules, 1x1 bottlenecks, auxiliary heads",
        parameters=6.8e6,
        gflops=1.5,
        top1=69.8,
        top1_source="torchvision's weights; the paper states top-5 only (89.9%, one network, one crop, table 3)",
        paper="Szegedy et al. 2014, arXiv 1409.4842",
        top1_weights=69.778,
        article="74.8%: the later network with batch normalisation (Ioffe, Szegedy 2015, arXiv 1502.03167, BN-x30)",
    ),
    Milestone(
        name="resnet50",
        title="ResNet-50",
        year=2015,
        innovation="skips: y = F(x) + x, and 152 layers learn",
        parameters=25.6e6,
        gflops=3.8,
        top1=77.15,
        top1_source="the paper's table 3, ten crops",
        paper="He et al. 2015, arXiv 1512.03385",
        top1_weights=76.13,
        article="78.6%: ResNet-152 in the same table",
    ),
    Milestone(
        name="efficientnet_b0",
        title="EfficientNet-B0",
        year=2019,
        innovation="compound scaling of depth, width and resolution",
        parameters=5.3e6,
        gflops=0.39,
        top1=77.1,
        top1_source="the paper's table 2",
        paper="Tan, Le 2019, arXiv 1905.11946",
        top1_weights=77.692,
        article="84.4%: EfficientNet-B7 in the paper's first version; 77.1% for B0, as here",
    ),
    Milestone(
        name="convnext_tiny",
        title="ConvNeXt-T",
        year=2022,
        innovation="a ResNet modernised: 7x7 depthwise, LayerNorm, GELU",
        parameters=28.6e6,
        gflops=4.5,
        top1=82.1,
        top1_source="the paper's table 1, trained on ImageNet-1K",
        paper="Liu et al. 2022, arXiv 2201.03545",
        top1_weights=82.52,
        article="87.8%: ConvNeXt-XL at 384 px, pretrained on ImageNet-22K",
    ),
    Milestone(
        name="econvnext_tiny",
        title="E-ConvNeXt-Tiny",
        year=2025,
        innovation="ConvNeXt with cross-stage-partial stages and channel attention",
        parameters=13.2e6,
        gflops=2.0,
        top1=80.6,
        top1_source="the authors' table, github.com/violetweir/E-ConvNeXt",
        paper="Wang et al. 2025, arXiv 2508.20955",
        extra=True,
    ),
)


def milestone(name: str) -> Milestone | None:
    """The published facts of a network, if it is one of the timeline."""
    return next((facts for facts in MILESTONES if facts.name == name), None)


def milestones_json() -> list[dict[str, Any]]:
    """The registry's facts of every network; `published` has a milestone's."""
    keys = ("name", "year", "innovation", "source", "family", "options", "photos")
    rows = []
    for entry in registry.entries():
        facts = milestone(entry.name)
        rows.append({**{key: getattr(entry, key) for key in keys}, "published": asdict(facts) if facts else None})
    return rows


def tables() -> "Iterator[RenderableType]":
    """The pages of `catseye models`, for 80 columns and more.

    They are the timeline, its sources, and all networks by family.
    """
    from rich.table import Table

    table = Table("year", "name", "parameters", "GFLOPs", "top-1", "what was new", box=None)
    for column in table.columns[2:5]:
        column.justify = "right"
    for facts in MILESTONES:
        gflops = f"{facts.gflops:.1f}" if facts.gflops >= 1 else f"{facts.gflops:g}"
        gflops += "" if facts.px == 224 else "*"
        top1 = f"{facts.top1:g}%" if facts.top1 is not None else "-"
        table.add_row(str(facts.year), facts.name, _short(facts.parameters), gflops, top1, facts.innovation)
    yield table
    yield "\nAs published: GFLOPs are 10^9 multiply-adds at 224 px (* at its own 32 px), top-1 is on ImageNet.\n"

    sources = Table("name", "top-1 from", "the article's other figure", box=None)
    for column in sources.columns[1:]:
        column.overflow = "fold"
    for facts in MILESTONES:
        sources.add_row(facts.name, facts.top1_source, facts.article or "-")
    yield sources

    families: dict[str, list[str]] = {}
    for entry in registry.entries():
        families.setdefault(entry.family, []).append(entry.name)
    others = Table("family", "networks (--model NAME)", "options", box=None)
    for family, names in families.items():
        others.add_row(family, ", ".join(names), ", ".join(registry.entry(names[0]).options) or "-")
    others.add_row("timm", "timm:NAME, any convolutional network of timm, such as timm:convnextv2_atto", "-")
    yield ""
    yield others
    photos = [entry.name for entry in registry.entries() if entry.photos]
    yield f"\nFor photos of 224 px from fresh weights, within 4 GB of memory: {', '.join(photos)}."
    yield "Every network of torchvision and timm with published weights: --pretrained."


def _short(count: float) -> str:
    """138,000,000 -> 138 M; 60,000 stays.

    >>> _short(138e6), _short(5.3e6), _short(60_000)
    ('138 M', '5.3 M', '60,000')

    """
    return f"{count / 1e6:.3g} M" if count >= 1e6 else f"{count:,.0f}"
