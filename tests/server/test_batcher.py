"""The scheduler alone, with a model made of Python: who is taken when, and what happens to those that fail."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from catseye.serving.batcher import Batcher, Job
from catseye.serving.served_model import Answers


class Done:
    """What the scheduler delivered, in order, and a way to wait for it."""

    def __init__(self):
        self.batches: list[list[Job]] = []
        self._changed = threading.Condition()

    def __call__(self, batch):
        with self._changed:
            self.batches.append(batch)
            self._changed.notify_all()

    def wait(self, count: int) -> list[Job]:
        with self._changed:
            assert self._changed.wait_for(lambda: sum(map(len, self.batches)) >= count, timeout=10)
        return [job for batch in self.batches for job in batch]


class Model:
    """Answers row + 1 of 2 classes; waits for `gate` before each call; fails for batches larger than `fits`."""

    def __init__(self, fits: int = 10**6):
        self.gate = threading.Event()
        self.gate.set()
        self.sizes: list[int] = []
        self.fits = fits

    def compute(self, rows, with_cam):
        self.gate.wait(10)
        self.sizes.append(len(rows))
        if len(rows) > self.fits:
            raise MemoryError
        return Answers(np.concatenate([rows, 1 - rows], axis=1), rows[:, :, None] if with_cam else None)


def job(model, value: float = 0.25, **more) -> Job:
    return Job(model, SimpleNamespace(), time.monotonic() + 10, row=np.array([value]), **more)


def batcher(done, concurrency=1, batch_size=8):
    return Batcher(concurrency, batch_size, done)


def test_a_lone_image_does_not_wait():
    done, model = Done(), Model()
    started = time.monotonic()
    running = batcher(done)
    running.put(job(model))
    (found,) = done.wait(1)
    assert time.monotonic() - started < 1
    assert (found.batch_size, found.answer.tolist()) == (1, [0.25, 0.75])
    running.close()


def test_what_came_during_a_call_goes_together():
    done, model = Done(), Model()
    model.gate.clear()
    running = batcher(done)
    running.put(job(model))
    while running.num_waiting:  # the first is taken alone
        time.sleep(0.001)
    for number in range(20):
        running.put(job(model, number / 20))
    model.gate.set()
    found = done.wait(21)
    assert model.sizes == [1, 8, 8, 4]
    assert [one.answer[0] for one in found[1:]] == [number / 20 for number in range(20)]
    running.close()


def test_idle_threads_share_what_waits():
    done, model = Done(), Model()
    running = batcher(done, concurrency=2)
    while running._idle < 2:
        time.sleep(0.001)
    model.gate.clear()
    with running._changed:  # all six are there before a thread wakes up
        for number in range(6):
            running._waiting[job(model, number / 6)] = None
        running._changed.notify()
    while running.num_waiting:
        time.sleep(0.001)
    model.gate.set()
    done.wait(6)
    assert sorted(model.sizes) == [3, 3]
    running.close()


def test_a_discarded_job_is_not_computed():
    done, model = Done(), Model()
    model.gate.clear()
    running = batcher(done, batch_size=1)
    first, second, third = job(model), job(model), job(model)
    for one in (first, second, third):
        running.put(one)
    while running.num_waiting > 2:
        time.sleep(0.001)
    running.discard(second)
    running.discard(first)  # too late: a thread has it
    model.gate.set()
    done.wait(2)
    running.close()
    assert done.batches == [[first], [third]]


def test_two_versions_are_never_in_one_batch():
    done, old, new = Done(), Model(), Model()
    old.gate.clear()
    running = batcher(done)
    running.put(job(old))
    while running.num_waiting:
        time.sleep(0.001)
    for model in (old, old, new, new, old):
        running.put(job(model))
    old.gate.set()
    done.wait(6)
    running.close()
    assert old.sizes == [1, 2, 1]
    assert new.sizes == [2]


def test_a_batch_that_does_not_fit_is_halved():
    done, model = Done(), Model(fits=2)
    model.gate.clear()
    running = batcher(done)
    for number in range(9):
        running.put(job(model, number / 9))
    while running.num_waiting > 8:
        time.sleep(0.001)
    model.gate.set()
    found = done.wait(9)
    running.close()
    assert [one.failure for one in found] == [None] * 9
    assert sorted(one.answer[0] for one in found) == [number / 9 for number in range(9)]
    assert running.num_splits == 3  # 8 -> 4 + 4 -> 2 + 2 + 2 + 2


def test_one_that_never_fits_fails_alone():
    done, model = Done(), Model(fits=0)
    running = batcher(done)
    running.put(job(model))
    (found,) = done.wait(1)
    assert isinstance(found.failure, MemoryError)
    running.close()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_fails_its_own_image_only(bad):
    done, model = Done(), Model()
    model.gate.clear()
    running = batcher(done)
    running.put(job(model))
    while running.num_waiting:
        time.sleep(0.001)
    for value in (0.5, bad, 0.75):
        running.put(job(model, value))
    model.gate.set()
    found = done.wait(4)[1:]
    running.close()
    assert [one.failure is None for one in found] == [True, False, True]
    assert isinstance(found[1].failure, ArithmeticError)


def test_maps_only_for_those_who_asked():
    done, model = Done(), Model()
    model.gate.clear()
    running = batcher(done)
    running.put(job(model))
    while running.num_waiting:
        time.sleep(0.001)
    running.put(job(model))
    running.put(job(model, wants_cam=True))
    model.gate.set()
    found = done.wait(3)
    running.close()
    assert [one.cam is None for one in found] == [True, True, False]


def test_close_answers_what_waits():
    done, model = Done(), Model()
    model.gate.clear()
    running = batcher(done, batch_size=2)
    for _ in range(9):
        running.put(job(model))
    model.gate.set()
    running.close()
    assert sum(map(len, done.batches)) == 9
