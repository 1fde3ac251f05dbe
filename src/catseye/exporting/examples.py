"""A few images for the page of `catseye serve`: `catseye export RUN --examples 6` puts them into the file.

Only where they were asked for: a model file travels, and images of a data set may be nobody else's business. Enters:
the run and its held-out images. Leaves: `ExampleImage`s for the manifest. Called by `export.py`.
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
SMALL_PX = 64  # such images are kept pixel for pixel
QUALITIES = (85, 70, 55)
TRIES = 16  # of each class: where none of so many is recognised, the class has no example


def choose_examples(reference: Classifier, images: HeldOut, num: int) -> tuple[ExampleImage, ...]:
    """At most `num` images that the run recognises, of every class one before any has two; small, without metadata."""
    waiting = deque(_recognised(reference, images, label) for label in range(len(reference.classes)))
    found: list[ExampleImage] = []
    while waiting and len(found) < num:
        of_class = waiting.popleft()
        example = next(of_class, None)
        if example is not None:
            found.append(example)
            waiting.append(of_class)
    return tuple(found)


def _recognised(reference: Classifier, images: HeldOut, label: int) -> Iterator[ExampleImage]:
    """The images of a class that the run knows still as they will be in the file."""
    name, spec = reference.classes[label], reference.manifest.preprocessing
    for index in np.flatnonzero(images.labels == label)[:TRIES].tolist():
        # What is opened here has no metadata any more: not where a photo was taken, nor by whom.
        small = shrink(open_image(images.contents[index], value_range=spec.value_range))
        if small is None:
            continue
        kind, encoded = small
        answer = reference.predict(encoded)
        if answer.label == name and not answer.unknown:
            yield ExampleImage(label=name, media_type=kind, image=encoded)


def shrink(image: Image.Image) -> tuple[Literal["image/png", "image/jpeg"], bytes] | None:
    """At most `MAX_EXAMPLE_BYTES`: a PNG where the image is tiny, else a JPEG. None where no size is small enough."""
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
