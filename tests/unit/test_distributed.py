"""What can be said of the processes without starting any."""

import signal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from catseye.data.augment import RowGenerator, augment_batch
from catseye.data.loaders import Share, StreamLoader, epoch_order
from catseye.data.mixing import cutmix, mixup
from catseye.data.sources import open_source
from catseye.errors import CatseyeError, DataError, UsageError
from catseye.preprocess import Preprocessing
from catseye.settings.merge import load_settings
from catseye.settings.schema import AugmentSettings, Settings
from catseye.training.distributed import ALONE, Processes, check_sizes, join, leaves_the_group
from catseye.training.launch import without_launch_options
from catseye.training.losses import Criterion
from catseye.training.signals import StopRequest
from catseye.training.sync_batch_norm import synchronise
from tests.conftest import deliver

SPEC = Preprocessing(height_px=8, width_px=8, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)


@given(st.integers(1, 300), st.integers(1, 9), st.integers(1, 64))
def test_the_shares_of_a_batch_are_the_batch(num_images, world_size, batch_size):
    for batch in epoch_order(np.arange(num_images), batch_size, shuffle=True, seed=0, epoch=0):
        parts = [Share(rank, world_size).cut(batch) for rank in range(world_size)]
        if len(batch) < 2 * world_size:
            assert all(first == 0 and part.tolist() == batch.tolist() for part, first in parts)
            continue
        np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), batch)
        for part, first in parts:
            assert len(part) >= 2
            np.testing.assert_array_equal(batch[first : first + len(part)], part)
        sizes = {len(part) for part, _ in parts}
        assert max(sizes) - min(sizes) <= 1


@given(st.integers(0, 400), st.integers(1, 9))
def test_no_validation_image_is_doubled_or_dropped(num_images, world_size):
    loader = StreamLoader(None, SPEC, np.arange(num_images), 16, 0, torch.device("cpu"))
    parts = [Processes(rank, world_size).part(loader).indices for rank in range(world_size)]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(num_images))


EVERYTHING = AugmentSettings(
    hflip=0.5, rotate_deg=20, crop_padding_px=2, brightness=0.3, contrast=0.3, saturation=0.3, noise_std=0.1, erase=0.7
)


@pytest.mark.parametrize("name", ["hflip", "rotate_deg", "crop_padding_px", "brightness", "noise_std", "erase", "all"])
def test_every_process_draws_what_one_would(name):
    settings = EVERYTHING if name == "all" else AugmentSettings(**{name: getattr(EVERYTHING, name)})
    pixels = torch.randint(256, (11, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = augment_batch(pixels, settings, SPEC, torch.Generator().manual_seed(7))
    for first, stop in ((0, 6), (6, 11)):
        generator = RowGenerator()
        generator.manual_seed(7)
        generator.first, generator.total = first, 11
        part = augment_batch(pixels[first:stop], settings, SPEC, generator)
        torch.testing.assert_close(part, whole[first:stop], atol=1e-6, rtol=0)


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_two_processes_mix_with_different_shares(mix):
    x, targets = torch.rand(4, 3, 8, 8), torch.eye(4)
    found = []
    for first in (0, 4):
        generator = RowGenerator()
        generator.manual_seed(7)
        generator.first, generator.total = first, 8
        found.append(mix(x, targets, 1.0, generator)[1])
    assert not torch.equal(*found)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.0, 4.0])])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_mean_of_a_batch_is_that_of_its_parts_by_mass(weights, smoothing):
    criterion = Criterion(weights, smoothing)
    logits, labels = torch.randn(12, 3), torch.randint(3, (12,))
    for targets in (labels, torch.rand(12, 3).softmax(1)):
        whole = criterion(logits, targets)
        pieces = zip(logits.split([3, 4, 5]), targets.split([3, 4, 5]), strict=True)
        by_mass = sum(criterion(mine, wanted) * criterion.mass(wanted) for mine, wanted in pieces)
        torch.testing.assert_close(by_mass / criterion.mass(targets), whole)


