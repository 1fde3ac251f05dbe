"""A run folder or a model.safetensors, as a model that computes with torch.

Enters: its path. Leaves: `OpenedModel` with its network. Called by `loading.py`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from catseye.classifier import softmax
from catseye.data.augment import normalise_batch, to_unit
from catseye.files import StrPath
from catseye.machine.devices import choose_device
from catseye.manifest import Manifest
from catseye.runs import load_hashed_model
from catseye.runtimes.model_file import Ask, OpenedModel, OpenSettings, image_and_answers


def open_weights(path: StrPath, wish: OpenSettings) -> OpenedModel:
    """Build the network of a run and load its weights, in evaluation mode.

    Raises:
        ModelFileError: no such file, damaged, no manifest, or weights that do not fit the network that it names.

    """
    device = choose_device("cpu" if wish.need == "facts" else wish.device)
    network, manifest, digest, num_bytes = load_hashed_model(path, device)
    manifest = manifest.model_copy(update={"input_kind": None})  # it describes the input of a graph; this is none
    if wish.threads:
        torch.set_num_threads(wish.threads)

    extra = ["familiarity"] if hasattr(network, "familiarity") else []
    inputs, outputs = image_and_answers(manifest, ("prediction", "probability", *extra))
    return OpenedModel(
        path=Path(path),
        format="safetensors",
        runtime=f"torch {torch.__version__}",
        manifest=manifest,
        num_bytes=num_bytes,
        sha256=digest,
        ask=ask_network(network, manifest, device),
        inputs=inputs,
        outputs=outputs,
        operators={},
        num_parameters=sum(tensor.numel() for tensor in network.state_dict().values()),
        computed_by="torch",
        device=str(device),
        network=network,
    )


def ask_network(network: nn.Module, manifest: Manifest, device: torch.device) -> Ask:
    """The `Ask` of a network in evaluation mode that has `features` and `head`.

    Its outputs by name: prediction, probability, familiarity if the network has it, features.
    """

    def ask(pixels: NDArray[Any], names: Sequence[str]) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            x = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2)
            x = normalise_batch(to_unit(x), manifest.preprocessing)
            maps = network.get_submodule("features")(x)
            outputs: dict[str, Tensor] = {"prediction": network.get_submodule("head")(maps)}
            if "familiarity" in names:
                outputs["familiarity"] = network.get_submodule("familiarity")(maps)
        arrays = {name: value.float().cpu().numpy() for name, value in outputs.items()}
        if "features" in names:
            arrays["features"] = maps.float().mean((2, 3)).cpu().numpy()
        if "probability" in names:
            arrays["probability"] = softmax(arrays["prediction"], manifest.temperature).astype(np.float32)
        return [arrays[name] for name in names]

    return ask
