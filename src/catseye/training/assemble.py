"""The objects of a run, built from settings and images; nothing is trained here.

Enters: DATA and `Settings`. Leaves: `Prepared`, `Trainer`, `Manifest`. Called by `fit.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from catseye.data.augment import normalise_batch, to_unit
from catseye.data.check.findings import name_classes
from catseye.data.loaders import Loader
from catseye.data.prepare import Prepared, prepare
from catseye.data.sources import SPLIT_LABELS, open_source
from catseye.errors import UsageError
from catseye.machine.devices import choose_precision
from catseye.manifest import Architecture, Manifest, Provenance
from catseye.models import registry
from catseye.models.pretrained import Published, expected_input, find_published
from catseye.preprocess import Expected
from catseye.settings.merge import to_toml
from catseye.settings.schema import Settings
from catseye.training.cached_features import cache_features
from catseye.training.distillation import Teacher, load_teacher
from catseye.training.distributed import ALONE, Processes, parallel
from catseye.training.ema import EMA
from catseye.training.losses import make_criterion
from catseye.training.optimizers import make_optimizer
from catseye.training.schedules import make_schedule
from catseye.training.step import Trainer
from catseye.training.sync_batch_norm import synchronise
from catseye.training.transfer import TransferPlan, build_pretrained, pretrained_options, transfer_groups


@dataclass(frozen=True)
class Assembled:
    """What `fit` works with. The loaders give features instead of images where a frozen backbone was run once."""

    trainer: Trainer
    loaders: Mapping[str, Loader]
    architecture: Architecture
    plan: TransferPlan | None


def find_weights(chosen: Settings, console: Console) -> Published | None:
    """Published weights, looked for before any image is read: what is missing is told at once."""
    transfer = chosen.transfer
    if transfer.strategy == "none":
        return None
    if transfer.strategy == "scratch":
        return Published({}, expected_input(chosen.model.name, given=True), "none, fresh ones")
    published = find_published(chosen.model.name, Path(transfer.weights) if transfer.weights else None)
    console.print(f"weights: {published.source}", highlight=False, soft_wrap=True)
    return published


def prepare_data(
    source: str,
    chosen: Settings,
    where: torch.device,
    folder: Path | None,
    console: Console,
    expected: Expected | None = None,
    num_sharing: int = 1,
) -> Prepared:
    """List, decode and split DATA, and say what was found."""
    images = open_source(source, data_dir=folder)
    console.print(name_classes(images.classes), highlight=False, markup=False, soft_wrap=True)
    prepared = prepare(
        images,
        chosen.data,
        batch_size=chosen.training.batch_size,
        seed=chosen.seed,
        device=where,
        min_area=chosen.augment.crop_scale,
        expected=expected,
        num_sharing=num_sharing,
    )
    counts = ", ".join(f"{count:,} {name}" for name, count in prepared.counts.items() if count)
    spec = prepared.spec
    shape = f"{spec.channels} x {spec.height_px} x {spec.width_px}"
    console.print(
        f"{counts}; input {shape}, resize {spec.resize}",
        highlight=False,
        soft_wrap=True,
    )
    for note in prepared.notes:
        console.print(f"- {note}", highlight=False, markup=False, soft_wrap=True)
    for line in prepared.verdict.lines():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return prepared


def fit_to_data(chosen: Settings, prepared: Prepared, console: Console) -> Settings:
    """Drop what a recipe asks for and these images cannot bear, and refuse what would do nothing."""
    if chosen.recipe and chosen.augment.hflip and not prepared.images.mirror_safe:
        console.print("- no mirror images: a mirrored digit is another sign", highlight=False)
        unmirrored = {"hflip": 0.0, "hflip_alternate": False}
        chosen = chosen.model_copy(update={"augment": chosen.augment.model_copy(update=unmirrored)})
    if chosen.augment.saturation and prepared.spec.channels == 1:
        raise UsageError("augment.saturation would do nothing here: the images are grey; leave it out")
    if not prepared.counts["val"] and chosen.training.keep == "best":
        default = type(chosen.training)()
        for key in ("patience", "best_by"):
            if getattr(chosen.training, key) != getattr(default, key):
                raise UsageError(
                    f"training.{key} would do nothing here: there is no validation split (data.val_fraction)"
                )
    if not prepared.counts["val"] and not prepared.counts["test"]:
        raise UsageError("nothing is held out: give data.val_fraction or data.test_fraction a value above 0")
    return chosen


def assemble(
    chosen: Settings,
    prepared: Prepared,
    where: torch.device,
    published: Published | None,
    console: Console,
    processes: Processes = ALONE,
) -> Assembled:
    """Network, optimizer, schedule, loss and average of a run; the same seed gives the same weights."""
    spec, training, classes = prepared.spec, chosen.training, prepared.images.classes
    options = chosen.model.model_dump(exclude_none=True, exclude={"name"})
    torch.manual_seed(chosen.seed)
    loaders: Mapping[str, Loader] = prepared.loaders
    plan, groups, frozen = None, None, {}
    if published is None:
        model = registry.create(
            chosen.model.name,
            num_classes=len(classes),
            in_channels=spec.channels,
            input_px=spec.height_px,
            **options,
        )
        begin = getattr(model, "initialise", None)
        if begin is not None:
            begin(_some_images(prepared))
        model = model.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    else:
        model, plan = build_pretrained(chosen, prepared, published, where)
        options = {**pretrained_options(chosen), "head": "transfer"}
        console.print(f"- strategy {plan.strategy}: {plan.reason}", highlight=False, soft_wrap=True)
        groups = transfer_groups(model, plan, chosen)
        if plan.strategy == "feature-extraction":
            if chosen.distillation.teacher:
                raise UsageError(
                    "distillation.teacher needs images, feature extraction has none; say --strategy fine-tune"
                )
            loaders = _cache(model, chosen, prepared, console)
            frozen = {f"features.{name}": value for name, value in model.get_submodule("features").state_dict().items()}
            model = model.get_submodule("head")
    loaders = {**loaders, "train": processes.share(loaders["train"])}
    steps = loaders["train"].num_batches
    if training.sync_batch_norm and processes.world_size > 1:
        synchronise(model)
    for group in groups or []:
        group["from_step"] = group.pop("from_epoch") * steps
    trainer = Trainer(
        model=model,
        optimizer=make_optimizer(model, training, groups),
        schedule=make_schedule(training, steps),
        criterion=make_criterion(training, prepared.class_counts, where),
        augment=chosen.augment,
        spec=spec,
        num_classes=len(classes),
        seed=chosen.seed,
        clip_norm=training.clip_norm,
        small_px=training.small_px,
        small_until=round(training.small_share * training.epochs * steps) if training.small_px else 0,
        precision=choose_precision(training.precision, where),
        ema=EMA(model, training.ema_decay) if training.ema_decay else None,
        teacher=_teacher(chosen, prepared, where),
        frozen_state=frozen,
        num_parts=training.accumulate_steps,
        processes=processes,
        parallel=parallel(model, processes),
    )
    return Assembled(trainer, loaders, Architecture(name=chosen.model.name, options=options), plan)


def _some_images(prepared: Prepared, number: int = 5000) -> Tensor:
    """Training images of all classes, normalised: (N, C, H, W) float32 on the CPU."""
    found: list[Tensor] = []
    for batch in prepared.loaders["train"].epoch(0):  # shuffled
        found.append(normalise_batch(to_unit(batch.pixels.cpu()), prepared.spec))
        if sum(map(len, found)) >= number:
            break
    return torch.cat(found)[:number]


def _cache(model: nn.Module, chosen: Settings, prepared: Prepared, console: Console) -> Mapping[str, Loader]:
    cached = cache_features(
        model.get_submodule("features"),
        prepared.loaders,
        prepared.spec,
        chosen.augment,
        variants=chosen.transfer.variants,
        seed=chosen.seed,
        batch_size=chosen.training.batch_size,
    )
    plain_s = cached.plain_epoch_s * chosen.training.epochs
    console.print(
        f"- features of the frozen backbone computed once, {cached.seconds_s:.1f} s; at this speed the plain loop "
        f"would spend {plain_s:.0f} s on them in {chosen.training.epochs} epochs",
        highlight=False,
        soft_wrap=True,
    )
    return cached.loaders


def _teacher(chosen: Settings, prepared: Prepared, where: torch.device) -> Teacher | None:
    wanted = chosen.distillation
    if not wanted.teacher:
        return None
    return load_teacher(
        wanted.teacher,
        prepared.images.classes,
        prepared.spec,
        temperature=wanted.temperature,
        weight=wanted.weight,
        device=where,
    )


def make_manifest(chosen: Settings, prepared: Prepared, architecture: Architecture) -> Manifest:
    """What the model file will say of itself."""
    provenance = Provenance(
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        catseye=version("catseye"),
        torch=torch.__version__,
        data_name=Path(prepared.images.source).name,
        data_sha256=prepared.data_sha256,
        settings_sha256=sha256(to_toml(chosen).encode()).hexdigest(),
        seed=chosen.seed,
    )
    return Manifest(
        classes=prepared.images.classes,
        preprocessing=prepared.spec,
        architecture=architecture,
        provenance=provenance,
    )


def data_manifest(prepared: Prepared, folder: Path | None) -> dict[str, Any]:
    """data.json: the source, and name and class of every image on each side."""
    images = prepared.images
    names: dict[str, dict[str, str]] = {side: {} for side in SPLIT_LABELS}
    for name, label, side in zip(images.names, images.labels, prepared.splits, strict=True):
        if side >= 0:
            names[SPLIT_LABELS[side]][name] = images.classes[label]
    return {
        "source": images.source,
        "data_dir": str(folder.resolve()) if folder else None,
        "sha256": prepared.data_sha256,
        "classes": list(images.classes),
        "splits": names,
        "quarantined": list(prepared.quarantined.values()),
        "content": prepared.content,
        "near_copies": prepared.near_copies,
        "notes": prepared.notes,
        "check": [{"rule": f.rule, "severity": f.severity, "count": f.count} for f in prepared.verdict.findings],
    }
