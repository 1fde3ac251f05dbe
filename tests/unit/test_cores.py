"""How many cores may be used, in faked containers: a quota below the machine's cores counts, wherever it is written."""

import os
from pathlib import Path

import pytest

from catseye.machine.cores import num_cores


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of eight cores whose processes are in these groups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)

    def make(groups: str) -> Path:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups)
        return tmp_path

    return make


def version_2(folder: Path, quota: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(f"{quota} 100000\n")


def version_1(folder: Path, quota: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")


@pytest.mark.parametrize(("quota", "cores"), [("200000", 2), ("250000", 2), ("360000", 4), ("9000", 1), ("max", 8)])
def test_a_quota_of_version_2(machine, quota, cores):
    root = machine("0::/\n")
    version_2(root / "sys/fs/cgroup", quota)
    assert num_cores(root) == cores


@pytest.mark.parametrize(("quota", "cores"), [(300_000, 3), (5_000, 1), (-1, 8), (9_000_000, 8)])
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_a_quota_of_version_1(machine, mount, quota, cores):
    root = machine("4:memory:/x\n3:cpu,cpuacct:/docker/abc\n")
    version_1(root / "sys/fs/cgroup" / mount / "docker/abc", quota)
    assert num_cores(root) == cores


def test_the_tightest_group_on_the_way_up_counts(machine):
    """A pod's quota is the limit of each of its containers, which may have none of their own."""
    root = machine("0::/pod/container\n")
    version_2(root / "sys/fs/cgroup/pod", "300000")
    version_2(root / "sys/fs/cgroup/pod/container", "max")
    assert num_cores(root) == 3
    version_2(root / "sys/fs/cgroup/pod/container", "100000")
    assert num_cores(root) == 1


@pytest.mark.parametrize("path", ["/docker/of-the-host", "/../../of-the-host"])
def test_in_a_container_its_own_group_is_the_root(machine, path):
    root = machine(f"0::{path}\n")
    version_2(root / "sys/fs/cgroup", "200000")
    assert num_cores(root) == 2


def test_without_groups_all_cores_count(machine, tmp_path):
    assert num_cores(tmp_path) == 8
    assert num_cores(machine("1:name=systemd:/\n")) == 8


def test_the_affinity_counts(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 5}, raising=False)
    root = machine("0::/\n")
    version_2(root / "sys/fs/cgroup", "400000")
    assert num_cores(root) == 2
