"""The chapters of the lab, in order; a new chapter is a line here.

Called by app and page_files.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chapter:
    """One page of the lab.

    `name` is its address and the name of its files; `idea` is what it shows, in one sentence. `short` is its name in
    the navigation. `reading` is the chapter of the documents on the same subject, a Markdown file of `docs/concepts` by
    its stem, and `words` the terms of glossary.py that the page explains.
    """

    number: int
    name: str
    title: str
    idea: str
    short: str = ""
    reading: str = ""
    words: tuple[str, ...] = ()


CHAPTERS = (
    Chapter(
        1,
        "pixels",
        "Pixels",
        "An image is a table of numbers, and a dense layer forgets that it was a table.",
        short="Pixels",
        reading="1-pixels",
        words=("channel", "dense", "parameter", "weight sharing", "translation"),
    ),
    Chapter(
        2,
        "convolution",
        "Convolution",
        "A small window slides over the image; at every place its products add up to one number.",
        short="Convolution",
        reading="2-convolution",
        words=("kernel", "stride", "padding", "dilation", "feature map"),
    ),
    Chapter(
        3,
        "activations",
        "Activations and pooling",
        "Between two convolutions there are three cheap steps: normalise, activate, shrink.",
        short="Activations",
        reading="3-activations-and-pooling",
        words=("activation", "batch norm", "gamma", "beta", "derivative", "pooling"),
    ),
    Chapter(
        4,
        "network",
        "The whole network",
        "Layer after layer, the maps get smaller, and each number depends on a larger part of the image.",
        short="Whole network",
        reading="4-the-whole-network",
        words=(
            "feature map",
            "receptive field",
            "head",
            "logits",
            "softmax",
            "temperature",
            "class activation map",
            "parameter",
            "multiply-add",
        ),
    ),
    Chapter(
        5,
        "skips",
        "Why skips",
        "A deep plain network loses its gradient on the way to the first layer. A skip lets it through.",
        short="Why skips",
        reading="5-why-skips",
        words=("gradient", "skip", "batch norm", "initialisation", "loss"),
    ),
    Chapter(
        6,
        "training",
        "Training, watched",
        "A network learns handwritten digits while you watch: guess, compare, change every weight a little, repeat.",
        short="Training",
        reading="6-training",
        words=(
            "loss",
            "learning rate",
            "epoch",
            "optimizer",
            "momentum",
            "validation",
            "label smoothing",
            "confusion matrix",
            "seed",
        ),
    ),
    Chapter(
        7,
        "augmentation",
        "Augmentation",
        "One image, many variants: what may change without changing the label.",
        short="Augmentation",
        reading="7-augmentation",
        words=("augmentation", "mixup", "cutmix", "lambda", "alpha", "seed"),
    ),
    Chapter(
        8,
        "timeline",
        "The timeline",
        "From LeNet-5 to ConvNeXt: each network adds one new idea.",
        short="Timeline",
        reading="timeline",
        words=("parameter", "multiply-add", "top-1", "skip", "interval"),
    ),
    Chapter(
        9,
        "descent",
        "What a learning rate does",
        "An optimizer descends a loss landscape: too small a step never arrives, too large a step diverges.",
        short="Learning rate",
        reading="6-training",
        words=("loss", "gradient", "learning rate", "optimizer", "momentum", "loss landscape"),
    ),
    Chapter(
        10,
        "shift",
        "Dense against convolution",
        "The same digit, moved by a few pixels: to one network it is a new image, to the other it is not.",
        short="Dense or conv",
        reading="1-pixels",
        words=("dense", "kernel", "weight sharing", "translation", "pooling", "augmentation"),
    ),
)
