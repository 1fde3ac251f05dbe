"""Rules on single images: what cannot be read, and what differs from the others.

Enters: `Looks`. Leaves: findings. Called by `check.py`. Rules on rare kinds of images are silent if many images are of
that kind: a data set of drawings has no fault.
"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from catseye.counting import agree, count
from catseye.data.check.findings import Example, Finding, Severity
from catseye.data.check.looks import MAX_COLOURS, Fault, Looks
from catseye.data.survey import choose_input_px

BLANK_SPREAD = 2.0  # grey levels; JPEG noise on an empty scan stays below
RARE = 0.1  # share of the images; a kind with a larger share is not reported
GREY_SPREAD = 3  # largest difference between the channels of a grey thumbnail
ODD_SHAPE = 3.0  # long side / short side
HUGE_PX = 20_000_000
FEW_COLOURS_FROM_PX = 4_096  # smaller photos may have few colours
CROP_NOTE = 0.05  # mean share of pixels that a centre crop throws away

_SINGULAR = {"are": "is", "have": "has"}
_FAULTS = {
    "pointer": (
        "is a Git LFS pointer, not an image",
        "are Git LFS pointers, not images",
        "fetch the images: git lfs pull",
    ),
    "empty": ("is empty", "are empty", "copy or download them again, or remove them"),
    "missing": ("cannot be opened", "cannot be opened", "check the path and the permissions of the file"),
    "cut off": ("is cut off or damaged", "are cut off or damaged", "copy or download them again, or remove them"),
    "too large": ("is too large", "are too large", "shrink them; the reason of each names the limit"),
    "unsupported": (
        "has pixels of an unsupported kind",
        "have pixels of an unsupported kind",
        "convert them; the reason of each names the kind",
    ),
    "no image": (
        "is not an image",
        "are not images",
        "remove them; often they are web pages that were saved with the name of an image",
    ),
}


def fault_findings(faults: Mapping[int, Fault]) -> list[Finding]:
    """Images that cannot be used, by kind."""
    by_kind: dict[str, list[int]] = defaultdict(list)
    for index in sorted(faults):
        by_kind[faults[index].kind].append(index)
    return [
        Finding(
            kind.replace(" ", "-"),
            "error",
            len(indices),
            f"{count(len(indices), 'file')} {agree(len(indices), *_FAULTS[kind][:2])}",
            _FAULTS[kind][2],
            [Example((index,), faults[index].reason) for index in indices],
        )
        for kind, indices in by_kind.items()
    ]


def image_findings(looks: Looks) -> list[Finding]:
    """Readable images that differ from the others."""
    good = looks.readable
    if not good.any():
        return []
    width, height = looks.width_px.astype(float), looks.height_px.astype(float)
    short, long = np.minimum(width, height), np.maximum(width, height)
    median_px = float(np.median(np.sqrt(width * height)[good]))
    wanted_px = min(choose_input_px(median_px), median_px)
    colours = looks.num_colours
    blank = good & (looks.spread < BLANK_SPREAD)
    grey = good & ((looks.thumbs.max(3) - looks.thumbs.min(3)).max((1, 2)) <= GREY_SPREAD)
    few = np.where(grey, MAX_COLOURS // 4, MAX_COLOURS)  # a grey photo cannot have more than 256 tones
    drawn = good & (colours > 0) & (colours <= few) & (width * height >= FEW_COLOURS_FROM_PX)
    shapes = [f"{w} x {h}" for w, h in zip(looks.width_px.tolist(), looks.height_px.tolist(), strict=True)]
    return [
        *_on_images("misnamed", "warning", looks.misnamed, "have a format other than the name says",
              "catseye reads them; other programs may not: rename them", looks.formats),
        *_on_images("blank", "warning", blank, "are blank: a single tone",
              "remove them, unless being blank is a class"),
        *_on_images("few-colours", "warning", _rare(drawn & ~blank, good),
              f"have at most {MAX_COLOURS} colours, unlike the others: drawing, icon, 'image not found'?",
              "look at them and remove what is not a photo", [count(num, "colour") for num in colours.tolist()]),
        *_on_images("tiny", "warning", good & (short < wanted_px / 2),
              f"are less than half as large as the network's input of about {wanted_px:.0f} px",
              "replace thumbnails by the originals", shapes),
        *_on_images("huge", "note", good & (width * height > HUGE_PX), "have more than 20 million pixels",
              "shrink them once: decoding them takes most of the time of every epoch", shapes),
        *_on_images("odd-shape", "note", good & (long > ODD_SHAPE * np.maximum(short, 1)),
              f"are more than {ODD_SHAPE:.0f} times as long as wide",
              "--set data.resize=pad keeps them whole", shapes),
        *_on_images("grey", "note", _rare(grey & ~blank, good), "are grey among colour images",
              "a network can learn the lack of colour instead of the class; check whether they are all of one class"),
        *_on_images("colour", "note", _rare(good & ~grey & ~blank, good), "are in colour among grey images",
              "--set data.channels=1 makes all images grey"),
        *_on_images("transparent", "note", looks.transparent, "have transparent parts, which become white",
              "put them on another background if white is wrong"),
        *_on_images("turned", "note", looks.turned, "are rotated by EXIF",
              "catseye rotates them upright; other programs may not"),
        *_crop_loss(short, long, good),
    ]  # fmt: skip


def _rare(odd: NDArray[np.bool_], good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return odd if odd.sum() < RARE * good.sum() else np.zeros_like(odd)


def _on_images(
    rule: str,
    severity: Severity,
    odd: NDArray[np.bool_],
    text: str,
    advice: str,
    notes: list[str] | None = None,
) -> list[Finding]:
    """A finding on odd images; `text` follows their number, its verb in the plural."""
    numbers = np.flatnonzero(odd).tolist()
    if not numbers:
        return []
    examples = [Example((index,), notes[index] if notes else "") for index in numbers]
    verb, _, rest = text.partition(" ")
    title = f"{count(len(numbers), 'image')} {agree(len(numbers), _SINGULAR[verb], verb)} {rest}"
    return [Finding(rule, severity, len(numbers), title, advice, examples)]


def crop_losses(short: NDArray[np.float64], long: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of each image that a square centre crop throws away.

    >>> crop_losses(np.array([300.0]), np.array([400.0])).tolist()
    [0.25]
    """
    return 1 - short / np.maximum(long, 1)


def _crop_loss(short: NDArray[np.float64], long: NDArray[np.float64], good: NDArray[np.bool_]) -> list[Finding]:
    loss = np.where(good, crop_losses(short, long), 0.0)
    mean = float(loss[good].mean())
    if mean < CROP_NOTE:
        return []
    worst = np.argsort(-loss, kind="stable")
    return [
        Finding(
            "centre-crop",
            "note",
            int((loss > 0).sum()),
            f"a square centre crop would throw away {mean:.1%} of all pixels",
            "--set data.resize=pad (the default) keeps all of them, crop does not",
            [Example((index,), f"{loss[index]:.0%} lost") for index in worst.tolist() if loss[index] > 0],
        )
    ]
