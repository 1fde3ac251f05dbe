"""Children that share one import of torch, small file systems of their own, and faults that strike at a chosen place.

Every child is forked from a server that has torch loaded already (tests/forked.py), so a fault in a process of its own
costs a tenth of a second instead of three.
"""

import ctypes
import io
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

import catseye
from tests.conftest import write_tinted
from tests.forked import FORKS

SETTINGS = {
    "model.name": "lenet5", "training.epochs": 2, "training.batch_size": 8, "training.optimizer": "adamw",
    "training.lr": 0.003, "training.ema_decay": 0.9, "data.test_fraction": 0.2, "data.val_fraction": 0.2,
    "augment.rotate_deg": 10.0, "augment.brightness": 0.2, "augment.mixup_alpha": 0.2, "augment.cutmix_alpha": 1.0,
}  # fmt: skip
STREAMED = {"augment.crop_scale": 0.6, "data.workers": 0}
STEPS = 4  # batches in an epoch of the tinted images


@pytest.fixture(scope="session")
def tinted(tmp_path_factory):
    """48 images in three classes; 30 of them train."""
    return write_tinted(tmp_path_factory.mktemp("data") / "tinted", 16)


def train(data, out, settings=None, **more):
    """Train on two short epochs, in this process; returns the run and what was said."""
    said = io.StringIO()
    console = Console(file=said, width=10_000)
    if more.get("resume"):
        run = catseye.train(device="cpu", console=console, **more).run
    else:
        run = catseye.train(data, out=out, device="cpu", settings=SETTINGS | (settings or {}), console=console).run
    return run, said.getvalue()


def words(data, out, settings=None):
    """The same as a command line."""
    options = [("--set", f"{key}={value}") for key, value in (SETTINGS | (settings or {})).items()]
    return ["train", str(data), "--out", str(out), "--device", "cpu", *(word for pair in options for word in pair)]


def assert_same_weights(one, other):
    mine, theirs = (load_file(Path(path) / "model.safetensors") for path in (one, other))
    assert set(mine) == set(theirs)
    for name, value in theirs.items():
        np.testing.assert_array_equal(mine[name], value, err_msg=name)


@pytest.fixture(scope="session")
def whole(tinted, tmp_path_factory):
    """The undisturbed run, from memory."""
    return train(tinted, tmp_path_factory.mktemp("whole") / "run")[0].path


@pytest.fixture(scope="session")
def whole_streamed(tinted, tmp_path_factory):
    """The undisturbed run, from files, with random crops."""
    return train(tinted, tmp_path_factory.mktemp("whole") / "run", STREAMED)[0].path


# Children


class Child:
    """A process that runs the real command line, perhaps with a fault prepared in it."""

    def __init__(self, log: Path, line, prepare=None, arguments=()):
        self.log = log
        self.process = FORKS.Process(target=_command, args=(str(log), list(map(str, line)), prepare, arguments))
        self.process.start()

    @property
    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def wait(self, timeout_s=120) -> int:
        self.process.join(timeout_s)
        assert self.process.exitcode is not None, f"still running after {timeout_s} s:\n{self.said}"
        return self.process.exitcode

    def wait_for(self, path: Path) -> None:
        for _ in range(6000):
            if path.exists():
                return
            assert self.process.exitcode is None, self.said
            time.sleep(0.01)
        raise AssertionError(f"{path} did not appear")


def _command(log, line, prepare, arguments):
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.setsid()
    os.environ["COLUMNS"] = "10000"
    if prepare is not None:
        prepare(setattr, *arguments)
    from catseye.cli import main

    sys.argv = ["catseye", *line]
    main()


@pytest.fixture
def start(tmp_path):
    """`start(line, prepare, *arguments)` runs `catseye LINE` in its own process group, ended afterwards."""
    children = []

    def make(line, prepare=None, *arguments):
        children.append(Child(tmp_path / f"said-{len(children)}.txt", line, prepare, arguments))
        return children[-1]

    yield make
    for child in children:
        if child.process.exitcode is None:
            os.killpg(child.process.pid, signal.SIGKILL)
            child.process.join()
        child.process.close()


