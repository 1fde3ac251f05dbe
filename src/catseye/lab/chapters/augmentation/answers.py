"""Answers for chapter 7: one transform, all transforms, and mixed images.

One transform is shown at many draws; mixing combines two images and their labels.
"""

import base64
import io
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from PIL import Image
from pydantic import Field

from catseye.lab.chapters.augmentation import maths as transforms
from catseye.lab.images import built_in
from catseye.lab.questions import Answer, Nothing, Question, QuestionFields
from catseye.preprocess import Pixels, to_pixels

if TYPE_CHECKING:
    from catseye.lab.bench import Workbench
    from catseye.lab.images import LabImage

SIDE_PX = 96
SMALL_PX = 32
NUM_DRAWS = 8
MIXED_PX = 96


def table(bench: "Workbench", question: Nothing) -> Answer:
    """Every transform with the range of its strength."""
    return {"transforms": [asdict(transform) for transform in transforms.TRANSFORMS], "num_draws": NUM_DRAWS}


class Draw(QuestionFields):
    """An image, the strengths, and the seed and step that determine the draws."""

    image: str = Field(max_length=64)
    strengths: dict[str, float] = Field(max_length=16)
    seed: int = Field(default=0, ge=0, lt=2**31)
    step: int = Field(default=0, ge=0, lt=2**31)
    num: int = Field(default=NUM_DRAWS, ge=1, le=16)


def draw(bench: "Workbench", question: Draw) -> Answer:
    """The augmented batch as images, and as the numbers the network gets.

    Also how far each image is from the original.
    """
    image = bench.images.get(question.image)
    side = SMALL_PX if max(image.pixels.shape[:2]) <= SMALL_PX else SIDE_PX
    spec = transforms.spec_of(image.pixels, side)
    strengths = question.strengths
    if spec.channels == 1:  # grey images have no saturation: `catseye train` refuses it
        strengths = {key: value for key, value in strengths.items() if key != "saturation"}
    settings = transforms.augment_settings(strengths)
    drawn = {"seed": question.seed, "step": question.step}
    (original,) = transforms.to_view(
        transforms.batch_of(image.pil, transforms.augment_settings({}), spec, num=1, **drawn), spec
    )
    batch = transforms.batch_of(image.pil, settings, spec, num=question.num, **drawn)
    views = transforms.to_view(batch, spec)
    return {
        "original": data_url(original),
        "images": [data_url(view) for view in views],
        "changed": [transforms.changed(original, view) for view in views],
        "shape": list(batch.shape),
        "lowest": float(batch.min()),
        "highest": float(batch.max()),
        "mean": [float(value) for value in batch.mean((0, 2, 3))],
        "std": [float(value) for value in batch.std((0, 2, 3))],
        "spec_mean": list(spec.mean),
        "spec_std": list(spec.std),
        "grey": spec.channels == 1,
        "command": transforms.train_command(strengths),
    }


class Mix(QuestionFields):
    """All images on the bench as one batch, each a class of its own."""

    kind: Literal["mixup", "cutmix"] = "mixup"
    alpha: float = Field(default=1.0, ge=0, le=10)
    seed: int = Field(default=0, ge=0, lt=2**31)
    step: int = Field(default=0, ge=0, lt=2**31)
    image: str = Field(default="", max_length=64)


def mix(bench: "Workbench", question: Mix) -> Answer:
    """The mixed images, each with the shares of its labels."""
    images = list(built_in().values())
    if question.image and question.image not in built_in():
        images = [bench.images.get(question.image), *images]
    strengths = {f"{question.kind}_alpha": question.alpha}
    x, targets = transforms.mixed_batch(
        [_square(image) for image in images],
        list(range(len(images))),
        transforms.augment_settings(strengths),
        seed=question.seed,
        step=question.step,
    )
    levels = (x * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return {
        "classes": [image.title for image in images],
        "images": [data_url(pixels) for pixels in levels],
        "targets": targets.tolist(),
        "command": transforms.train_command(strengths),
    }


def _square(image: "LabImage") -> Pixels:
    square = image.pil.convert("RGB").resize((MIXED_PX, MIXED_PX), Image.Resampling.BILINEAR)
    return to_pixels(square, 3)


def data_url(pixels: Pixels) -> str:
    """An image as a data URL, which needs no further request.

    Shape: (H, W, C) uint8.
    """
    stream = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


QUESTIONS = {"table": Question(Nothing, table), "draw": Question(Draw, draw), "mix": Question(Mix, mix)}
