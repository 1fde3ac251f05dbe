"""The run folder: the files of a training run, and loading a model from it.

    settings.toml     every setting          data.json         the split of every image
    model.safetensors weights + manifest     history.jsonl     one line an epoch
    metrics.json      held-out results       environment.json  versions, hardware, time
    curves.png, confusion.png               corrections.csv   decisions about labels, if any
    threads.json      torch's threads, if there was a choice

and checkpoint.safetensors, checkpoint.previous.safetensors, features*.safetensors while training is unfinished. Every
file is written beside its place, synced and renamed, so a reader never sees part of one (files.py); files with
weights contain a sha256 over them, so a bit changed on disk is detected.
Called by training, evaluation and cli.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from catseye.epochs import EpochRows
from catseye.errors import ModelFileError, SaveError, UsageError
from catseye.files import StrPath, hold_folder, make_folder, path_of, remove_leftovers, write_atomically
from catseye.manifest import METADATA_KEY, Manifest
from catseye.models import registry
from catseye.models.familiarity import Familiarity
from catseye.models.timm_twins import names_in_library
from catseye.notebook import Html, html_png, html_table
from catseye.settings.merge import read_settings
from catseye.settings.schema import Settings
from catseye.tensor_files import parse_tensor_file, read_whole, write_tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from catseye.classifier import Classifier

MODEL_FILE = "model.safetensors"
HUB_CONFIG = "config.json"  # beside it in a folder for the Hugging Face Hub
CHECKPOINT_FILE = "checkpoint.safetensors"
OWN_CODE = "own_code.json"  # import paths of the caller's code
CORRECTIONS_FILE = "corrections.csv"
PREVIOUS_FILE = "checkpoint.previous.safetensors"
FEATURES_FILE = "features.safetensors"


@dataclass(frozen=True)
class Run:
    """A run folder. It can be passed wherever the path of a model is expected."""

    path: Path

    def __fspath__(self) -> str:
        """The path, for `open`, `Path` and everything that takes a model."""
        return str(self.path)

    @property
    def model_path(self) -> Path:
        """The file with the chosen weights and their manifest."""
        return self.path / MODEL_FILE

    @property
    def checkpoints(self) -> list[Path]:
        """The existing checkpoints of an unfinished run, newest first."""
        return [path for name in (CHECKPOINT_FILE, PREVIOUS_FILE) if (path := self.path / name).exists()]

    @property
    def finished(self) -> bool:
        """Whether the run is finished: environment.json is the last file it writes."""
        return (self.path / "environment.json").exists() and not self.checkpoints

    @property
    def settings(self) -> Settings:
        """All settings of the run.

        `data.corrections` is the corrections file that the run has kept.
        """
        settings = read_settings(self.path / "settings.toml")
        if settings.data.corrections:
            kept = settings.data.model_copy(update={"corrections": str(self.path / CORRECTIONS_FILE)})
            return settings.model_copy(update={"data": kept})
        return settings

    @property
    def history(self) -> EpochRows:
        """One row per finished epoch."""
        path = self.path / "history.jsonl"
        try:
            rows = (
                EpochRows(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
                if path.exists()
                else EpochRows()
            )
        except (OSError, ValueError, RecursionError) as error:
            raise ModelFileError(f"{path} cannot be read ({error})") from None
        if not all(isinstance(row, dict) for row in rows):
            raise ModelFileError(f"{path} should hold a JSON object per line")
        return rows

    @property
    def data(self) -> dict[str, Any]:
        """The data manifest: source, classes, and every image's name, class and split."""
        return read_json(self.path / "data.json")

    @property
    def metrics(self) -> dict[str, Any]:
        """The results on the held-out images."""
        return read_json(self.path / "metrics.json")

    @cached_property
    def model(self) -> nn.Module:
        """The network with the run's weights, on the CPU, in evaluation mode.

        It maps (N, C, H, W) float to (N, K) logits. Its input is the output of `catseye.preprocess` as floats,
        normalised by `classifier.manifest.preprocessing`.

        Raises:
            ModelFileError: there are no weights yet, or they are damaged.

        """
        return load_model(self.path, torch.device("cpu"))[0]

    @cached_property
    def classifier(self) -> "Classifier":
        """The model, ready to classify images: `run.classifier.predict("cat.jpg")`."""
        import catseye

        return catseye.load(self)

    def show_batch(self, num_images: int = 16, *, epoch: int = 0) -> "Figure":
        """Training images as the network sees them, augmented, with their classes.

        As `catseye.show_batch` does.
        """
        import catseye

        return catseye.show_batch(self, num_images, epoch=epoch)

    def _repr_html_(self) -> str:
        rows: list[tuple[str, object]] = [("run folder", self.path), ("network", self.settings.model.name)]
        if (self.path / "metrics.json").exists():
            metrics = self.metrics
            low, high = metrics["accuracy_95_interval"]
            score = f"{metrics['accuracy']:.2%} (95% interval {low:.2%} – {high:.2%}, n = {metrics['num_images']:,})"
            rows.append((f"accuracy, {metrics.get('split', 'held-out')} images", score))
        else:
            rows.append(("epochs finished", f"{len(self.history)} of {self.settings.training.epochs}"))
        shown = html_png(self.path / "curves.png"), html_png(self.path / "confusion.png", 320)
        return Html(html_table((), rows) + "".join(shown))


def open_run(path: StrPath) -> Run:
    """An existing run folder, given as a path or as the result of `catseye.train`.

    Raises:
        ModelFileError: it is not a run folder.

    """
    run = Run(path_of(path))
    if not (run.path / "settings.toml").is_file():
        raise ModelFileError(f"{run.path} is not a run folder (no settings.toml in it); `catseye train DATA` makes one")
    return run


