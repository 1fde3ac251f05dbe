"""A folder for the Hugging Face Hub, in timm's layout.

Enters: a network that timm has too, and its manifest. Leaves: the folder with README.md, config.json and
model.safetensors, and the model opened by timm for the proof. Nothing is uploaded: the user runs `hf upload`. Called by
`drafts.py`.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from catseye.classifier import softmax
from catseye.decoding.channels import PLAIN_CHANNELS
from catseye.errors import UsageError
from catseye.exporting.hub_card import hub_card
from catseye.files import make_folder, write_atomically
from catseye.manifest import METADATA_KEY, Manifest
from catseye.models.timm_twins import TimmTwin, find_twin, open_timm_folder
from catseye.runs import MODEL_FILE
from catseye.runtimes.model_file import OpenedModel, image_and_answers
from catseye.tensor_files import read_tensors, write_tensors

# timm's names for how an image of other proportions is fitted to the input.
CROP_MODES = {"pad": "border", "crop": "center", "squash": "squash"}


def twin_of(model: nn.Module, manifest: Manifest) -> TimmTwin:
    """The same network in timm.

    Raises:
        UsageError: timm has no such network. MissingDependency: timm is not installed.

    """
    spec = manifest.preprocessing
    if spec.channels not in PLAIN_CHANNELS:
        raise UsageError(
            f"a folder for the Hub is of a model that reads greyscale or colour; this one reads {spec.channels} "
            "channels; export --to onnx or --to torchscript"
        )
    return find_twin(model, manifest.architecture.name, num_classes=len(manifest.classes), in_channels=spec.channels)


def write_hub_folder(twin: TimmTwin, path: Path, manifest: Manifest) -> None:
    """Write the three files; the weights last, because they make the folder a model."""
    make_folder(path)
    write_atomically(path / "README.md", hub_card(manifest, twin.architecture))
    write_atomically(path / "config.json", json.dumps(timm_config(twin, manifest), indent=2) + "\n")
    write_tensors(path / MODEL_FILE, twin.state, {METADATA_KEY: manifest.to_json(), "format": "pt"})


def timm_config(twin: TimmTwin, manifest: Manifest) -> dict[str, Any]:
    """The configuration for timm: architecture, class names and preprocessing.

    Source: the layout of timm's `save_config_for_hf` (timm 1.0.31, timm/models/_hub.py).
    """
    spec = manifest.preprocessing
    return {
        "architecture": twin.architecture,
        "num_classes": len(manifest.classes),
        "num_features": twin.num_features,
        "label_names": list(manifest.classes),
        "model_args": {"in_chans": spec.channels},
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [spec.channels, spec.height_px, spec.width_px],
            "fixed_input_size": False,
            "interpolation": spec.filter,
            "crop_pct": 1.0,
            "crop_mode": CROP_MODES[spec.resize],
            "mean": list(spec.mean),
            "std": list(spec.std),
            "num_classes": len(manifest.classes),
            "first_conv": twin.first_conv,
            "classifier": twin.classifier,
        },
    }


def open_hub_folder(path: Path) -> OpenedModel:
    """The folder opened by timm.

    Normalisation and temperature come from the manifest in it.

    Raises:
        CatseyeError: timm cannot load it.

    """
    weights = path / MODEL_FILE
    tensors, metadata = read_tensors(weights, sealed=True)
    manifest = Manifest.from_json(metadata.get(METADATA_KEY), str(weights))
    net, version = open_timm_folder(path)

    def ask(pixels: NDArray[Any], names: Sequence[str]) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            logits = net(torch.from_numpy(pixels)).numpy()
        answers = {"prediction": logits, "probability": softmax(logits, manifest.temperature).astype(np.float32)}
        return [answers[name] for name in names]

    inputs, outputs = image_and_answers(manifest, ("prediction", "probability"))
    return OpenedModel(
        path=path,
        format="timm folder",
        runtime=f"timm {version}, torch {torch.__version__}",
        manifest=manifest,
        num_bytes=weights.stat().st_size,
        sha256=sha256(weights.read_bytes()).hexdigest(),
        ask=ask,
        inputs=inputs,
        outputs=outputs,
        operators={},
        num_parameters=sum(tensor.numel() for tensor in tensors.values()),
        computed_by="torch",
    )
