"""Golden pairs: images, tensors and expected answers, to test ports of a model.

A port to C#, Java, Swift or a device is correct if its preprocessing turns these images into these tensors and its
runtime turns these tensors into these probabilities. Called by `export.py`.
"""

import io
import re
from pathlib import Path, PurePosixPath

import numpy as np

from catseye.exporting.held_out import HeldOut
from catseye.exporting.parity_result import ParityLimits, ParityResult
from catseye.files import write_atomically
from catseye.preprocess import preprocess
from catseye.runs import write_json
from catseye.runtimes.model_file import OpenedModel, tensor_of


def write_golden(folder: Path, model: OpenedModel, images: HeldOut, comparison: ParityResult, num_pairs: int) -> Path:
    """Write the first `num_pairs` proof images, and `golden.json`, which lists them.

    Shape: each tensor is a batch of one for `image`: (1, H, W, C) uint8 or (1, C, H, W) float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = model.manifest
    pairs = []
    for index in range(min(num_pairs, len(images.names))):
        name, content = images.names[index], images.contents[index]
        tensor = io.BytesIO()
        np.save(tensor, tensor_of(preprocess(content, manifest.preprocessing)[None], manifest), allow_pickle=False)
        image = f"{index:03d}{_suffix(name)}"
        write_atomically(folder / image, content)
        write_atomically(folder / f"{index:03d}.npy", tensor.getvalue())
        pairs.append(
            {
                "name": name,
                "image": image,
                "tensor": f"{index:03d}.npy",
                "class": manifest.classes[int(images.labels[index])],
                "probabilities": comparison.expected[index].tolist(),
            }
        )
    facts = {
        "model_sha256": model.sha256,
        "classes": list(manifest.classes),
        "preprocessing": manifest.preprocessing.model_dump(mode="json"),
        "input_kind": manifest.input_kind,
        "tolerance": ParityLimits().max_difference,
    }
    write_json(folder / "golden.json", {**facts, "pairs": pairs})
    return folder


def _suffix(name: str) -> str:
    """The image's own suffix; the built-in sets have none, and their images are PNGs."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z]{1,5}", suffix) else ".png"
