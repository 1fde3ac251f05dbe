"""Numbers that are none, memory that is short, and the same seed twice."""

import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from catseye.data.loaders import Batch
from catseye.errors import TrainingError
from catseye.machine.devices import is_out_of_memory
from catseye.models import registry
from catseye.preprocess import Preprocessing
from catseye.runs import load_model
from catseye.settings.schema import AugmentSettings
from catseye.training import distributed, step
from catseye.training.checkpoints import Checkpoints, TrainingPosition
from catseye.training.losses import Criterion
from catseye.training.signals import StopRequest
from catseye.training.step import TrainState, train_step
from tests.faults.conftest import STEPS, assert_same_weights, in_child, train

CPU = torch.device("cpu")


def poison(patch, first):
    """From step `first` on the images hold an infinity, as a broken augmentation or sensor would give."""
    real = step.mix_batch
    count = {"step": 0}

    def mix_batch(x, *rest):
        if count["step"] >= first:
            x = x.clone()
            x[0, 0, 0, 0] = float("inf")
        count["step"] += 1
        return real(x, *rest)

    patch.setattr(step, "mix_batch", mix_batch)


def test_a_step_that_is_nan_stops_with_the_last_good_state_saved(tinted, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        poison(patch, STEPS + 1)
        with pytest.raises(TrainingError, match=f"became nan at step {STEPS + 1}") as caught:
            train(tinted, tmp_path / "run")
    said = str(caught.value)
    for part in ("learning rate", "training.clip_norm=1", f"--resume {tmp_path / 'run'}", "weights of epoch 1 are in"):
        assert part in said
    load_model(tmp_path / "run", CPU)  # finite, and of use
    # Not one value of the failed step is in what was saved: without the poison the run ends as if it had never been.
    _, said = train(None, None, resume=tmp_path / "run")
    assert f"batch {1 + 1}" in said
    assert_same_weights(tmp_path / "run", whole)


@pytest.mark.parametrize("name", ["simple", "lenet5"])
def test_a_real_divergence_ends_in_words(name, tinted, tmp_path):
    settings = {
        "model.name": name, "training.optimizer": "sgd", "training.lr": 100.0, "training.schedule": "constant",
        "training.epochs": 9, "training.ema_decay": 0.0,
    }  # fmt: skip
    try:
        run, _ = train(tinted, tmp_path / "run", settings)
        path = run.path  # batch normalisation may hold it
    except TrainingError as error:
        assert "smaller training.lr" in str(error)  # noqa: PT017
        path = tmp_path / "run"
    for file in path.glob("*.safetensors"):
        assert all(np.isfinite(value).all() for value in load_file(file).values() if value.dtype.kind == "f"), file


def test_an_epoch_whose_answers_are_nan_is_never_the_best(tinted, tmp_path, monkeypatch):
    real = distributed.collect_logits
    count = {"calls": 0}

    def collect_logits(*values, **more):
        outputs = real(*values, **more)
        if count["calls"] == 0:
            outputs.logits[0, 0] = float("nan")
        count["calls"] += 1
        return outputs

    monkeypatch.setattr(distributed, "collect_logits", collect_logits)
    run, said = train(tinted, tmp_path / "run")
    assert run.metrics["best_epoch"] == 2
    assert "NaN" not in (run.path / "history.jsonl").read_text()
    assert run.history[0]["val_loss"] is None
    assert "nan" in said


def test_weights_that_are_nan_are_not_saved(tinted, tmp_path):
    run, _ = train(tinted, tmp_path / "run", {"training.epochs": 1})
    trainer = lenet()
    Checkpoints(run, trainer, StopRequest(), 300).save(TrainingPosition())
    before = run.checkpoints[0].read_bytes()
    next(iter(trainer.model.parameters())).data[0] = float("nan")
    with pytest.raises(TrainingError, match="contain NaN or infinity"):
        Checkpoints(run, trainer, StopRequest(), 300).save(TrainingPosition())
    assert run.checkpoints[0].read_bytes() == before


# Memory


def lenet(num_parts=1, name="lenet5", channels=1):
    torch.manual_seed(0)
    model = registry.create(name, num_classes=3, in_channels=channels, input_px=32).train()
    spec = Preprocessing(height_px=32, width_px=32, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels)
    return TrainState(
        model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9), lambda _: (0.1, 0.9),
        Criterion(), AugmentSettings(mixup_alpha=0.5), spec, 3, 0, clip_norm=1.0,
        num_parts=num_parts,
    )  # fmt: skip


