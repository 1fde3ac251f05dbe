"""A lesson as a run folder for other verbs: images, splits, weights, results.

Enters: recorded frames and `Taught`. Leaves: a run folder, complete or not at all. Called by teach_desk.py.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from catseye.data.sources import SPLIT_LABELS, ImageSet, open_source
from catseye.data.survey import fingerprint_images
from catseye.environment import environment
from catseye.errors import SaveError, UsageError
from catseye.evaluation.evaluate import report
from catseye.evaluation.predict import Outputs
from catseye.files import sync_folder, write_atomically
from catseye.manifest import Manifest
from catseye.review.taught import FrozenNetwork, Taught
from catseye.runs import MODEL_FILE, save_model, write_json
from catseye.settings.merge import load_settings, to_toml
from catseye.settings.schema import Settings

IMAGES = "images"
NOTE = (
    "taught with `catseye teach`: the head is a logistic regression on frozen features, not trained in epochs; the "
    "last fifth of each class's frames is held out, and frames of one recording are alike: the scores are biased "
    "upwards"
)
_SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"RI": ".webp"}


@dataclass(frozen=True)
class KeptImage:
    """One frame to be written: `side` is train or val."""

    side: str
    label: str
    content: bytes
    digest: bytes


def choose_folder(out: Path | None) -> Path:
    """The folder for a lesson: `out`, or runs/DATE-taught, numbered if that exists.

    Raises:
        UsageError: `out` is not empty.

    """
    if out is None:
        stem = Path("runs") / f"{datetime.now():%Y-%m-%d}-taught"
        names = (stem, *(stem.with_name(f"{stem.name}-{number}") for number in range(2, 10_000)))
        return next(path for path in names if not path.exists()).absolute()
    require_empty(out)
    return out.absolute()


def require_empty(out: Path) -> None:
    """A lesson needs a new or empty folder.

    Raises:
        UsageError: `out` is a file, or is not empty.

    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} is not empty; choose a different folder")


def keep_run(folder: Path, images: Sequence[KeptImage], taught: Taught, frozen: FrozenNetwork) -> None:
    """Write the run folder beside its place, then move it there.

    It replaces an earlier one.

    Raises:
        SaveError: the disk is full, or the folder may not be written to.

    """
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    before = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        _write_images(beside / IMAGES, images)
        _write_run(beside, folder, taught, frozen)
        if folder.exists():
            folder.rename(before)
        beside.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise SaveError(f"{folder} cannot be written ({error.strerror}); give another --out") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def _write_images(root: Path, images: Sequence[KeptImage]) -> None:
    for number, image in enumerate(images):
        folder = root / image.side / image.label
        folder.mkdir(parents=True, exist_ok=True)
        suffix = _SUFFIXES.get(image.content[:2], ".jpg")
        (folder / f"{number:04d}-{image.digest.hex()[:8]}{suffix}").write_bytes(image.content)


def _write_run(beside: Path, folder: Path, taught: Taught, frozen: FrozenNetwork) -> None:
    settings = _taught_settings(frozen)
    listed = open_source(beside / IMAGES, settings=settings.data)
    described = _describe_taught(listed, str(folder / IMAGES), taught)
    write_json(beside / "data.json", described)
    write_atomically(beside / "settings.toml", to_toml(settings))
    num_held = len(taught.held_labels)
    outputs = Outputs(taught.held_logits, taught.held_labels, np.arange(num_held))
    manifest = taught.manifest
    facts = {"split": "val", "data": described["source"]}
    metrics = report(outputs, manifest.classes, manifest.temperature, beside, facts)
    scores = {
        "val_accuracy": metrics.accuracy,
        "val_accuracy_low": metrics.accuracy_low,
        "val_accuracy_high": metrics.accuracy_high,
        "val_macro_f1": metrics.macro.f1,
        "val_num_images": float(metrics.num_images),
    }
    manifest = _with_origin(manifest, described, settings, scores, folder.name)
    save_model(beside / MODEL_FILE, frozen.backbone.network.state_dict(), manifest)
    write_json(beside / "environment.json", environment())


def _taught_settings(frozen: FrozenNetwork) -> Settings:
    architecture = frozen.architecture
    values: dict[str, object] = {"model.name": architecture.name, "data.resize": frozen.backbone.spec.resize}
    values |= {f"model.{key}": value for key, value in architecture.options.items() if key not in ("head", "views")}
    values |= {"transfer.strategy": "feature-extraction"}
    return load_settings("transfer", values=values)


def _describe_taught(images: ImageSet, source: str, taught: Taught) -> dict[str, Any]:
    """data.json, as `train` writes it."""
    splits: dict[str, dict[str, str]] = {side: {} for side in SPLIT_LABELS}
    for name, label, side in zip(images.names, images.labels.tolist(), images.splits.tolist(), strict=True):
        splits[SPLIT_LABELS[side]][name] = images.classes[label]
    return {
        "source": source,
        "data_dir": None,
        "sha256": fingerprint_images(images),
        "classes": list(taught.manifest.classes),
        "splits": splits,
        "quarantined": [],
        "content": None,
        "near_copies": None,
        "notes": [NOTE],
        "check": [],
    }


def _with_origin(
    manifest: Manifest, described: dict[str, Any], settings: Settings, scores: dict[str, float], name: str
) -> Manifest:
    """The manifest with its data, settings and scores filled in."""
    origin = manifest.provenance.model_copy(
        update={
            "data_name": name,
            "data_sha256": described["sha256"],
            "settings_sha256": sha256(to_toml(settings).encode()).hexdigest(),
            "metrics": scores,
        }
    )
    return manifest.model_copy(update={"provenance": origin})