def in_child(function, *arguments, timeout_s=280):
    """The value of `function(*arguments)`, computed in a process of its own."""
    mine, its = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_send, args=(its, function, arguments))
    process.start()
    its.close()
    try:
        assert mine.poll(timeout_s), f"{function.__name__} gave no answer"
        kind, value = mine.recv()
    finally:
        process.join(10)
        if process.exitcode is None:
            process.kill()
            process.join()
    if kind == "skip":
        pytest.skip(value)
    assert kind == "value", value
    return value


def _send(pipe, function, arguments):
    try:
        pipe.send(("value", function(*arguments)))
    except NotPossible as error:
        pipe.send(("skip", str(error)))
    except BaseException:  # noqa: BLE001 - told to the parent
        pipe.send(("error", traceback.format_exc()))


class NotPossible(Exception):
    """This machine does not allow what the test needs."""


def small_disk(folder: Path, size: str) -> None:
    """Mount an empty file system of this size over `folder`, for this process and its children alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_mounts, new_user = 0x20000, 0x10000000
    if sys.platform != "linux":
        raise NotPossible("small file systems are mounted as Linux does it")
    identity = os.getuid(), os.getgid()
    if libc.unshare(new_mounts) and libc.unshare(new_mounts | new_user):
        raise NotPossible(f"no mounts of one's own here ({os.strerror(ctypes.get_errno())})")
    if os.getuid() != identity[0]:  # inside a user namespace, where we become its root
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {identity[0]} 1")
        Path("/proc/self/gid_map").write_text(f"0 {identity[1]} 1")
    private_and_below = 0x4000 | 0x40000
    libc.mount(b"none", b"/", None, private_and_below, None)
    if libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode()):
        raise NotPossible(f"no file system can be mounted here ({os.strerror(ctypes.get_errno())})")


def enlarge_disk(folder: Path, size: str) -> None:
    """Give the small file system more room."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0x20, f"size={size}".encode()):
        raise NotPossible(f"it cannot be mounted again ({os.strerror(ctypes.get_errno())})")


# Faults. Each takes what sets an attribute (`setattr` in a child, `monkeypatch.setattr` here) and a place.


def at_step(put, step, act, *arguments):
    """Do `act` in mid-batch: step `step` of the run has begun and is not done."""
    from catseye.training import fit
    from catseye.training import step as module

    real = module.augment_batch

    def augment_batch(*values, **more):
        if counter["step"] == step:
            act(*arguments)
        counter["step"] += 1
        return real(*values, **more)

    counter = {"step": 0}
    put(module, "augment_batch", augment_batch)
    assert fit.train_step is module.train_step


def in_validation(put, number, act, *arguments):
    """Do `act` after the first batch of validation `number` (0, 1, ...)."""
    from catseye.training import distributed

    real = distributed.collect_logits
    counter = {"calls": 0}

    def collect_logits(*values, after_batch, **more):
        if counter["calls"] == number:
            act(*arguments)
        counter["calls"] += 1
        return real(*values, after_batch=after_batch, **more)

    put(distributed, "collect_logits", collect_logits)


def in_save(put, number, act, *arguments):
    """Do `act` while checkpoint `number` (0, 1, ...) is being written: its bytes are there, not yet synced."""
    from catseye import files

    real = os.fsync
    counter = {"calls": 0}

    def fsync(descriptor):
        name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if ".checkpoint.safetensors." in name:
            if counter["calls"] == number:
                act(*arguments)
            counter["calls"] += 1
        real(descriptor)

    put(files.os, "fsync", fsync)


def send(*numbers):
    """Send these signals to this process."""
    for number in numbers:
        os.kill(os.getpid(), number)


def send_group(number):
    """Send a signal to this process and all its workers, as a terminal or a service manager does."""
    os.killpg(os.getpgrp(), number)
