"""How long it takes to list a folder of many images, and how much memory.

    python benchmarks/index_names.py [--files 1000000] [--folder /dev/shm] [--rounds 3]

Empty files named like ImageNet's are made in class folders below FOLDER, listed by `catseye.data.sources.open_source`
in fresh processes, and removed. Writes benchmarks/results/index-names.json: seconds (the first listing finds the names
in the kernel's memory, as they were just written), peak memory of the whole process and what it was before.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from catseye.data.sources import open_source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--list", type=Path, help="what a child process runs")
    options = parser.parse_args()
    if options.list:
        print(json.dumps(list_once(options.list)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        make_files(Path(temporary), options.files, options.classes)
        command = [sys.executable, __file__, "--list", temporary]
        runs = [json.loads(subprocess.check_output(command)) for _ in range(options.rounds)]
    # Imported only now, because they would add to the memory of the listing.
    from train_result import ROOT, commit, spread

    from catseye.environment import environment
    from catseye.runs import write_json

    result = {
        "command": f"python benchmarks/index_names.py --files {options.files} --classes {options.classes}",
        "n": options.rounds,
        "seeds": [],
        "num_files": options.files,
        "seconds": spread([row["seconds"] for row in runs]),
        "cpu_s": spread([row["cpu_s"] for row in runs]),
        "peak_mb": spread([row["peak_mb"] for row in runs]),
        "before_mb": spread([row["before_mb"] for row in runs]),
        "rounds": runs,
        "commit": commit(),
        "environment": environment(),
    }
    write_json(ROOT / "benchmarks" / "results" / "index-names.json", result)
    print(json.dumps({key: result[key] for key in ("num_files", "seconds", "cpu_s", "peak_mb", "before_mb")}, indent=2))


def make_files(root: Path, files: int, classes: int) -> None:
    for number in range(classes):
        folder = root / f"n{number:08d}"
        folder.mkdir()
        for index in range(number, files, classes):
            open(f"{folder}/n{number:08d}_{index:07d}.JPEG", "w").close()  # noqa: PTH123


def list_once(folder: Path) -> dict[str, Any]:
    before = peak_mb()
    begun, cpu = time.perf_counter(), time.process_time()
    images = open_source(folder)
    seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
    return {
        "num_files": len(images),
        "seconds": seconds,
        "cpu_s": cpu_s,
        "peak_mb": peak_mb(),
        "before_mb": before,
    }


def peak_mb() -> float:
    """The peak of this process alone.

    getrusage would include the memory that its parent had at the fork.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this benchmark needs Linux: /proc/self/status does not say VmHWM")


if __name__ == "__main__":
    main()
