"""The control groups of this process, in which a container or a batch system limits it: versions 1 and 2 of Linux.

Enters: the name of a controller. Leaves: the folders of its groups. Called by `cores.py` and `memory.py`.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def control_groups(controller: str, root: Path = Path("/")) -> Iterator[tuple[int, Path]]:
    """Version and folder of every group that limits this process, its own first; `root` is where /proc and /sys lie.

    Inside a container the path in /proc may be the host's and not exist here; the walk up then still ends at the
    container's own group, which is mounted as the root.
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
            # Two controllers on one mount: some systems call it "cpu,cpuacct", with a link "cpu", some have no link.
            found = [each for name in (controller, controllers) if (each := mounts / name).is_dir()]
            version, mount = 1, found[0] if found else mounts
        else:
            continue
        here = PurePosixPath(path)
        for group in (here, *here.parents) if ".." not in here.parts else (PurePosixPath("/"),):
            yield version, mount / group.relative_to("/")
