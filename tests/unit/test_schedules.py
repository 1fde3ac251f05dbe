import itertools
import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, StepLR

from catseye.errors import UsageError
from catseye.settings.merge import load_settings
from catseye.settings.schema import TrainingSettings
from catseye.training.schedules import make_schedule


def ours(steps_per_epoch: int, **settings: object) -> list[tuple[float, float]]:
    """(rate, momentum) at every step of a run."""
    training = TrainingSettings(**{"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, **settings})
    schedule = make_schedule(training, steps_per_epoch)
    return [schedule(step) for step in range(training.epochs * steps_per_epoch)]


def theirs(make, total: int) -> list[tuple[float, float]]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    scheduler = make(optimizer)
    found = []
    for _ in range(total):
        group = optimizer.param_groups[0]
        found.append((float(group["lr"]), float(group["momentum"])))
        optimizer.step()
        if len(found) < total:
            scheduler.step()
    return found


def close(first, second):
    for a, b in zip(first, second, strict=True):
        assert a == pytest.approx(b, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 2), (3, 1), (1, 4), (2, 5), (10, 1), (10, 39), (50, 7)])
def test_onecycle_is_torchs(epochs, steps):
    total = epochs * steps
    wanted = theirs(
        lambda o: OneCycleLR(o, 0.1, total_steps=total, base_momentum=0.85, max_momentum=0.95, cycle_momentum=True),
        total,
    )
    close(ours(steps, schedule="onecycle", epochs=epochs, cycle_momentum=True), wanted)
    plain = theirs(lambda o: OneCycleLR(o, 0.1, total_steps=total, cycle_momentum=False), total)
    close(ours(steps, schedule="onecycle", epochs=epochs), plain)


def test_onecycle_has_the_articles_shape():
    rates = [rate for rate, _ in ours(100, schedule="onecycle", epochs=10)]
    assert max(rates) == pytest.approx(0.1, rel=1e-4)
    assert rates.index(max(rates)) == pytest.approx(300, abs=1)
    assert rates[0] == pytest.approx(0.004)
    assert rates[-1] == pytest.approx(0.1 / 250_000)


@pytest.mark.parametrize("momentum", [0.0, 0.03, 0.9, 0.97, 0.99])
def test_a_cycled_momentum_is_a_momentum(momentum):
    try:
        training = load_settings("classic", overrides=[f"training.momentum={momentum}"]).training
    except UsageError:
        return  # to refuse it is as good
    schedule = make_schedule(training, 2)
    moments = [schedule(step)[1] for step in range(100)]
    assert min(moments) >= 0
    assert max(moments) < 1


@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (3, 4), (10, 13)])
def test_cosine_is_torchs(epochs, steps):
    total = epochs * steps
    close(ours(steps, schedule="cosine", epochs=epochs), theirs(lambda o: CosineAnnealingLR(o, total), total))


@pytest.mark.parametrize(("epochs", "steps", "warmup"), [(3, 4, 1.0), (10, 13, 2.5), (5, 10, 0.1)])
def test_cosine_with_warm_up_is_torchs_two_schedules(epochs, steps, warmup):
    total, first = epochs * steps, round(warmup * steps)
    found = ours(steps, schedule="cosine", epochs=epochs, warmup_epochs=warmup)
    if first > 1:
        close(found[:first], theirs(lambda o: LinearLR(o, 1 / first, total_iters=first - 1), first))
    close(found[first:], theirs(lambda o: CosineAnnealingLR(o, total - first), total - first))
    for step, (rate, _) in enumerate(found[first:]):
        assert rate == pytest.approx(0.05 * (1 + math.cos(math.pi * step / (total - first))))


def test_a_warm_up_as_long_as_the_run():
    rates = [rate for rate, _ in ours(5, schedule="cosine", epochs=2, warmup_epochs=2)]
    assert rates == pytest.approx([0.01 * (step + 1) for step in range(10)])


@pytest.mark.parametrize(("epochs", "steps", "every", "gamma"), [(7, 3, 2, 0.1), (4, 5, 1, 0.5), (3, 2, 30, 0.1)])
def test_step_is_torchs(epochs, steps, every, gamma):
    total = epochs * steps
    wanted = theirs(lambda o: StepLR(o, every * steps, gamma), total)
    close(ours(steps, schedule="step", epochs=epochs, step_epochs=every, step_gamma=gamma), wanted)


def test_constant():
    assert set(ours(4, schedule="constant", epochs=3)) == {(0.1, 0.9)}


def test_linear_is_a_triangle_that_ends_at_nothing():
    rates = [rate for rate, _ in ours(10, schedule="linear", epochs=4, warmup_epochs=0.5)]
    assert rates[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    falls = [a - b for a, b in itertools.pairwise(rates[5:])]
    assert falls == pytest.approx([0.1 / 35] * len(falls))
    assert rates[-1] == pytest.approx(0.1 / 35)