def batch(count, channels=1, side=32):
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8)
    return Batch(pixels, torch.randint(0, 3, (count,), generator=generator), torch.arange(count))


@pytest.mark.parametrize("num_parts", [2, 4, 16])
@pytest.mark.parametrize("count", [7, 16])
def test_parts_give_the_update_of_the_whole_batch(num_parts, count):
    whole, parts = lenet(), lenet(num_parts)
    for _ in range(3):
        one, other = train_step(whole, batch(count)), train_step(parts, batch(count))
        torch.testing.assert_close(one.loss, other.loss)
        assert int(one.num_correct) == int(other.num_correct)
        assert one.num_images == other.num_images == count
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], value, msg=name)


def steps_with_little_memory(room_mb: int) -> tuple[list[int], list[float], list[float]]:
    """Steps under a real limit of the address space: parts used, their losses, and those of an unlimited network."""
    sizes = batch(256, 3)
    train_step(lenet(name="simple", channels=3), batch(4, 3))  # libraries and threads are there, no memory in reserve
    limited = lenet(name="simple", channels=3)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (room_mb << 20), resource.RLIM_INFINITY))
    parts, losses = [], []
    for _ in range(3):
        losses.append(float(train_step(limited, sizes).loss))
        parts.append(limited.num_parts)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    free = lenet(name="simple", channels=3)
    unlimited = [float(train_step(free, sizes).loss) for _ in range(3)]
    return parts, losses, unlimited


def test_short_memory_halves_the_batch():
    parts, losses, unlimited = in_child(steps_with_little_memory, 120)
    assert parts[0] in (2, 4, 8, 16, 32, 64, 128)
    assert parts == sorted(parts), "what was found is kept"
    # Batch normalisation sees parts, so the losses are near each other, not equal.
    assert losses == pytest.approx(unlimited, rel=0.2)


def test_no_memory_at_all_is_said(monkeypatch):
    trainer = lenet(name="simple")
    weights = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.criterion = NoMemory()
    with pytest.raises(TrainingError, match="out of memory even with 2 images at a time") as caught:
        train_step(trainer, batch(16))
    assert "batch_size" in str(caught.value)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, weights[name])


class NoMemory(Criterion):
    """A real failure of the allocator, not an imitation of its words."""

    def __call__(self, logits, targets):
        return torch.empty(1 << 60)


@pytest.mark.parametrize("make", [lambda: torch.empty(1 << 60), lambda: bytearray(1 << 62), lambda: np.empty(1 << 50)])
def test_real_failures_are_recognised(make):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        make()
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))


def test_parts_are_recorded_and_kept_by_a_resumed_run(tinted, tmp_path, monkeypatch):
    """The first attempt at step 2 finds no memory, as where another program takes it."""
    real = step.training_outputs
    count = {"calls": 0}

    def training_outputs(model, x):
        count["calls"] += 1
        if count["calls"] == 3:
            torch.empty(1 << 60)
        return real(model, x)

    monkeypatch.setattr(step, "training_outputs", training_outputs)
    run, said = train(tinted, tmp_path / "run")
    assert "out of memory at step 3: from here on a batch of 8 is computed in 2 parts" in said
    assert [row["num_parts"] for row in run.history] == [2, 2]
    assert '"num_parts": 2' in (run.path / "environment.json").read_text()


@pytest.mark.gpu
def test_short_memory_of_a_gpu_halves_the_batch():
    device = torch.device("cuda")
    trainer = lenet(name="simple", channels=3)
    trainer.model.to(device)
    big = batch(4096, 3, 32)
    big = Batch(big.pixels.to(device), big.labels.to(device), big.indices)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(300e6 / total)
    try:
        losses = [float(train_step(trainer, big).loss) for _ in range(3)]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert trainer.num_parts > 1
    assert np.isfinite(losses).all()


# Seeds


def test_the_same_seed_twice_gives_identical_weights(tinted, whole, tmp_path):
    run, _ = train(tinted, tmp_path / "run")
    assert_same_weights(run.path, whole)