def stream(root, share, batch_size):
    images = open_source(root)
    return StreamLoader(
        images, SPEC, np.arange(len(images)), batch_size, 0, torch.device("cpu"), shuffle=True, seed=3, shared=share
    )


def test_processes_keep_in_step_where_images_cannot_be_read(images):
    root = images({"cat": 7, "dog": 7})
    for name in ("cat", "dog"):
        next(iter(sorted((root / name).iterdir()))).write_bytes(b"no image")
    loaders = [stream(root, Share(rank, 2), 7) for rank in (0, 1)]
    for batches in zip(*(loader.epoch(0) for loader in loaders), strict=True):
        assert [len(batch.labels) for batch in batches] == [4, 3]
        assert {batch.num_images for batch in batches} == {7}
        for loader, batch in zip(loaders, batches, strict=True):
            assert not set(batch.indices.tolist()) & loader.bad.keys()
    assert sum(len(loader.bad) for loader in loaders) == 2


def test_a_share_without_a_readable_image_is_told(images):
    root = images({"cat": 4, "dog": 4})
    for path in [*(root / "cat").iterdir(), *(root / "dog").iterdir()]:
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="all 4 images of one process's share"):
        next(stream(root, Share(0, 2), 8).epoch(0))


def test_a_batch_has_two_images_for_every_part():
    chosen = load_settings("quick", values={"training.batch_size": 15, "training.accumulate_steps": 2})
    check_sizes(chosen, Processes(0, 3))
    with pytest.raises(UsageError, match=r"got 15; use --set training\.batch_size=16"):
        check_sizes(chosen, Processes(0, 4))
    check_sizes(Settings(training={"batch_size": 1}), ALONE)


def test_without_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join("cpu")[0] is ALONE
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert join("cpu")[0] is ALONE


def test_what_several_processes_cannot_have_is_refused_before_they_meet(monkeypatch):
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="got --device cuda:1"):
        join("cuda:1")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "2")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    with pytest.raises(UsageError, match="TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"):
        join("cpu")


def test_another_process_says_who_it_is_and_waits_for_the_first(monkeypatch):
    waited = []
    monkeypatch.setattr("catseye.training.distributed.time.sleep", waited.append)

    @leaves_the_group
    def fail(error):
        raise error

    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(CatseyeError) as caught:
            fail(DataError("no images"))
        assert str(caught.value) == {"0": "no images", "1": "process 1 of 2: no images"}[rank]
        assert len(waited) == int(rank)
    with pytest.raises(CatseyeError, match="lost the connection to another one"):
        fail(RuntimeError("[pair.cc:538] Connection closed by peer [127.0.0.1]:1"))
    with pytest.raises(RuntimeError, match="a fault of ours"):
        fail(RuntimeError("a fault of ours"))


def test_a_signal_to_one_process_is_answered_by_all():
    with StopRequest(lambda mine: max(mine, signal.SIGTERM)) as stop:
        assert stop.received is None
        assert stop.agree() == signal.SIGTERM
        assert stop.agreed == signal.SIGTERM
    with StopRequest() as stop:
        assert stop.agree() is None
        deliver(signal.SIGINT)
        assert stop.agreed is None  # not before all have been asked
        assert stop.agree() == signal.SIGINT


def test_batch_norms_that_cannot_be_synchronised_are_refused():
    with pytest.raises(UsageError, match="no batch norm"):
        synchronise(nn.Sequential(nn.Conv2d(3, 4, 3)))
    with pytest.raises(UsageError, match="has BatchNorm1d"):
        synchronise(nn.Sequential(nn.BatchNorm1d(3)))
    frozen = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    frozen[0].requires_grad_(False)
    synchronise(frozen)
    assert [type(part).__name__ for part in frozen] == ["BatchNorm2d", "SynchronisedBatchNorm2d"]


def test_the_processes_get_the_command_without_the_launch():
    words = ["train", "d", "--nproc=4", "--set", "training.lr=1", "--max-restarts", "3", "-e", "2"]
    assert without_launch_options(words) == ["train", "d", "--set", "training.lr=1", "-e", "2"]
