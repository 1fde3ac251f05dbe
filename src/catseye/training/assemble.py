"""The objects of a run, built from settings and pictures; nothing is trained here.

Enters: DATA and `Settings`. Leaves: `Prepared`, `Trainer`, `Manifest`. Called by `fit.py`.
"""

from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from catseye.config import Settings, to_toml
from catseye.data.prepare import Prepared, prepare
from catseye.data.sources import SPLIT_LABELS
from catseye.devices import choose_precision
from catseye.errors import UsageError
from catseye.manifest import Architecture, Manifest, Provenance
from catseye.models import registry
from catseye.training.ema import EMA
from catseye.training.losses import make_criterion
from catseye.training.optimizers import make_optimizer
from catseye.training.schedules import make_schedule
from catseye.training.step import Trainer


def prepare_data(source: str, chosen: Settings, where: torch.device, folder: Path | None, console: Console) -> Prepared:
    """List, decode and split DATA, and say what was found."""
    prepared = prepare(
        source,
        chosen.data,
        batch_size=chosen.training.batch_size,
        seed=chosen.seed,
        device=where,
        data_dir=folder,
        min_area=chosen.augment.crop_scale,
    )
    counts = ", ".join(f"{count:,} {name}" for name, count in prepared.counts.items() if count)
    spec = prepared.spec
    shape = f"{spec.channels} x {spec.height_px} x {spec.width_px}"
    console.print(
        f"{len(prepared.pictures.classes)} classes; {counts}; input {shape}, resize {spec.resize}",
        highlight=False,
        soft_wrap=True,
    )
    for note in prepared.notes:
        console.print(f"- {note}", highlight=False, markup=False, soft_wrap=True)
    return prepared


def fit_to_data(chosen: Settings, prepared: Prepared, console: Console) -> Settings:
    """Drop what a recipe asks for and these pictures cannot bear, and refuse what would do nothing."""
    if chosen.recipe and chosen.augment.hflip and not prepared.pictures.mirror_safe:
        console.print("- no mirror images: a mirrored digit is another sign", highlight=False)
        chosen = chosen.model_copy(update={"augment": chosen.augment.model_copy(update={"hflip": 0.0})})
    if chosen.augment.saturation and prepared.spec.channels == 1:
        raise UsageError("augment.saturation would do nothing here: the pictures are grey; leave it out")
    if not prepared.counts["val"]:
        default = type(chosen.training)()
        for key in ("patience", "best_by"):
            if getattr(chosen.training, key) != getattr(default, key):
                raise UsageError(
                    f"training.{key} would do nothing here: there is no validation split (data.val_fraction)"
                )
    if not prepared.counts["val"] and not prepared.counts["test"]:
        raise UsageError("nothing is held out: give data.val_fraction or data.test_fraction a value above 0")
    return chosen


def build_trainer(chosen: Settings, prepared: Prepared, where: torch.device) -> tuple[Trainer, Architecture]:
    """Network, optimizer, schedule, loss and average of a run; the same seed gives the same weights."""
    options = chosen.model.model_dump(exclude_none=True, exclude={"name"})
    spec, training = prepared.spec, chosen.training
    torch.manual_seed(chosen.seed)
    model = registry.create(
        chosen.model.name,
        num_classes=len(prepared.pictures.classes),
        in_channels=spec.channels,
        input_px=spec.height_px,
        **options,
    ).to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainer = Trainer(
        model=model,
        optimizer=make_optimizer(model, training),
        schedule=make_schedule(training, prepared.loaders["train"].num_batches),
        criterion=make_criterion(training, prepared.class_counts, where),
        augment=chosen.augment,
        spec=spec,
        num_classes=len(prepared.pictures.classes),
        seed=chosen.seed,
        clip_norm=training.clip_norm,
        precision=choose_precision(training.precision, where),
        ema=EMA(model, training.ema_decay) if training.ema_decay else None,
    )
    return trainer, Architecture(name=chosen.model.name, options=options)


def make_manifest(chosen: Settings, prepared: Prepared, architecture: Architecture) -> Manifest:
    """What the model file will say of itself."""
    provenance = Provenance(
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        catseye=version("catseye"),
        torch=torch.__version__,
        data_name=Path(prepared.pictures.source).name,
        data_sha256=prepared.data_sha256,
        settings_sha256=sha256(to_toml(chosen).encode()).hexdigest(),
        seed=chosen.seed,
    )
    return Manifest(
        classes=prepared.pictures.classes,
        preprocessing=prepared.spec,
        architecture=architecture,
        provenance=provenance,
    )


def data_manifest(prepared: Prepared, folder: Path | None) -> dict[str, Any]:
    """data.json: the source, and name and class of every picture on each side."""
    pictures = prepared.pictures
    names: dict[str, dict[str, str]] = {side: {} for side in SPLIT_LABELS}
    for name, label, side in zip(pictures.names, pictures.labels, prepared.splits, strict=True):
        if side >= 0:
            names[SPLIT_LABELS[side]][name] = pictures.classes[label]
    return {
        "source": pictures.source,
        "data_dir": str(folder.resolve()) if folder else None,
        "sha256": prepared.data_sha256,
        "classes": list(pictures.classes),
        "splits": names,
        "quarantined": list(prepared.quarantined.values()),
        "notes": prepared.notes,
    }
