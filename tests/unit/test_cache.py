"""What is kept of earlier runs: the same answers with it and without, and none for files that are others now."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from catseye.cli import app
from catseye.data import cache as cache_module
from catseye.data import decode as decode_module
from catseye.data import file_facts, survey
from catseye.data.cache import Cache, find_cache, key_of
from catseye.data.check import looks
from catseye.data.check.check import check
from catseye.data.decode import decode_all
from catseye.data.file_facts import stamp_files
from catseye.data.prepare import prepare
from catseye.data.prepare_evaluation import prepare_evaluation
from catseye.data.sources import open_source
from catseye.errors import UsageError
from catseye.settings.schema import DataSettings
from catseye.training.train import train
from tests.conftest import encode, random_pixels

CPU = torch.device("cpu")
TICK_S = 0.02  # longer than a tick of the file system's clock


@pytest.fixture(autouse=True)
def _a_disk_with_room(monkeypatch):
    """The tests' own disk may be nearly full."""
    monkeypatch.setattr(cache_module, "LEAST_FREE_BYTES", 0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The cache, switched on; everything is worth keeping, and files count as settled at once."""
    monkeypatch.delenv("CATSEYE_NO_CACHE")
    monkeypatch.setenv("CATSEYE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_module, "WORTH_S", 0.0)
    monkeypatch.setattr(file_facts, "SETTLED_S", -10.0)
    return tmp_path / "cache"


@pytest.fixture
def counted(monkeypatch):
    """How many images were read, by whichever of the two ways."""
    read = []
    for module in (decode_module, survey):
        real = module.read_portion

        def counting(images, indices, *more, real=real):
            read.extend(indices)
            return real(images, indices, *more)

        monkeypatch.setattr(module, "read_portion", counting)
    return read


@pytest.fixture
def data(images):
    """Noise, copies, near copies, a grey one and a broken one."""
    root = images({"cat": 12, "dog": 12}, height=40, width=48)
    shutil.copy(root / "cat" / "000.png", root / "cat" / "copy.png")
    (root / "dog" / "grey.png").write_bytes(encode(random_pixels(50, 40, 48, 1)))
    (root / "dog" / "broken.png").write_bytes(b"\x89PNG nothing")
    (root / "dog" / "photo.jpg").write_bytes(encode(random_pixels(51, 40, 48), "JPEG"))
    return root


def prepared(root, seed=0, **settings):
    return prepare(open_source(root), DataSettings(**settings), batch_size=8, seed=seed, device=CPU)


def facts_of(found):
    near = [sorted(group) for group in found.near_copies or []]
    verdict = found.verdict.to_json() | {"seconds": 0, "seconds_s": 0}
    return found.spec, found.splits.tolist(), found.quarantined, found.content, found.data_sha256, near, verdict


# --- the same with it as without ----------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"near_copies": "ignore"}, {"input_px": 24, "channels": 1}])
def test_what_is_kept_is_what_is_decoded(data, folder, counted, monkeypatch, settings):
    first = prepared(data, **settings)
    assert counted
    counted.clear()
    again = prepared(data, **settings)
    assert not counted
    monkeypatch.setenv("CATSEYE_NO_CACHE", "1")
    without = prepared(data, **settings)
    assert counted
    for found in (again, without):
        assert facts_of(found) == facts_of(first)
        for mine, its in zip(first.loaders["train"].epoch(0), found.loaders["train"].epoch(0), strict=True):
            assert torch.equal(mine.pixels, its.pixels)
            assert torch.equal(mine.labels, its.labels)


def test_the_weights_are_the_same(data, folder, tmp_path, counted):
    weights = []
    for name in ("first", "kept"):
        counted.clear()
        run = train(
            data, recipe="quick", model="lenet5", epochs=1, seed=3, out=tmp_path / name,
            settings={"training.batch_size": 8}, device="cpu",
        )  # fmt: skip
        weights.append(load_file(run.path / "model.safetensors"))
    assert not counted
    first, kept = weights
    assert first.keys() == kept.keys()
    assert all(torch.equal(first[name], kept[name]) for name in first)


def test_streamed_images_are_surveyed_once(data, folder, counted):
    first = prepared(data, storage="stream", workers=0)
    counted.clear()
    assert facts_of(prepared(data, storage="stream", workers=0)) == facts_of(first)
    assert len(counted) < 30  # the sample for mean and standard deviation may be read again, if it was not kept


def test_held_out_images_come_from_the_pixels_of_the_training(data, folder, counted):
    found = prepared(data)
    counted.clear()
    chosen = dict(zip(found.images.names, np.array(["train", "val", "test", ""])[found.splits], strict=True))
    chosen = {name: side for name, side in chosen.items() if side}
    _, loader, _ = prepare_evaluation(data, found.spec, found.images.classes, device=CPU, recorded=chosen)
    assert not counted
    (mine,), (its,) = list(loader.epoch(0)), list(found.loaders["test"].epoch(0))
    assert mine.indices.tolist() == its.indices.tolist()
    assert torch.equal(mine.pixels, its.pixels)


def test_check_says_the_same(data, folder, monkeypatch):
    seen = []
    real = looks._look
    monkeypatch.setattr(looks, "_look", lambda images, index: seen.append(index) or real(images, index))
    first = check(data).to_json()
    assert len(seen) == 28
    again = check(data).to_json()
    assert len(seen) == 28
    for each in (first, again):
        for name in [name for name in each if name.startswith("seconds")]:
            del each[name]
    assert json.dumps(again) == json.dumps(first)


def test_a_zip_is_kept_as_well(data, folder, counted, tmp_path):
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", data)
    first = prepared(packed)
    counted.clear()
    assert facts_of(prepared(packed)) == facts_of(first)
    assert not counted


# --- never for files that are others ------------------------------------------------------------------------------


def rewrite(path):
    """Other pixels in as many bytes, and the old time of writing."""
    before = path.stat()
    for seed in range(1000):
        content = encode(random_pixels(seed + 500, 40, 48))
        if len(content) == before.st_size:
            break
    else:
        content = path.read_bytes()[:-1] + b"\0"  # the same size all the same
    time.sleep(TICK_S)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def exchange(path):
    """Another file of the same size, time and name."""
    before, other = path.stat(), path.with_name("other")
    other.write_bytes(path.read_bytes()[:-1] + b"\0")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def remove(path):
    path.unlink()


def swap_names(path):
    beside = path.with_name("001.png")
    path.rename(path.with_name("x"))
    beside.rename(path)
    path.with_name("x").rename(beside)


@pytest.mark.parametrize("change", [rewrite, exchange, remove, swap_names])
def test_a_file_that_changed_is_read_again(data, folder, counted, change):
    before = stamp_files(open_source(data))
    prepared(data)
    counted.clear()
    change(data / "cat" / "000.png")
    assert stamp_files(open_source(data)) != before
    prepared(data)
    assert counted


def test_files_that_change_while_they_are_read_are_not_kept(data, folder, monkeypatch):
    real = survey.read_portion

    def slow(images, indices, *more):
        found = real(images, indices, *more)
        time.sleep(TICK_S)
        (data / "cat" / "001.png").write_bytes(encode(random_pixels(77, 40, 48)))
        return found

    monkeypatch.setattr(survey, "read_portion", slow)
    prepared(data)
    assert not list(folder.glob("pixels-*"))
    assert not list(folder.glob("survey-*"))


def test_young_files_are_not_kept(data, folder, monkeypatch):
    monkeypatch.setattr(file_facts, "SETTLED_S", 3600.0)
    assert stamp_files(open_source(data)) == b""
    prepared(data)
    assert not folder.exists()


def test_what_is_made_again_as_fast_is_not_kept(data, folder, monkeypatch):
    monkeypatch.setattr(cache_module, "WORTH_S", 3600.0)
    prepared(data)
    assert not folder.exists()


def test_a_reader_that_is_no_file_has_no_stamp(data):
    images = open_source(data)
    assert stamp_files(replace(images, read=lambda index: images.read(index))) == b""


# --- damage, limits, company --------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    return Cache(tmp_path / "store", 1_000_000)


ARRAYS = {"pixels": np.arange(30_000, dtype=np.uint8).reshape(100, 300), "usable": np.arange(100)}


def whole(entry):
    return entry is not None and all((entry.arrays[name] == ARRAYS[name]).all() for name in ARRAYS)


def test_what_was_saved_is_loaded_and_may_be_written_to(store):
    assert store.load("a") is None
    assert store.save("a", ARRAYS | {"none": np.empty((0, 3), np.int32)}, {"bad": {"3": "gone"}}) == ""
    found = store.load("a")
    assert whole(found)
    assert found.facts == {"bad": {"3": "gone"}}
    assert found.arrays["none"].shape == (0, 3)
    found.arrays["pixels"][:] = 0
    assert whole(store.load("a"))


@pytest.mark.parametrize("place", [0, 20, 60, 120, 5000, -4097, -1])
def test_a_flipped_byte_is_noticed_and_the_entry_removed(store, place):
    store.save("a", ARRAYS, {})
    path = store.folder / "a.bin"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert store.load("a") is None
    assert not path.exists()


@pytest.mark.parametrize("length", [0, 10, 100, 5000, -1])
def test_a_cut_off_entry_is_noticed(store, length):
    store.save("a", ARRAYS, {})
    path = store.folder / "a.bin"
    path.write_bytes(path.read_bytes()[:length])
    assert store.load("a") is None


def test_the_oldest_go_first(tmp_path):
    store = Cache(tmp_path / "store", 130_000)  # three entries and a bit
    for number, name in enumerate("abc"):
        store.save(name, ARRAYS, {})
        os.utime(store.folder / f"{name}.bin", (number + 1, number + 1))
    assert whole(store.load("a"))  # used: b is the oldest now
    store.save("d", ARRAYS, {})
    assert sorted(path.stem for path in store.folder.iterdir()) == ["a", "c", "d"]


def test_an_entry_above_half_of_the_limit_is_not_kept(tmp_path):
    assert "half" in Cache(tmp_path / "store", 50_000).save("a", ARRAYS, {})
    assert not list((tmp_path / "store").glob("*"))


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in Cache(tmp_path / "file" / "store", 10**6).save("a", ARRAYS, {})


@pytest.mark.parametrize(
    ("total_gb", "free_gb", "kept"),
    [(20, 2.1, True), (20, 1.9, False), (250, 10.1, True), (250, 9.9, False), (4000, 40, True)],
)
def test_a_tenth_of_the_disk_or_ten_gigabytes_stay_free(store, monkeypatch, total_gb, free_gb, kept):
    monkeypatch.setattr(cache_module, "LEAST_FREE_BYTES", 10_000_000_000)
    disk = SimpleNamespace(total=int(total_gb * 1e9), free=int(free_gb * 1e9))
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda folder: disk)
    reason = store.save("a", ARRAYS, {})
    assert (reason == "", store.load("a") is not None) == (kept, kept)
    assert kept or reason.startswith(f"it would leave less than {min(total_gb / 10, 10):.1f} GB of the disk")


def test_only_this_user_can_read_it(store):
    store.save("a", ARRAYS, {})
    assert store.folder.stat().st_mode & 0o77 == 0
    assert (store.folder / "a.bin").stat().st_mode & 0o77 == 0


def save_often(store):
    for _ in range(200):
        store.save("a", ARRAYS, {})


def test_two_processes_may_save_at_once_and_one_be_killed(store):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=save_often, args=(store,)) for _ in range(3)]
    for writer in writers:
        writer.start()
    found = 0
    while any(writer.is_alive() for writer in writers[1:]):
        entry = store.load("a")
        found += entry is not None
        assert entry is None or whole(entry)
        if found == 3 and writers[0].is_alive():
            os.kill(writers[0].pid, signal.SIGKILL)
    for writer in writers:
        writer.join()
    assert whole(store.load("a"))


def test_what_a_killed_one_left_is_removed_in_time(store):
    store.save("a", ARRAYS, {})
    for name, age_s in ((".b.bin.7.new", 100_000), (".c.bin.8.new", 0)):
        (store.folder / name).write_bytes(b"half")
        os.utime(store.folder / name, (time.time() - age_s,) * 2)
    store.save("b", ARRAYS, {})
    assert {path.name for path in store.folder.iterdir()} == {"a.bin", "b.bin", ".c.bin.8.new"}


def test_the_environment_decides(monkeypatch, tmp_path):
    assert find_cache() is None  # tests switch it off
    monkeypatch.setenv("CATSEYE_NO_CACHE", "0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CATSEYE_CACHE_GB", "1.5")
    found = find_cache()
    assert found.limit_bytes == 1_500_000_000
    assert tmp_path in found.folder.parents
    monkeypatch.setenv("CATSEYE_CACHE_GB", "much")
    with pytest.raises(UsageError, match="got 'much'"):
        find_cache()


def test_a_key_needs_a_stamp():
    assert key_of("pixels", b"", 1) == ""
    assert key_of("pixels", b"1", 1) != key_of("pixels", b"1", 2)


def test_no_cache_is_an_option(data, folder, monkeypatch):
    monkeypatch.setenv("CATSEYE_NO_CACHE", "")  # so that what the option sets is undone
    assert CliRunner().invoke(app, ["check", str(data), "--no-cache"]).exit_code == 0
    assert not folder.exists()
    monkeypatch.setenv("CATSEYE_NO_CACHE", "")
    assert CliRunner().invoke(app, ["check", str(data)]).exit_code == 0
    assert list(folder.glob("looks-*"))


def test_images_asked_for_twice_are_there_twice(data, folder, make_spec):
    images, wanted = open_source(data), np.array([3, 3, 1], np.int64)
    first, _, _ = decode_all(images, wanted, make_spec(16))
    again, usable, bad = decode_all(images, wanted, make_spec(16))
    assert (first == again).all()
    assert usable.tolist() == [3, 3, 1]
    assert not bad
