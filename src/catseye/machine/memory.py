"""How much memory may be taken: what the machine has free, and what a container or a batch system allows.

Called by `prepare.py`, which keeps decoded images in memory only where they take a small share of it.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import torch


def free_memory_bytes(device: torch.device | None = None, root: Path = Path("/")) -> int:
    """Memory that can be taken without swapping or being killed, on the device too if that is a GPU.

    The smallest of MemAvailable, the room in every control group above this process (versions 1 and 2) and the free
    memory of the GPU; half of all memory where the system does not say. `root` is where /proc and /sys lie.
    """
    left = min([_machine_bytes(root), *_control_groups(root)])
    if device is not None and device.type == "cuda":
        left = min(left, torch.cuda.mem_get_info(device)[0])
    return max(left, 0)


def _machine_bytes(root: Path) -> int:
    try:
        for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _control_groups(root: Path) -> Iterator[int]:
    """Bytes left in every group that this process belongs to.

    Inside a container the path in /proc may be the host's and not exist here; the walk up then still ends at the
    container's own group, which is mounted as the root.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":  # version 2
            mount, files = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        here = PurePosixPath(path)
        for group in (here, *here.parents) if ".." not in here.parts else (PurePosixPath("/"),):
            yield from _left_in(mount / group.relative_to("/"), *files)


def _left_in(folder: Path, limit_file: str, usage_file: str, cache_key: str) -> Iterator[int]:
    try:
        limit, used = int((folder / limit_file).read_text()), int((folder / usage_file).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        # Cached files count as used, but the kernel gives them up before it kills anybody.
        yield limit - used + int(stat.get(cache_key, 0))
    except (OSError, ValueError):  # no such group here, or no limit: "max"
        return
