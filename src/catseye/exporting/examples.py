"""A few images inside the file, for the page of `catseye serve`.

`catseye export RUN --examples 6` adds them; only on request, because a model file is passed on and the images of a data
set may be private. Enters: the run and its held-out images. Leaves: `ExampleImage`s for the manifest. Called by
`export.py`.
"""

import io
from collections import deque
from collections.abc import Iterator
from typing import Literal

import numpy as np
from PIL import Image

from catseye.classifier import Classifier
from catseye.exporting.held_out import HeldOut
from catseye.manifest import MAX_EXAMPLE_BYTES, ExampleImage
from catseye.preprocess import open_image

SIDES_PX = (320, 256, 192, 128, 96)
SMALL_PX = 64  # smaller images are kept unchanged
QUALITIES = (85, 70, 55)
TRIES = 16  # images per class: if none of these is recognised, the class has no example


def choose_examples(reference: Classifier, images: HeldOut, num: int) -> tuple[ExampleImage, ...]:
    """At most `num` small images that the run recognises, without metadata.

    Every class gets one before any gets two.
    """
    waiting = deque(_recognised(reference, images, label) for label in range(len(reference.classes)))
    examples: list[ExampleImage] = []
    while waiting and len(examples) < num:
        of_class = waiting.popleft()
        example = next(of_class, None)
        if example is not None:
            examples.append(example)
            waiting.append(of_class)
    return tuple(examples)


def _recognised(reference: Classifier, images: HeldOut, label: int) -> Iterator[ExampleImage]:
    """The images of a class that the run still recognises as stored in the file."""
    name, spec = reference.classes[label], reference.manifest.preprocessing
    for index in np.flatnonzero(images.labels == label)[:TRIES].tolist():
        # An opened image has no metadata: neither where a photo was taken nor by whom.
        small = shrink(open_image(images.contents[index], value_range=spec.value_range))
        if small is None:
            continue
        kind, encoded = small
        answer = reference.predict(encoded)
        if answer.label == name and not answer.unknown:
            yield ExampleImage(label=name, media_type=kind, image=encoded)


def shrink(image: Image.Image) -> tuple[Literal["image/png", "image/jpeg"], bytes] | None:
    """At most `MAX_EXAMPLE_BYTES`: a PNG if the image is tiny, else a JPEG.

    None if no size is small enough.
    """
    if max(image.size) <= SMALL_PX and len(encoded := _encode(image, "PNG")) <= MAX_EXAMPLE_BYTES:
        return "image/png", encoded
    for side in SIDES_PX:
        smaller = image.copy()
        smaller.thumbnail((side, side), Image.Resampling.LANCZOS)
        for quality in QUALITIES:
            if len(encoded := _encode(smaller, "JPEG", quality=quality)) <= MAX_EXAMPLE_BYTES:
                return "image/jpeg", encoded
    return None


def _encode(image: Image.Image, kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
