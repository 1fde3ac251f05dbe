"""The JSON of the responses.

Enters: a finished `Job`, or probabilities. Leaves: dictionaries of plain JSON types; the first three keys are always
there, others only if there is a reason. Called by app and aws_lambda.
"""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.serving.batcher import Job
from catseye.serving.heat_map import heat_map_png
from catseye.serving.served_model import ServedModel

FEW_CLASSES = 200  # up to here a loop over the probabilities is as fast as NumPy


def prediction(job: Job, top: int | None) -> tuple[dict[str, Any], int, float]:
    """The answer for one image, the index of its class and its probability (0 to 1).

    Percentages have two decimals. `top` keeps that many classes, best first. "unknown" appears only when the image is
    below one of the model's thresholds, "familiarity" only when it is that threshold, "cam" only on request.
    """
    assert job.answer is not None
    answer = describe_answer(job.model, job.answer, top, job.familiarity)
    if job.cam is not None:
        add_map(answer, job.model, job.cam, job.size_px)
    best = best_of(job.answer)
    return answer, best, float(job.answer[best])


def best_of(probabilities: NDArray[Any]) -> int:
    """The index of the largest of (K,); the first of several.

    NumPy's argmax would yield to other threads.
    """
    if len(probabilities) > FEW_CLASSES:
        return int(probabilities.argmax())
    values = probabilities.tolist()
    best: int = values.index(max(values))
    return best


def describe_answer(
    model: ServedModel, probabilities: NDArray[Any], top: int | None, familiarity: float | None = None
) -> dict[str, Any]:
    """The response for one image.

    Its probabilities (K,) are from 0 to 1, its familiarity is from -1 to 1.
    """
    manifest = model.manifest
    percent: list[float] = (probabilities.astype(np.float64) * 100).round(2).tolist()
    best = best_of(probabilities)
    if top is None:
        shares = dict(zip(manifest.classes, percent, strict=True))
    else:
        order = np.argsort(-probabilities, kind="stable")[:top].tolist()
        shares = {manifest.classes[index]: percent[index] for index in order}
    answer: dict[str, Any] = {"class": manifest.classes[best], "confidence": percent[best], "all_probabilities": shares}
    familiarities = None if familiarity is None else np.array([familiarity])
    limit = manifest.familiarity_threshold
    may_be = manifest.unknown_threshold is not None or (limit is not None and familiarities is not None)
    if may_be and manifest.are_unknown(probabilities[None], familiarities)[0]:
        answer["unknown"] = True
    if limit is not None and familiarity is not None and familiarity < limit:
        answer["familiarity"] = round(familiarity, 4)
    return answer


def add_map(answer: dict[str, Any], model: ServedModel, cam: NDArray[Any], size_px: tuple[int, int]) -> None:
    """Add the class-activation map, as a PNG that fits an image of this size."""
    png = heat_map_png(cam, size_px, model.manifest.preprocessing)
    answer["cam"] = "data:image/png;base64," + base64.b64encode(png).decode()


def model_facts(model: ServedModel, body_bytes: int) -> dict[str, Any]:
    """The response of GET /model: classes, measured accuracy, size, date."""
    manifest, file = model.manifest, model.file
    spec, provenance = manifest.preprocessing, manifest.provenance
    card: dict[str, Any] = {
        "name": model.name,
        "version": model.version,
        "network": manifest.architecture.name,
        "classes": list(manifest.classes),
        "input": {"width_px": spec.width_px, "height_px": spec.height_px, "channels": spec.channels},
        "resize": spec.resize,
        "has_cam": model.has_cam,
        "unknown_threshold": manifest.unknown_threshold,
        "familiarity_threshold": manifest.familiarity_threshold if file.knows_strangers else None,
        "limits": {"body_bytes": body_bytes},
        "num_parameters": file.num_parameters,
        "file_bytes": file.num_bytes,
        "created": provenance.created,
        "data": provenance.data_name,
        "runtime": model.runtime,
    }
    if manifest.examples:
        card["examples"] = [
            {
                "class": example.label,
                "image": f"data:{example.media_type};base64,{base64.b64encode(example.image).decode()}",
            }
            for example in manifest.examples
        ]
    for side in ("test", "val"):
        if f"{side}_accuracy" in provenance.metrics:
            low, high = provenance.metrics.get(f"{side}_accuracy_low"), provenance.metrics.get(f"{side}_accuracy_high")
            card["accuracy"] = {
                "share": provenance.metrics[f"{side}_accuracy"],
                "interval_95": None if low is None or high is None else [low, high],
                "num_images": int(provenance.metrics.get(f"{side}_num_images", 0)) or None,
                "split": side,
            }
            break
    return card
