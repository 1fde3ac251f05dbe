"""Images that break while a run reads them, and the processes that do: killed, stopped, out of shared memory."""

import ctypes
import hashlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import catseye
from catseye.data import workers
from catseye.data.loaders import StreamLoader
from catseye.data.pool import settle_worker
from catseye.data.sources import open_source
from catseye.errors import DataError, Interrupted, WorkerError
from catseye.runs import Run
from tests.conftest import deliver, write_tinted
from tests.faults.conftest import STREAMED, assert_same_weights, at_step, in_child, send, small_disk, train, words

CPU = torch.device("cpu")
TWO = STREAMED | {"data.workers": 2}


def jpegs(root: Path) -> Path:
    """The tinted images as JPEG files."""
    for path in sorted(write_tinted(root, 16).rglob("*.png")):
        Image.open(path).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    return root


def training_files(run: Path) -> list[str]:
    return sorted(Run(run).data["splits"]["train"])


@pytest.mark.parametrize(("num_workers", "broken"), [(0, "cut"), (2, "cut"), (0, "gone")])
def test_a_image_that_breaks_in_mid_epoch_is_named_counted_and_left_out(num_workers, broken, tmp_path, monkeypatch):
    data, out, after = jpegs(tmp_path / "data"), tmp_path / "run", {}

    def strike():
        name = training_files(out)[3]
        after["name"] = name
        if broken == "gone":
            (data / name).unlink()
        else:
            # Of the same size: nothing but decoding it shows the damage.
            content = b"\xff\xd8 no image ".ljust((data / name).stat().st_size, b"!")
            (data / name).write_bytes(content)
            after["sha256"] = hashlib.sha256(content).hexdigest()

    at_step(monkeypatch.setattr, 1, strike)
    run, said = train(data, out, STREAMED | {"data.workers": num_workers})
    assert "1 image can no longer be read and is left out" in said
    assert after["name"] in said
    assert run.history[-1]["unreadable"] == 1
    if broken == "cut":
        assert hashlib.sha256((data / after["name"]).read_bytes()).hexdigest() == after["sha256"], "it was touched"
    else:
        assert "No such file" in said


def test_strict_stops_there_with_the_run_saved(tmp_path, monkeypatch):
    data, out = jpegs(tmp_path / "data"), tmp_path / "run"
    kept = {}

    def strike():
        kept["name"] = training_files(out)[0]
        kept["bytes"] = (data / kept["name"]).read_bytes()
        (data / kept["name"]).unlink()

    settings = STREAMED | {"data.strict": True}
    whole, _ = train(data, tmp_path / "whole", settings)
    with monkeypatch.context() as patch:
        at_step(patch.setattr, 2, strike)
        with pytest.raises(DataError, match=r"data\.strict") as caught:
            train(data, out, settings)
    assert kept["name"] in str(caught.value)
    assert f"--resume {out}" in str(caught.value)
    with pytest.raises(catseye.CatseyeError, match=f"{kept['name']} is gone"):
        train(None, None, resume=out)
    (data / kept["name"]).write_bytes(kept["bytes"])
    train(None, None, resume=out)
    assert_same_weights(out, whole.path)


def test_a_disk_that_is_gone_stops_the_run(tmp_path, monkeypatch):
    data, out = jpegs(tmp_path / "data"), tmp_path / "run"
    at_step(monkeypatch.setattr, 3, lambda: (data / "green").parent.rename(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match="can be read") as caught:
        train(data, out, STREAMED)
    assert "No such file" in str(caught.value) or "none of" in str(caught.value)
    (tmp_path / "elsewhere").rename(data)
    train(None, None, resume=out)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_batch_that_is_lost_whole_leaves_the_others_in_their_place(num_workers, tmp_path, make_spec):
    """Resume counts places in the epoch, not batches that came: nothing is learnt from twice, nothing left out."""
    data = jpegs(tmp_path / "data")
    source = open_source(data)
    for name in source.names[::4]:
        (data / name).write_bytes(b"no image")
    loader = StreamLoader(source, make_spec(32), np.arange(48), 2, num_workers, CPU, shuffle=True)
    batches = list(loader.epoch(0))
    assert len(batches) < loader.num_batches
    assert [batch.place for batch in batches] != list(range(len(batches)))
    for batch in batches[:: 1 if num_workers == 0 else 9]:
        again = next(iter(loader.epoch(0, start=batch.place)))
        assert again.indices.tolist() == batch.indices.tolist()
        assert again.place == batch.place


def test_a_image_that_is_broken_when_the_run_is_resumed(tinted, tmp_path, monkeypatch):
    """Without it the split would be another one, and held-out images might be learnt from."""
    data, out = jpegs(tmp_path / "data"), tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch.setattr, 5, deliver, signal.SIGINT)
        with pytest.raises(Interrupted):
            train(data, out)
    name = training_files(out)[5]
    (data / name).write_bytes(b"x" * (data / name).stat().st_size)
    with pytest.raises(catseye.CatseyeError, match=f"{name} is gone or unreadable.*put it back"):
        train(None, None, resume=out)


# Worker processes


