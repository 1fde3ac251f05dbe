"""How much memory may be used: what is free, and what a container allows.

Batch systems and `ulimit` count too. Called by `data/storage.py`, which keeps decoded images in memory only if they
take a small share of it, by `training/assemble.py`, which splits a batch into parts that fit, and by all code that runs
a network over many images.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from catseye.machine.groups import control_groups

PROGRAM_BYTES = 900_000_000  # used by Python, torch and the libraries of reports before any computation
LEAST_STEP_BYTES = 256_000_000
PART_BYTES = 8_000_000  # of pixels as floats: running a network on them takes ten to thirty times as much


def step_budget_bytes(run_bytes: int, state_bytes: int, free_bytes: int) -> int:
    """Memory for one step's images: the run's, less program, weights and optimizer.

    Never more than half of what is free, and never less than a few images need.

    >>> step_budget_bytes(2_000_000_000, 100_000_000, 8_000_000_000)
    1000000000

    """
    room = min(run_bytes - PROGRAM_BYTES - state_bytes, free_bytes // 2)
    return max(LEAST_STEP_BYTES, room)


def num_parts_within(budget_bytes: int, batch_size: int, image_bytes: int, smallest: int = 2) -> int:
    """How many parts a batch needs so that each stays within the budget.

    No part has fewer than `smallest` images.

    >>> num_parts_within(1000, batch_size=32, image_bytes=100)
    4

    """
    at_once = max(smallest, budget_bytes // max(1, image_bytes))
    return min(max(1, batch_size // smallest), math.ceil(batch_size / at_once))


def split_for_inference(x: Tensor) -> tuple[Tensor, ...]:
    """Split a batch so that inference on a CPU takes only some hundred megabytes.

    Shape: (N, ...) -> tensors (n, ...) of N rows together.
    """
    if x.device.type != "cpu" or not len(x):
        return (x,)
    at_once = max(1, PART_BYTES * len(x) // max(1, x.nbytes))
    return (x,) if at_once >= len(x) else torch.split(x, at_once)


def free_memory_bytes(device: torch.device | None = None, root: Path = Path("/")) -> int:
    """Memory that can be used without swapping or being killed.

    The smallest of MemAvailable (or half of all memory if the system does not report it), the memory left in every
    control group above this process (versions 1 and 2) and below its `ulimit`, and the free memory of a GPU. `root` is
    the folder that contains /proc and /sys.
    """
    left = min([_machine_bytes(root), *_control_groups(root), *_process_limits(root)])
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


def _process_limits(root: Path) -> Iterator[int]:
    """Bytes left below the limits of this process: address space and writable data."""
    try:
        import resource

        lines = (root / "proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except (ImportError, OSError):  # Windows has neither
        return
    used = {
        line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("VmSize:", "VmData:"))
    }
    for limit, key in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        allowed = resource.getrlimit(limit)[0]
        if allowed != resource.RLIM_INFINITY and key in used:
            yield allowed - used[key]


def _control_groups(root: Path) -> Iterator[int]:
    """Bytes left in every group that this process belongs to."""
    for version, folder in control_groups("memory", root):
        if version == 2:
            yield from _left_in(folder, "memory.max", "memory.current", "inactive_file")
        else:
            yield from _left_in(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _left_in(folder: Path, limit_file: str, usage_file: str, cache_key: str) -> Iterator[int]:
    try:
        limit, used = int((folder / limit_file).read_text()), int((folder / usage_file).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        # Cached files count as used, but the kernel drops them before it kills a process.
        yield limit - used + int(stat.get(cache_key, 0))
    except (OSError, ValueError):  # no such group here, or no limit: "max"
        return
