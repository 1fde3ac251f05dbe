"""What may be taken of memory, on faked machines and in faked containers, and that no more is taken."""

import resource
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from catseye.data import storage
from catseye.data.decode import decode_all
from catseye.data.prepare import prepare
from catseye.data.prepare_evaluation import prepare_evaluation
from catseye.data.sources import open_source
from catseye.data.storage import MEMORY_SHARE
from catseye.errors import UsageError
from catseye.machine.memory import (
    LEAST_STEP_BYTES,
    PART_BYTES,
    PROGRAM_BYTES,
    free_memory_bytes,
    num_parts_within,
    split_for_inference,
    step_budget_bytes,
)
from catseye.settings.schema import DataSettings
from tests.conftest import encode, random_pixels

CPU = torch.device("cpu")
GB = 1024**3
V2 = {"limit": "memory.max", "usage": "memory.current", "cache": "inactive_file"}
V1 = {"limit": "memory.limit_in_bytes", "usage": "memory.usage_in_bytes", "cache": "total_inactive_file"}


def machine(root: Path, available_bytes: int = 16 * GB, groups: str = "0::/\n") -> Path:
    (root / "proc/self").mkdir(parents=True)
    text = f"MemTotal: 99999999 kB\nMemFree: 1 kB\nMemAvailable: {available_bytes // 1024} kB\n"
    (root / "proc/meminfo").write_text(text)
    (root / "proc/self/cgroup").write_text(groups)
    return root


def group(folder: Path, names: dict[str, str], limit: int | str, usage: int = 0, cache: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names["limit"]).write_text(f"{limit}\n")
    (folder / names["usage"]).write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{names['cache']} {cache}\nfile 2\n")


def test_without_groups_the_machine_decides(tmp_path):
    assert free_memory_bytes(root=machine(tmp_path)) == 16 * GB
    (tmp_path / "proc/self/cgroup").unlink()
    assert free_memory_bytes(root=tmp_path) == 16 * GB


def test_a_system_that_does_not_say_gives_a_plausible_number(tmp_path):
    assert 10_000_000 < free_memory_bytes(root=tmp_path) < 10**14
    assert 10_000_000 < free_memory_bytes() < 10**14


def test_the_limit_of_a_version_2_group_counts(tmp_path):
    root = machine(tmp_path, groups="0::/job\n")
    group(root / "sys/fs/cgroup/job", V2, 4 * GB, usage=3 * GB, cache=GB // 2)
    assert free_memory_bytes(root=root) == 4 * GB - 3 * GB + GB // 2


def test_the_limit_of_a_version_1_group_counts(tmp_path):
    root = machine(tmp_path, groups="5:cpu:/other\n4:hugetlb,memory:/docker/abc\n1:name=systemd:/\n")
    group(root / "sys/fs/cgroup/memory/docker/abc", V1, 2 * GB, usage=GB)
    assert free_memory_bytes(root=root) == GB


def test_the_tightest_group_on_the_way_up_counts(tmp_path):
    root = machine(tmp_path, groups="0::/pod/container\n")
    group(root / "sys/fs/cgroup/pod/container", V2, 8 * GB)
    group(root / "sys/fs/cgroup/pod", V2, 3 * GB, usage=GB)
    assert free_memory_bytes(root=root) == 2 * GB


@pytest.mark.parametrize("path", ["/docker/of-the-host", "/../../of-the-host"])
def test_in_a_container_its_own_group_is_the_root(tmp_path, path):
    root = machine(tmp_path, groups=f"0::{path}\n")
    group(root / "sys/fs/cgroup", V2, GB)
    assert free_memory_bytes(root=root) == GB


@pytest.mark.parametrize(("names", "limit"), [(V2, "max"), (V1, 9223372036854771712)])
def test_a_group_without_a_limit_limits_nothing(tmp_path, names, limit):
    root = machine(tmp_path, groups="0::/job\n4:memory:/job\n")
    folder = root / "sys/fs/cgroup" / ("memory/job" if names is V1 else "job")
    group(folder, names, limit, usage=GB)
    assert free_memory_bytes(root=root) == 16 * GB


def test_a_group_that_is_over_its_limit_leaves_nothing(tmp_path):
    root = machine(tmp_path, groups="0::/job\n")
    group(root / "sys/fs/cgroup/job", V2, GB, usage=2 * GB)
    assert free_memory_bytes(root=root) == 0


def test_a_gpus_memory_counts_where_the_images_go_there(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5 * GB, 80 * GB))
    root = machine(tmp_path)
    assert free_memory_bytes(torch.device("cuda"), root) == 5 * GB
    assert free_memory_bytes(CPU, root) == 16 * GB