def strike_a_worker(put, step, number, timeout_s):
    put(workers, "TIMEOUT_S", timeout_s)

    def strike():
        child = multiprocessing.active_children()[0]
        os.kill(child.pid, number)

    at_step(put, step, strike)


@pytest.mark.timeout(120)  # without a limit of the program's own it would wait for ever
@pytest.mark.parametrize(("number", "rule"), [(signal.SIGKILL, "killed by signal 9"), (signal.SIGSTOP, "for 3 s")])
def test_a_worker_that_dies_or_hangs_is_an_error_in_time(number, rule, tmp_path, tinted, monkeypatch):
    settings = TWO | {"training.batch_size": 2}  # more batches than the workers have ready
    begun = time.monotonic()
    with monkeypatch.context() as patch:
        strike_a_worker(patch.setattr, 1, number, 3.0)
        with pytest.raises(WorkerError, match=rule) as caught:
            train(tinted, tmp_path / "run", settings)
    assert time.monotonic() - begun < 60
    assert multiprocessing.active_children() == [], "a worker is left behind"
    assert "data.workers=0" in str(caught.value)
    assert f"--resume {tmp_path / 'run'}" in str(caught.value)
    whole, _ = train(tinted, tmp_path / "whole", settings)
    train(None, None, resume=tmp_path / "run")
    assert_same_weights(tmp_path / "run", whole.path)


def test_a_worker_that_is_stopped_amid_a_batch_is_ended_in_time(monkeypatch):
    """Fetching from it has no time-out: what has begun to come is waited for."""
    monkeypatch.setattr(workers, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(workers, "POLL_S", 0.1)
    hangs, hung = (
        multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True),
        threading.Event(),
    )
    hangs.start()
    with workers._bounded([hangs], hung):
        hangs.join(20)
    assert hangs.exitcode == -signal.SIGKILL
    assert hung.is_set()


def test_a_worker_leaves_ctrl_c_to_its_trainer(tmp_path, tinted, monkeypatch):
    """The key goes to all processes of the terminal; a worker that ended by it would end the run with an error.

    Twice: the first time a forked worker may still have the trainer's own handler.
    """
    struck = []

    def strike():
        for child in multiprocessing.active_children() * 2:
            os.kill(child.pid, signal.SIGINT)
            struck.append(child.pid)
            time.sleep(0.3)

    with monkeypatch.context() as patch:
        at_step(patch.setattr, 1, strike)
        run, _ = train(tinted, tmp_path / "run", TWO | {"training.batch_size": 2})
    assert len(struck) == 4
    assert run.metrics["num_images"] > 0


def test_no_worker_outlives_a_trainer_that_is_killed(tinted, tmp_path, start):
    child = start(words(tinted, tmp_path / "run", TWO), at_step, 1, note_workers_and_die, str(tmp_path / "pids"))
    assert child.wait() == -9, child.said
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    for _ in range(200):
        alive = [pid for pid in pids if running(pid)]
        if not alive:
            return
        time.sleep(0.05)
    raise AssertionError(f"orphans: {alive}")


@pytest.mark.skipif(sys.platform != "linux", reason="a request to Linux")
def test_the_kernel_ends_a_worker_with_its_trainer():
    """At once: torch's own workers look after their parent every five seconds, and hold the run folder meanwhile."""
    child = os.fork()
    if child == 0:
        asked = ctypes.c_int()
        settle_worker()
        ctypes.CDLL(None).prctl(2, ctypes.byref(asked))  # PR_GET_PDEATHSIG
        os._exit(asked.value)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == signal.SIGKILL


def note_workers_and_die(path):
    Path(path).write_text(" ".join(str(child.pid) for child in multiprocessing.active_children()))
    send(signal.SIGKILL)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def train_with_little_shared_memory(data: str, out: str) -> tuple[str, int, float]:
    small_disk(Path("/dev/shm"), "100k")
    begun = time.monotonic()
    with pytest.raises(WorkerError) as caught:  # batches of 32 images of 3 x 64 x 64 are 393 kB
        train(data, out, TWO | {"training.batch_size": 32, "data.input_px": 64})
    assert multiprocessing.active_children() == []
    return str(caught.value), caught.value.exit_code, time.monotonic() - begun


def test_full_shared_memory_is_told(tinted, tmp_path):
    said, code, seconds = in_child(train_with_little_shared_memory, str(tinted), str(tmp_path / "run"))
    assert code == 1
    assert "/dev/shm" in said
    assert "--shm-size" in said
    assert "data.workers=0" in said
    assert seconds < 100, "told by an error, not by a time-out"


def test_the_workers_augmentations_differ(tmp_path, make_spec):
    """Equal images in batches of one, so that neighbours come from different workers: each crop is its own."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(6):
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")

    def crops(num_workers):
        loader = StreamLoader(
            open_source(tmp_path), make_spec(32), np.arange(12), 1, num_workers, CPU, min_area=0.3,
        )  # fmt: skip
        return [batch.pixels.numpy().tobytes() for batch in loader.epoch(0)]

    assert len(set(crops(2))) == 12
    assert crops(2) == crops(0)
