"""The objects that training works with, built from a session; nothing is trained here.

Enters: a `RunSession`. Leaves: `Assembled`. Called by fit.py, lr_find.py and timeline.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from catseye.data.loaders import Loader
from catseye.machine.devices import choose_precision
from catseye.machine.memory import free_memory_bytes, num_parts_within, step_budget_bytes
from catseye.models.footprint import measure_footprint
from catseye.training.distillation import Teacher, load_teacher
from catseye.training.distributed import parallel
from catseye.training.ema import EMA
from catseye.training.losses import make_criterion
from catseye.training.network import RunNetwork, build_network
from catseye.training.optimizers import make_optimizer
from catseye.training.schedules import make_schedule
from catseye.training.session import RunSession
from catseye.training.step import TrainState

SURELY_FITS = 2**19  # pixels of a batch, 128 images of 64 px: less than every network's program takes


@dataclass(frozen=True)
class Assembled:
    """What `fit` works with. The loaders give features instead of images where a frozen backbone was run once."""

    state: TrainState
    network: RunNetwork

    @property
    def loaders(self) -> Mapping[str, Loader]:
        """One loader per split; the training one gives this process's part of every batch."""
        return self.network.loaders


def assemble(session: RunSession) -> Assembled:
    """Network, optimizer, schedule, loss and average of a run; the same seed gives the same weights."""
    chosen, prepared, place = session.settings, session.prepared, session.place
    training = chosen.training
    network = build_network(session)
    model, steps = network.model, network.loaders["train"].num_batches
    state = TrainState(
        model=model,
        optimizer=make_optimizer(network.groups, training),
        groups=network.groups,
        schedule=make_schedule(training, steps),
        criterion=make_criterion(training, prepared.class_counts, place.device),
        augment=chosen.augment,
        spec=prepared.spec,
        num_classes=len(prepared.images.classes),
        seed=chosen.seed,
        clip_norm=training.clip_norm,
        small_px=training.small_px,
        small_until=round(training.small_share * training.epochs * steps) if training.small_px else 0,
        precision=choose_precision(training.precision, place.device),
        ema=EMA(model, training.ema_decay) if training.ema_decay else None,
        teacher=_teacher(session),
        frozen_state=network.frozen,
        num_parts=max(training.accumulate_steps, _parts_for_memory(session, network)),
        processes=place.processes,
        parallel=parallel(model, place.processes),
    )
    return Assembled(state, network)


def _parts_for_memory(session: RunSession, network: RunNetwork) -> int:
    """Into how many parts a batch is cut so that a run on a CPU stays within its memory."""
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
            f"image it would leave the {training.memory_gb:g} GB that training.memory_gb allows beside the images; the "
            "updates are the same, batch-norm statistics are those of a part"
        )
    return num_parts


def _teacher(session: RunSession) -> Teacher | None:
    wanted, prepared = session.settings.distillation, session.prepared
    if not wanted.teacher:
        return None
    return load_teacher(
        wanted.teacher,
        prepared.images.classes,
        prepared.spec,
        temperature=wanted.temperature,
        weight=wanted.weight,
        device=session.place.device,
    )
