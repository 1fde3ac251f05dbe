"""Work shared out over processes: the same results as one after the other, and a dead worker is an error."""

import os
import signal

import numpy as np
import pytest

from catseye.data import pool
from catseye.data.check.duplicates import close_pairs
from catseye.data.decode import decode_all
from catseye.data.reading import thumbs_of
from catseye.data.sources import open_source
from catseye.data.survey import survey
from catseye.errors import WorkerError


@pytest.fixture
def by_processes(monkeypatch):
    monkeypatch.setattr(pool, "MANY", 1)
    monkeypatch.setattr(pool, "num_cores", lambda: 3)


def numbers(work, num, **more):
    found = dict(pool.shared_out(work, num, **more))
    assert sorted(number for part in found for number in part) == list(range(num))
    return found


@pytest.mark.parametrize(("many", "cores"), [(1, 3), (10**9, 3), (1, 1)])
def test_every_number_is_done_once(monkeypatch, many, cores):
    monkeypatch.setattr(pool, "MANY", many)
    monkeypatch.setattr(pool, "num_cores", lambda: cores)
    found = numbers(lambda part: (os.getpid(), sum(part)), 1000, portion=16)
    assert sum(total for _, total in found.values()) == sum(range(1000))
    assert (os.getpid() in {pid for pid, _ in found.values()}) == (many > 1 or cores == 1)
    assert numbers(lambda part: 0, 0) == {}


def test_processes_write_into_one_array(by_processes):
    into = pool.room_for(500, (2, 3))

    def work(part):
        into[part.start : part.stop] = os.getpid() % 200 + 1

    numbers(work, 500, portion=10)
    assert (into > 0).all()
    assert len(np.unique(into)) > 1


def test_what_work_raises_is_raised(by_processes):
    def work(part):
        if 77 in part:
            raise ValueError("number 77")

    with pytest.raises(ValueError, match="number 77"):
        numbers(work, 200, portion=10)


def test_a_worker_that_dies_is_an_error(by_processes):
    def work(part):
        if 77 in part:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerError, match=r"killed by signal 9, which the system does when memory runs out"):
        numbers(work, 200, portion=10)


def test_no_worker_is_left_behind(by_processes):
    pids = set()
    for _, pid in pool.shared_out(lambda part: os.getpid(), 200, portion=10):
        pids.add(pid)
        break
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_images_are_decoded_alike_by_processes(images, make_spec, by_processes, monkeypatch):
    root = images({"cat": 150, "dog": 150}, height=20, width=30)
    (root / "cat" / "007.png").write_bytes(b"no image")
    source, spec = open_source(root), make_spec(16)
    found, near = decode_all(source, np.arange(300), spec), survey(source, near=True)
    monkeypatch.setattr(pool, "num_cores", lambda: 1)
    alone, near_alone = decode_all(source, np.arange(300), spec), survey(source, near=True)
    assert (found[0] == alone[0]).all()
    assert (found[1] == alone[1]).all()
    assert found[2] == alone[2]
    assert len(found[2]) == 1
    assert near.digests == near_alone.digests
    assert near.groups.tolist() == near_alone.groups.tolist()


def test_thumbs_are_the_rounded_means():
    fine = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), np.uint8)
    fine[0], fine[1, ::2] = 255, fine[1, 1::2] ^ 1  # many halves
    expected = fine.reshape(-1, 16, 4, 16, 4, 3).mean((2, 4)).round()
    assert (thumbs_of(fine) == expected).all()


def test_close_pairs_are_all_that_are_close():
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**63, 300, dtype=np.uint64)
    hashes[100:200] = hashes[:100] ^ (np.uint64(1) << generator.integers(0, 63, 100, dtype=np.uint64))
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None])
    expected = [pair for pair in np.argwhere(distances <= 11).tolist() if pair[0] < pair[1]]
    assert close_pairs(hashes)[0].tolist() == expected