def prepared(source, monkeypatch, free, **settings):
    monkeypatch.setattr(storage, "free_memory_bytes", lambda device: free)
    chosen = DataSettings(input_px=32, workers=0, **settings)
    return prepare(open_source(source), chosen, batch_size=4, seed=0, device=CPU)


def test_images_stay_in_memory_up_to_the_share_and_are_streamed_above(images, monkeypatch):
    source = images({"cat": 10, "dog": 10})
    needed = 20 * 32 * 32 * 3
    assert not prepared(source, monkeypatch, int(needed / MEMORY_SHARE)).in_memory
    assert prepared(source, monkeypatch, int(needed / MEMORY_SHARE) + 8).in_memory
    assert prepared(source, monkeypatch, needed, storage="memory").in_memory
    with pytest.raises(UsageError, match=r"data\.storage = memory: .* free; set it to auto or stream"):
        prepared(source, monkeypatch, needed - 1, storage="memory")


def test_evaluation_keeps_to_the_share_too(images, monkeypatch, make_spec):
    source = images({"cat": 3, "dog": 3})
    kinds = []
    for free in (6 * 8 * 8 * 3 * 4, 6 * 8 * 8 * 3 * 4 + 8):
        monkeypatch.setattr(storage, "free_memory_bytes", lambda device, free=free: free)
        _, loader, _ = prepare_evaluation(source, make_spec(8), ("cat", "dog"), device=CPU)
        kinds.append(type(loader).__name__)
    assert kinds == ["StreamLoader", "MemoryLoader"]


def test_decoding_takes_the_array_and_little_more(images, make_spec, tmp_path):
    source = open_source(images({"cat": 300}, height=4, width=4))
    spec = make_spec(128)
    size = 300 * 128 * 128 * 3
    tracemalloc.start()
    try:
        pixels, _, _ = decode_all(source, np.arange(300), spec)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert pixels.nbytes == size
    assert peak < 1.25 * size


def test_gaps_left_by_bad_images_are_closed(tmp_path, make_spec):
    (tmp_path / "a").mkdir()
    for number in range(6):
        bad = number in (0, 3)
        (tmp_path / "a" / f"{number}.png").write_bytes(b"no image" if bad else encode(random_pixels(number)))
    source, spec = open_source(tmp_path), make_spec(8)
    pixels, good, bad = decode_all(source, np.arange(6), spec)
    assert good.tolist() == [1, 2, 4, 5]
    assert sorted(bad) == [0, 3]
    for row, number in enumerate(good):
        assert (pixels[row] == random_pixels(number)).all()


def test_the_limits_of_the_process_count(tmp_path, monkeypatch):
    root = machine(tmp_path)
    (root / "proc/self/status").write_text("Name:\tcatseye\nVmSize:\t 3145728 kB\nVmData:\t 1048576 kB\n")
    allowed = {resource.RLIMIT_AS: resource.RLIM_INFINITY, resource.RLIMIT_DATA: 3 * GB}
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (allowed[limit], resource.RLIM_INFINITY))
    assert free_memory_bytes(root=root) == 2 * GB
    allowed[resource.RLIMIT_AS] = 4 * GB
    assert free_memory_bytes(root=root) == GB
    allowed.update({resource.RLIMIT_AS: resource.RLIM_INFINITY, resource.RLIMIT_DATA: resource.RLIM_INFINITY})
    assert free_memory_bytes(root=root) == 16 * GB


def test_a_step_may_take_what_program_and_weights_leave():
    assert step_budget_bytes(2 * 10**9, 0, 64 * GB) == 2 * 10**9 - PROGRAM_BYTES
    assert step_budget_bytes(2 * 10**9, 10**9, 64 * GB) == LEAST_STEP_BYTES  # weights of a gigabyte leave the least
    assert step_budget_bytes(8 * 10**9, 0, GB) == GB // 2


@pytest.mark.parametrize(
    ("batch_size", "image_bytes", "parts"), [(32, 10, 1), (32, 32, 2), (32, 100, 4), (32, 10**9, 16), (1, 10**9, 1)]
)
def test_parts_are_as_few_as_fit_and_never_of_one_image(batch_size, image_bytes, parts):
    assert num_parts_within(1000, batch_size, image_bytes) == parts


def test_a_batch_to_be_answered_is_cut_where_it_is_large():
    small, large = torch.zeros(256, 3, 32, 32), torch.zeros(64, 3, 224, 224)
    assert split_for_inference(small) == (small,)
    parts = split_for_inference(large)
    assert len(parts) > 1
    assert all(part.nbytes <= PART_BYTES for part in parts)
    assert sum(map(len, parts)) == 64
    assert [len(part) for part in split_for_inference(torch.zeros(2, 3, 4096, 4096))] == [1, 1]
    assert len(split_for_inference(torch.zeros(0, 3, 32, 32))) == 1
