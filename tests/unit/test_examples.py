"""Images that travel inside a model file: few, small, without metadata, recognised, and only where asked for."""

import io

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from catseye.classifier import Classifier
from catseye.exporting.examples import TRIES, choose_examples, shrink
from catseye.exporting.held_out import HeldOut
from catseye.manifest import MAX_EXAMPLE_BYTES, MAX_EXAMPLES, Architecture, ExampleImage, Manifest
from catseye.preprocess import Preprocessing
from tests.photos import photo

SPEC = Preprocessing(height_px=8, width_px=8, mean=(0.5,) * 3, std=(0.5,) * 3, resize="squash")
COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}


def knows_colours(**more):
    manifest = Manifest(classes=tuple(COLOURS), preprocessing=SPEC, architecture=Architecture(name="by-hand"), **more)
    return Classifier(manifest, lambda pixels: (pixels.mean((1, 2)) / 20).astype(np.float32))


def jpeg(colour, seed=0, **options):
    noise = np.random.default_rng(seed).integers(-15, 16, (150, 200, 3))
    stream = io.BytesIO()
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(stream, "JPEG", **options)
    return stream.getvalue()


def held(*rows):
    """(colour shown, class it lies in) ..."""
    contents = [jpeg(COLOURS[colour], seed) for seed, (colour, _) in enumerate(rows)]
    labels = np.array([list(COLOURS).index(label) for _, label in rows])
    return HeldOut("test", [f"{number}.jpg" for number in range(len(rows))], contents, labels)


EVERY = held(*[(colour, colour) for colour in COLOURS for _ in range(3)])


@pytest.mark.parametrize(
    ("num", "labels"),
    [(0, ""), (2, "red green"), (3, "red green blue"), (5, "red green blue red green"), (24, "red green blue " * 3)],
)
def test_of_every_class_one_before_any_has_two(num, labels):
    assert [one.label for one in choose_examples(knows_colours(), EVERY, num)] == labels.split()


def test_what_the_run_does_not_recognise_is_no_example():
    images = held(("blue", "red"), ("red", "red"), ("red", "green"), ("blue", "blue"))
    assert [one.label for one in choose_examples(knows_colours(), images, 6)] == ["red", "blue"]
    assert choose_examples(knows_colours(unknown_threshold=1.0), images, 6) == ()


def test_a_class_that_is_never_recognised_is_given_up():
    late = held(*[("blue", "red")] * TRIES, ("red", "red"))
    assert choose_examples(knows_colours(), late, 3) == ()
    assert len(choose_examples(knows_colours(), late.part(1, None), 3)) == 1


def test_no_metadata_and_upright():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8825] = 6, "A Camera", {1: "N", 2: (48.0, 8.0, 0.0)}
    content = jpeg(COLOURS["red"], exif=exif)
    assert b"A Camera" in content
    (example,) = choose_examples(knows_colours(), HeldOut("test", ["a"], [content], np.array([0])), 1)
    assert b"A Camera" not in example.image
    opened = Image.open(io.BytesIO(example.image))
    assert not dict(opened.getexif())
    assert opened.size == (150, 200), "turned as its EXIF said"


def test_a_tiny_image_is_kept_pixel_for_pixel():
    image = Image.fromarray(photo(3, 8, 8)).convert("L")
    kind, encoded = shrink(image)
    assert kind == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encoded))), np.asarray(image))


@pytest.mark.parametrize("size", [(4000, 3000), (65, 3000), (3000, 65)])
def test_any_image_becomes_small(size):
    noise = np.random.default_rng(1).integers(0, 256, (size[1] // 5, size[0] // 5, 3), np.uint8)
    kind, encoded = shrink(Image.fromarray(noise).resize(size, Image.Resampling.NEAREST))
    assert kind == "image/jpeg"
    assert len(encoded) <= MAX_EXAMPLE_BYTES


def test_the_manifest_carries_their_bytes_and_no_more_than_is_allowed():
    example = ExampleImage(label="red", media_type="image/png", image=bytes(range(256)))
    manifest = knows_colours().manifest.model_copy(update={"examples": (example,)})
    assert Manifest.from_json(manifest.to_json(), "m") == manifest
    with pytest.raises(ValidationError):
        ExampleImage(label="red", media_type="image/png", image=bytes(MAX_EXAMPLE_BYTES + 1))
    with pytest.raises(ValidationError):
        ExampleImage(label="red", media_type="image/svg+xml", image=b"<svg/>")
    with pytest.raises(ValidationError):
        Manifest(**{**dict(manifest), "examples": (example,) * (MAX_EXAMPLES + 1)})
