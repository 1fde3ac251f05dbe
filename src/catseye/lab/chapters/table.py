"""The chapters of the lab, in order. Called by app and page_files; a new chapter is a line here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chapter:
    """One page. `name` is its address and the name of its files; `idea` is the one sentence it makes true."""

    number: int
    name: str
    title: str
    idea: str


CHAPTERS = (
    Chapter(
        1,
        "pixels",
        "Pixels",
        "An image is a table of numbers, and a dense layer forgets that it was a table.",
    ),
    Chapter(
        2,
        "convolution",
        "Convolution",
        "A small window slides over the image; at every place its products add up to one number.",
    ),
    Chapter(
        3,
        "activations",
        "Activations and pooling",
        "Between two convolutions stand three cheap steps: normalise, bend, shrink.",
    ),
    Chapter(
        4,
        "network",
        "The whole network",
        "Layer after layer, the image gets smaller and what one number knows of it gets larger.",
    ),
    Chapter(
        5,
        "skips",
        "Why skips",
        "A deep plain network loses its gradient on the way down. A skip lets it through.",
    ),
    Chapter(
        6,
        "training",
        "Training, watched",
        "A network learns handwritten digits while you look: guess, compare, change every weight a little, again.",
    ),
    Chapter(
        7,
        "augmentation",
        "Augmentation",
        "One image, many lessons: what may change without changing what it shows.",
    ),
    Chapter(
        8,
        "timeline",
        "The timeline",
        "From LeNet-5 to ConvNeXt: each network is the one before with one new idea.",
    ),
)
