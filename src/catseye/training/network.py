"""The network of a run: fresh or with published weights, frozen or not.

Enters: a `RunSession`. Leaves: `RunNetwork`, with the loaders that feed it and its parameter groups. Called by
assemble.py. The strategy of transfer learning is chosen in transfer.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from catseye.data.augment import normalise_batch, to_unit
from catseye.data.loaders import Loader
from catseye.data.prepare import Prepared
from catseye.errors import UsageError
from catseye.machine.memory import free_memory_bytes, num_parts_within, step_budget_bytes
from catseye.manifest import Architecture
from catseye.models import registry
from catseye.models.footprint import measure_footprint
from catseye.models.pretrained import Published
from catseye.training.cached_features import cache_features, restore
from catseye.training.kept_features import features_key, find_features
from catseye.training.optimizers import ParameterGroup, plain_groups
from catseye.training.session import RunSession
from catseye.training.sync_batch_norm import synchronise
from catseye.training.transfer import TransferPlan, build_pretrained, pretrained_options, transfer_groups

SURELY_FITS = 2**19  # pixels of a batch, 128 images of 64 px: small compared with the program itself
FIRST_LOOK = 5_000  # images of 32 px shown to a network that is initialised from data; fewer if they are larger


@dataclass(frozen=True)
class RunNetwork:
    """The network that is trained.

    After a frozen backbone was run once, `model` is the head alone and `frozen` the rest.
    """

    model: nn.Module
    groups: Sequence[ParameterGroup]
    loaders: Mapping[str, Loader]
    architecture: Architecture
    plan: TransferPlan | None = None
    frozen: dict[str, Tensor] = field(default_factory=dict)
    features_key: str = ""  # digest of what cached features depend on
    num_parts: int = 1  # parts in which a batch is computed, to stay within the memory allowed


def build_network(session: RunSession) -> RunNetwork:
    """The same seed gives the same weights."""
    torch.manual_seed(session.settings.seed)
    built = _fresh(session) if session.published is None else _pretrained(session, session.published)
    if session.settings.training.sync_batch_norm and session.place.processes.world_size > 1:
        synchronise(built.model)
    return replace(built, num_parts=parts_for_memory(session, built))


def _fresh(session: RunSession) -> RunNetwork:
    settings, prepared = session.settings, session.prepared
    options = settings.model.model_dump(exclude_none=True, exclude={"name"})
    spec, num_classes = prepared.spec, len(prepared.images.classes)
    model = registry.create(
        settings.model.name,
        num_classes=num_classes,
        in_channels=spec.channels,
        input_px=(spec.height_px, spec.width_px),
        **options,
    )
    begin = getattr(model, "initialise", None)
    if begin is not None:
        begin(_first_images(prepared))
    model = model.to(session.place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups = plain_groups(model, settings.training)
    return RunNetwork(model, groups, session.loaders, Architecture(name=settings.model.name, options=options))


def _pretrained(session: RunSession, published: Published) -> RunNetwork:
    settings, say = session.settings, session.place.say
    model, plan = build_pretrained(settings, session.prepared, published, session.place.device, head=session.head)
    options: dict[str, Any] = {**pretrained_options(settings), "head": session.head}
    architecture = Architecture(name=settings.model.name, options=options)
    say(f"- strategy {plan.strategy}: {plan.reason}")
    groups = transfer_groups(model, settings, session.loaders["train"].num_batches)
    if plan.strategy != "feature-extraction":
        return RunNetwork(model, groups, session.loaders, architecture, plan)
    if session.own.augment:
        raise UsageError("augment= needs images in every epoch, feature extraction has none; use strategy='fine-tune'")
    if settings.distillation.teacher:
        raise UsageError("distillation.teacher needs images, feature extraction has none; use --strategy fine-tune")
    loaders = _cache(model, session)
    frozen = {f"features.{name}": value for name, value in model.get_submodule("features").state_dict().items()}
    key = _features_key(session)
    return RunNetwork(model.get_submodule("head"), groups, loaders, architecture, plan, frozen, key)


def _first_images(prepared: Prepared) -> Tensor:
    """Training images of all classes, normalised: (N, C, H, W) float32 on the CPU."""
    number = max(1, FIRST_LOOK * min(32**2, area := prepared.spec.height_px * prepared.spec.width_px) // area)
    images: list[Tensor] = []
    for batch in prepared.loaders["train"].epoch(0):  # shuffled
        images.append(normalise_batch(to_unit(batch.pixels.cpu()), prepared.spec))
        if sum(map(len, images)) >= number:
            break
    return torch.cat(images)[:number]


def _features_key(session: RunSession) -> str:
    settings, prepared = session.settings, session.prepared
    return features_key(
        network=settings.model.model_dump(),
        weights=session.published.source if session.published else "",
        spec=prepared.spec.model_dump(),
        augment=settings.augment.model_dump(),
        variants=settings.transfer.variants,
        seed=settings.seed,
        data=prepared.data_sha256,
        sides=sha256(prepared.splits.tobytes()).hexdigest(),
    )


def _cache(model: nn.Module, session: RunSession) -> Mapping[str, Loader]:
    settings, processes = session.settings, session.place.processes
    loaders = session.prepared.loaders
    before = find_features(session.features_file, _features_key(session)) if session.features_file else None
    if before is not None:
        session.place.say("- features of the frozen backbone: restored from the run folder")
        batch_size, device = settings.training.batch_size, session.place.device
        again = restore(before, loaders, batch_size=batch_size, seed=settings.seed, device=device)
        return {**again, "train": again["train"].share(processes.rank, processes.world_size)}
    cached = cache_features(
        model.get_submodule("features"),
        session.prepared.loaders,
        session.prepared.spec,
        settings.augment,
        variants=settings.transfer.variants,
        seed=settings.seed,
        batch_size=settings.training.batch_size,
    )
    plain_s = cached.plain_epoch_s * settings.training.epochs
    session.place.say(
        f"- features of the frozen backbone computed once in {cached.seconds_s:.1f} s; computing them in each of "
        f"{settings.training.epochs} epochs would take {plain_s:.0f} s"
    )
    train = cached.loaders["train"].share(processes.rank, processes.world_size)
    return {**cached.loaders, "train": train}


def parts_for_memory(session: RunSession, network: RunNetwork) -> int:
    """The number of parts of a batch that keeps a run on a CPU in its memory."""
    training, spec, place = session.settings.training, session.prepared.spec, session.place
    batch_size = min(training.batch_size, len(network.loaders["train"].indices))
    per_process = max(1, batch_size // place.processes.world_size)
    if place.device.type != "cpu" or network.frozen or per_process * spec.height_px * spec.width_px <= SURELY_FITS:
        return 1
    needs = measure_footprint(network.model, spec.channels, spec.height_px, spec.width_px)
    run_bytes, free = int(training.memory_gb * 1e9), free_memory_bytes() // place.processes.per_node
    room = step_budget_bytes(run_bytes, needs.state_bytes, free)
    num_parts = num_parts_within(room, per_process, needs.training_bytes)
    if num_parts > training.accumulate_steps:
        place.say(
            f"- a batch of {per_process} is computed in {num_parts} parts: at {needs.training_bytes / 1e6:,.0f} MB an "
            f"image it would, with the stored images, exceed the {training.memory_gb:g} GB of training.memory_gb; the "
            "updates are the same, batch-norm statistics are those of a part"
        )
    return num_parts
