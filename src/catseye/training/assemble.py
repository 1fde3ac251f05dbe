"""The objects that training works with, built from a session.

Enters: a `RunSession`. Leaves: `Assembled`. Called by train.py, lr_find.py and timeline.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from catseye.data.loaders import Loader
from catseye.machine.devices import choose_precision
from catseye.training.distillation import Teacher, load_teacher
from catseye.training.distributed import parallel
from catseye.training.ema import EMA
from catseye.training.losses import make_criterion
from catseye.training.network import RunNetwork, build_network
from catseye.training.optimizers import make_optimizer
from catseye.training.schedules import make_schedule
from catseye.training.session import RunSession
from catseye.training.step import TrainState


@dataclass(frozen=True)
class Assembled:
    """The objects that `fit` works with.

    If a frozen backbone was run once, the loaders give features instead of images.
    """

    state: TrainState
    network: RunNetwork

    @property
    def loaders(self) -> Mapping[str, Loader]:
        """One loader per split; that of training gives this process's part of a batch."""
        return self.network.loaders


def assemble(session: RunSession) -> Assembled:
    """Network, optimizer, schedule, loss and average of a run.

    The same seed gives the same weights.
    """
    settings, prepared, place = session.settings, session.prepared, session.place
    training = settings.training
    network = build_network(session)
    model, steps = network.model, network.loaders["train"].num_batches
    if training.compile:
        model.compile()
    state = TrainState(
        model=model,
        optimizer=make_optimizer(network.groups, training),
        groups=network.groups,
        schedule=make_schedule(training, steps),
        criterion=make_criterion(training, prepared.class_counts, place.device, session.own.loss),
        augment=settings.augment,
        spec=prepared.spec,
        num_classes=len(prepared.images.classes),
        seed=settings.seed,
        clip_norm=training.clip_norm,
        small_px=training.small_px,
        small_until=round(training.small_share * training.epochs * steps) if training.small_px else 0,
        precision=choose_precision(training.precision, place.device),
        ema=EMA(model, training.ema_decay) if training.ema_decay else None,
        teacher=_teacher(session),
        frozen_state=network.frozen,
        num_parts=max(training.accumulate_steps, network.num_parts),
        processes=place.processes,
        parallel=parallel(model, place.processes),
        own_augment=session.own.augment,
    )
    return Assembled(state, network)


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
