"""Data sets for detection and segmentation, which label boxes or outlines.

Enters: the names of all files of DATA. Leaves: a sentence, empty for other sets. Called by `labelled.py` if the folders
name fewer than two classes.

Source: the layouts of Ultralytics' YOLO (labels/**/NAME.txt), Pascal VOC (Annotations/NAME.xml) and COCO
(annotations/*.json), as documented by each.
"""

from collections.abc import Sequence

LEAST_SHARE_BOXED = 0.5  # of the images must have a file of boxes
_SUFFIXES = {".txt": "YOLO", ".xml": "Pascal VOC"}


def note_on_detection_set(names: Sequence[str], others: Sequence[str]) -> str:
    """A sentence if the files describe boxes, otherwise nothing.

    `names` are the images, `others` all other files.

    >>> note_on_detection_set(["images/train/0.jpg"], ["labels/train/0.txt"])[:45]
    '; labels/train/0.txt looks like boxes within '
    >>> note_on_detection_set(["cat/0.jpg"], ["cat/readme.txt"])
    ''
    """
    stems = {_stem(name) for name in names}
    for suffix, kind in _SUFFIXES.items():
        boxed = [name for name in others if name.lower().endswith(suffix) and _stem(name) in stems]
        if len({_stem(name) for name in boxed}) >= LEAST_SHARE_BOXED * len(stems):
            return _sentence(boxed[0], kind)
    coco = [name for name in others if name.lower().endswith(".json") and "annotations" in name.lower().split("/")[:-1]]
    return _sentence(coco[0], "COCO") if coco else ""


def _sentence(example: str, kind: str) -> str:
    return (
        f"; {example} looks like boxes within the images ({kind}), as in a data set for detection; catseye classifies "
        "whole images: crop the boxes and put each class into a folder of its own"
    )


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]
