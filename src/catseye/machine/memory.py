"""How much memory may be taken: what the machine has free, and what a container or a batch system allows.

Called by `data/storage.py`, which keeps decoded images in memory only where they take a small share of it, by
`training/assemble.py`, which computes a batch in so many parts that they fit, and by
whoever runs a network over many images.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from catseye.machine.groups import control_groups

PROGRAM_BYTES = 900_000_000  # what Python, torch and the libraries of reports take before anything is computed
LEAST_STEP_BYTES = 256_000_000
ANSWERED_BYTES = 8_000_000  # of pixels as floats: a network takes some ten to thirty times that


def step_budget_bytes(run_bytes: int, state_bytes: int, free_bytes: int) -> int:
    """What the images of one step may take: the run's memory less the program, the weights and their optimizer.

    Never more than half of what is free, and never less than a few images take.

    >>> step_budget_bytes(2_000_000_000, 100_000_000, 8_000_000_000)
    1000000000

    """
    room = min(run_bytes - PROGRAM_BYTES - state_bytes, free_bytes // 2)
    return max(LEAST_STEP_BYTES, room)


def num_parts_within(budget_bytes: int, batch_size: int, image_bytes: int, smallest: int = 2) -> int:
    """Into how many parts a batch is cut so that each stays within the budget; none has fewer than `smallest` images.

    >>> num_parts_within(1000, batch_size=32, image_bytes=100)
    4

    """
    at_once = max(smallest, budget_bytes // max(1, image_bytes))
    return min(max(1, batch_size // smallest), math.ceil(batch_size / at_once))


def answered_in_parts(x: Tensor) -> tuple[Tensor, ...]:
    """A batch that is only to be answered, cut so that a network's feature maps take some hundred megabytes on a CPU.

    Shape: (N, ...) -> tensors (n, ...) of N rows together.
    """
    if x.device.type != "cpu" or not len(x):
        return (x,)
    at_once = max(1, ANSWERED_BYTES * len(x) // max(1, x.nbytes))
    return (x,) if at_once >= len(x) else torch.split(x, at_once)


def free_memory_bytes(device: torch.device | None = None, root: Path = Path("/")) -> int:
    """Memory that can be taken without swapping or being killed, on the device too if that is a GPU.

    The smallest of MemAvailable, the room in every control group above this process (versions 1 and 2), what `ulimit`
    leaves and the free memory of the GPU; half of all memory where the system does not say. `root` is where /proc and
    /sys lie.
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
    """Bytes left below the limits of this process: of its address space, and of what it may write to."""
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
        # Cached files count as used, but the kernel gives them up before it kills anybody.
        yield limit - used + int(stat.get(cache_key, 0))
    except (OSError, ValueError):  # no such group here, or no limit: "max"
        return
