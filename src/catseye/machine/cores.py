"""How many cores this process may use, and how long it has been running.

Every default number of threads or workers follows from the number of cores.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from catseye.machine.groups import control_groups

_LOADED = time.monotonic()


def num_cores(root: Path = Path("/")) -> int:
    """The cores that this process may run on, within the quotas of its groups.

    `root` is the folder that contains /proc and /sys.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for version, folder in control_groups("cpu", root) for quota in _quota_of(version, folder)]
    return max(1, min([cores, *map(round, quotas)]))


def _quota_of(version: int, folder: Path) -> Iterator[float]:
    """How many cores' time a group may use; nothing if it has no limit."""
    try:
        if version == 2:
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period")
            )
        if int(quota) > 0 and int(period) > 0:  # no limit is -1 in version 1 and "max" in version 2
            yield int(quota) / int(period)
    except (OSError, ValueError):
        return


def process_age_s() -> float:
    """Seconds since this process started; if unknown, since this module was loaded."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as stream:  # noqa: PTH123
            ticks = int(stream.read().rpartition(")")[2].split()[19])  # field 22: since boot
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return time.monotonic() - _LOADED
