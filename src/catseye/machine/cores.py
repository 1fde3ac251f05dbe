"""How many cores this process may use: what every default number of threads or workers comes from. And its age."""

import os
import time

_LOADED = time.monotonic()


def num_cores() -> int:
    """The cores of its affinity, at most what its control group's quota allows."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as stream:  # noqa: PTH123 - no path of ours
            quota, period = stream.read().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))


def process_age_s() -> float:
    """Seconds since this process was started, by the kernel; since this module was loaded where it does not say."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as stream:  # noqa: PTH123
            ticks = int(stream.read().rpartition(")")[2].split()[19])  # field 22: since boot
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return time.monotonic() - _LOADED
