"""The Linux control groups, versions 1 and 2, that limit this process.

Containers and batch systems set such limits. Enters: the name of a controller. Leaves: the folders of its groups.
Called by `cores.py` and `memory.py`.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def control_groups(controller: str, root: Path = Path("/")) -> Iterator[tuple[int, Path]]:
    """Version and folder of every group that limits this process, its own first.

    `root` is the folder that contains /proc and /sys. Inside a container the path in /proc may be the host's and not
    exist here; the walk up still ends at the container's own group, which is mounted as the root.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mounts = root / "sys/fs/cgroup"
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            version, mount = 2, mounts
        elif controller in controllers.split(","):
            # Two controllers may share a mount, "cpu,cpuacct"; only some systems add a link "cpu" to it.
            folders = [folder for name in (controller, controllers) if (folder := mounts / name).is_dir()]
            version, mount = 1, folders[0] if folders else mounts
        else:
            continue
        own = PurePosixPath(path)
        for group in (own, *own.parents) if ".." not in own.parts else (PurePosixPath("/"),):
            yield version, mount / group.relative_to("/")
