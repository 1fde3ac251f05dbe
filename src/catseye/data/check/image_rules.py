"""Rules about single images: what cannot be read, and what differs from all the others.

Enters: `Looks`. Leaves: findings. Called by `check.py`. A rule about odd images is silent where most images are
like that: a data set of drawings has no fault.
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
RARE = 0.1  # a kind of image that fewer than this share are is told as odd
GREY_SPREAD = 3  # largest difference between the channels of a grey thumbnail
ODD_SHAPE = 3.0  # long side / short side
HUGE_PX = 20_000_000
FEW_COLOURS_FROM_PX = 4_096  # smaller photos may well have few colours
CROP_NOTE = 0.05  # mean share of pixels that a centre crop throws away

_SINGULAR = {"are": "is", "have": "has", "show": "shows"}
_FAULTS = {
    "pointer": (
        "is a Git LFS pointer, not an image",
        "are Git LFS pointers, not images",
        "fetch the images: git lfs pull",
    ),
    "empty": ("is an empty file", "are empty files", "copy or download them again, or remove them"),
    "missing": ("cannot be opened", "cannot be opened", "look whether the path is right and the file may be read"),
    "cut off": ("is cut off or damaged", "are cut off or damaged", "copy or download them again, or remove them"),
    "too large": ("is too large", "are too large", "shrink them before; the reason beside each says the limit"),
    "unsupported": (
        "has pixels that are not read",
        "have pixels that are not read",
        "convert them; the reason beside each says what they hold",
    ),
    "no image": ("holds no image", "hold no image", "remove them; a web page saved under an image's name is common"),
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
    """Readable images that stand out."""
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
        *_one("misnamed", "warning", looks.misnamed, "are of another format than the name says",
              "catseye reads them; other programs may not: rename them", looks.formats),
        *_one("blank", "warning", blank, "show nothing: one even tone",
              "remove them, unless emptiness is a class"),
        *_one("few-colours", "warning", _rare(drawn & ~blank, good),
              f"have at most {MAX_COLOURS} colours, the others more: drawing, icon, 'image not found'?",
              "look at them and remove what is no photo", [count(num, "colour") for num in colours.tolist()]),
        *_one("tiny", "warning", good & (short < wanted_px / 2),
              f"are less than half as large as the network's input of about {wanted_px:.0f} px",
              "replace thumbnails by the originals", shapes),
        *_one("huge", "note", good & (width * height > HUGE_PX), "have more than 20 million pixels",
              "shrink them once: decoding them again every epoch costs most of the time", shapes),
        *_one("odd-shape", "note", good & (long > ODD_SHAPE * np.maximum(short, 1)),
              f"are more than {ODD_SHAPE:.0f} times as long as wide",
              "--set data.resize=pad keeps them whole", shapes),
        *_one("grey", "note", _rare(grey & ~blank, good), "are grey among colour images",
              "a network can learn the lack of colour instead of the class; look whether one class has them all"),
        *_one("colour", "note", _rare(good & ~grey & ~blank, good), "are in colour among grey images",
              "--set data.channels=1 makes all alike"),
        *_one("transparent", "note", looks.transparent, "have transparent parts, which become white",
              "lay them on a ground of your choice if white is wrong"),
        *_one("turned", "note", looks.turned, "are turned by EXIF",
              "catseye turns them upright; a program that does not will see them lying down"),
        *_crop_loss(short, long, good),
    ]  # fmt: skip


def _rare(odd: NDArray[np.bool_], good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return odd if odd.sum() < RARE * good.sum() else np.zeros_like(odd)


def _one(
    rule: str,
    severity: Severity,
    odd: NDArray[np.bool_],
    what: str,
    advice: str,
    notes: list[str] | None = None,
) -> list[Finding]:
    found = np.flatnonzero(odd).tolist()
    if not found:
        return []
    examples = [Example((index,), notes[index] if notes else "") for index in found]
    verb, _, rest = what.partition(" ")
    title = f"{count(len(found), 'image')} {agree(len(found), _SINGULAR[verb], verb)} {rest}"
    return [Finding(rule, severity, len(found), title, advice, examples)]


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
            "--set data.resize=pad (the default) throws none away, crop does",
            [Example((index,), f"{loss[index]:.0%} lost") for index in worst.tolist() if loss[index] > 0],
        )
    ]