def create_run(out: StrPath | None, name: str) -> Run:
    """A new run folder: `out`, or runs/DATE-NAME, with a number added if that exists.

    Raises:
        UsageError: `out` is not empty, or cannot be made.

    """
    if out is None:
        plain = re.sub(r"[^\w.-]+", "-", name)  # timm:NAME has a colon, which Windows refuses
        stem = Path("runs") / f"{datetime.now():%Y-%m-%d}-{plain}"
        path, number = stem, 2
        while path.exists():
            path, number = stem.with_name(f"{stem.name}-{number}"), number + 1
    else:
        path = Path(out)
    try:
        make_folder(path)
        taken = any(path.iterdir())
    except OSError as error:
        raise UsageError(f"--out {path} cannot be made ({error.strerror})") from None
    if taken:
        resumable = (path / CHECKPOINT_FILE).exists()
        advice = f"continue it with --resume {path}, or" if resumable else "so"
        raise UsageError(f"--out {path} is not empty; {advice} choose a different folder")
    return Run(path)


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """Lock the run folder against a second trainer.

    Unfinished files of a killed trainer are removed.

    Raises:
        UsageError: another process holds it.

    """
    lock = FileLock(run.path / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(f"another process is training in {run.path}; give another --out") from None
    except OSError as error:
        raise SaveError(f"{run.path} cannot be locked for training ({error.strerror}); give another --out") from None
    try:
        with hold_folder(run.path):  # the lock file may have been deleted since
            remove_leftovers(run.path)
            yield
    except BlockingIOError:
        raise UsageError(f"another process is training in {run.path}; give another --out") from None
    finally:
        lock.release()


def write_json(path: Path, content: object) -> None:
    """Write indented JSON; NaN is an error, because JSON has none."""
    write_atomically(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a run folder.

    Raises:
        ModelFileError: it is missing or damaged.

    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise ModelFileError(f"{path} should hold a JSON object")
    return content


def save_model(path: Path, state: Mapping[str, Tensor], manifest: Manifest) -> None:
    """Weights and manifest in one file."""
    write_tensors(path, state, {METADATA_KEY: manifest.to_json()})


def load_model(path: StrPath, device: torch.device) -> tuple[nn.Module, Manifest]:
    """Rebuild the network of a run folder or a model.safetensors, in evaluation mode.

    Raises:
        ModelFileError: no such file, no manifest in it, or weights that do not fit the network it names.

    """
    return load_hashed_model(path, device)[:2]


def load_hashed_model(path: StrPath, device: torch.device) -> tuple[nn.Module, Manifest, str, int]:
    """As `load_model`, with the sha256 and size of the bytes that it read."""
    file = path = path_of(path)
    if file.is_dir() and (file / HUB_CONFIG).exists() and (file / MODEL_FILE).exists():
        file = file / MODEL_FILE  # a folder for the Hub
    elif file.is_dir():
        file = open_run(file).model_path
        if not file.exists():
            raise ModelFileError(f"{path} has no {MODEL_FILE} yet; finish it with `catseye train --resume {path}`")
    content = read_whole(file)
    digest, num_bytes = sha256(content).hexdigest(), len(content)
    tensors, metadata = parse_tensor_file(content, file)
    del content
    manifest = Manifest.from_json(metadata.get(METADATA_KEY), str(file))
    try:
        # First without memory: a file that names a network of 30 GB must not allocate it.
        with torch.device("meta"):
            fresh = _build_network(manifest, tensors)
        tensors = _under_own_names(tensors, fresh)
        wanted = {name: value.shape for name, value in fresh.state_dict().items()}
        if wanted != {name: value.shape for name, value in tensors.items()}:
            raise RuntimeError(_first_difference(wanted, tensors))
        model = _build_network(manifest, tensors)
        model.load_state_dict(tensors)
    except (UsageError, RuntimeError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        # A network's options may be anything: infinity as a width, a text as a depth.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        raise ModelFileError(f"{file}: the weights do not fit the network its manifest names ({reason})") from None
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values() if tensor.is_floating_point()):
        raise ModelFileError(f"{file} contains weights that are NaN or infinite; use another checkpoint")
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval(), manifest, digest, num_bytes


def _build_network(manifest: Manifest, tensors: Mapping[str, Tensor]) -> nn.Module:
    spec = manifest.preprocessing
    options: dict[str, Any] = dict(manifest.architecture.options)
    model = registry.create(
        manifest.architecture.name,
        num_classes=len(manifest.classes),
        in_channels=spec.channels,
        input_px=(spec.height_px, spec.width_px),
        **options,
    )
    if (centres := tensors.get("familiarity.centres")) is not None and centres.ndim == 2:
        model.familiarity = Familiarity(centres.shape[1], len(centres))
    return model


def _under_own_names(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Rename the tensors of a file for the Hub to the network's own names.

    Such a file has the names of the network's library.
    """
    names = names_in_library(model) if hasattr(model, "published_names") else {}
    if set(names.values()) != tensors.keys():
        return dict(tensors)
    return {ours: tensors[theirs] for ours, theirs in names.items()}


def _first_difference(wanted: Mapping[str, torch.Size], tensors: Mapping[str, Tensor]) -> str:
    for name in sorted(wanted.keys() | tensors.keys()):
        mine = tuple(wanted[name]) if name in wanted else "nothing"
        theirs = tuple(tensors[name].shape) if name in tensors else "nothing"
        if mine != theirs:
            return f"{name}: the network has {mine}, the file {theirs}"
    return ""
