"""How many cores this process may use: what every default number of threads or workers comes from."""

import os


def num_cores() -> int:
    """The cores of its affinity, at most what its control group's quota allows."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as stream:  # noqa: PTH123 - no path of ours
            quota, period = stream.read().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))
