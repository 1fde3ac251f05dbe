"""How many cores this process may use: what every default number of threads or workers comes from. And its age."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from catseye.machine.groups import control_groups

_LOADED = time.monotonic()


def num_cores(root: Path = Path("/")) -> int:
    """The cores of its affinity, at most what the quotas of its control groups allow; `root` is where /sys lies."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for version, folder in control_groups("cpu", root) for quota in _quota_of(version, folder)]
    return max(1, min([cores, *map(round, quotas)]))


def _quota_of(version: int, folder: Path) -> Iterator[float]:
    """Cores' worth of time that a group may take; nothing where it is not limited."""
    try:
        if version == 2:
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period")
            )
        if int(quota) > 0 and int(period) > 0:  # version 1 says -1 for no limit, version 2 says "max"
            yield int(quota) / int(period)
    except (OSError, ValueError):
        return


def process_age_s() -> float:
    """Seconds since this process was started, by the kernel; since this module was loaded where it does not say."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as stream:  # noqa: PTH123
            ticks = int(stream.read().rpartition(")")[2].split()[19])  # field 22: since boot
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return time.monotonic() - _LOADED
