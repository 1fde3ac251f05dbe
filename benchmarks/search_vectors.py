"""Time and memory of exact search, up to a million vectors.

    python benchmarks/search_vectors.py [--rows 10000 100000 1000000] [--width 1280] [--queries 5] [--folder FOLDER]

Random vectors of the width of EfficientNet-Lite0's features are written as `catseye embed` writes them; a fresh process
opens the file and searches the 20 nearest, as `catseye search` does once it has the image's vector. `first_s` is the
first query, which reads the file, `next_s` the median of the others; memory is that of the kernel at the end:
`private` belongs to the process, `file` are pages of the mapped file that it can drop. Writes
benchmarks/results/search-vectors.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from train_result import commit

from catseye.embedding.features import Features, write_features
from catseye.environment import environment
from catseye.runs import write_json

ROOT = Path(__file__).parents[1]
PROBE = """
import json, sys, time
from pathlib import Path
import numpy as np
from catseye.embedding.features import read_features
from catseye.embedding.neighbours import find_neighbours
begun = time.perf_counter()
features = read_features(sys.argv[1])
opened = time.perf_counter() - begun
rng = np.random.default_rng(1)
times, neighbours = [], []
for number in range(int(sys.argv[2])):
    query = rng.standard_normal((1, features.values.shape[1]), np.float32)
    begun = time.perf_counter()
    neighbours.append(find_neighbours(features.values, query, 20, norms=features.norms).rows[0].tolist())
    times.append(time.perf_counter() - begun)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
kib = {key: int(status[key].split()[0]) for key in ("RssAnon", "RssFile", "VmHWM")}
print(json.dumps({"open_s": opened, "times": times, "kib": kib, "neighbours": neighbours}))
"""


def random_features(rows: int, width: int, folder: Path) -> Features:
    rng = np.random.default_rng(0)
    values = np.memmap(folder / "raw", np.float32, "w+", shape=(rows, width))
    norms = np.empty(rows, np.float32)
    for start in range(0, rows, 50_000):
        block = rng.standard_normal((min(50_000, rows - start), width), np.float32)
        values[start : start + len(block)] = block
        norms[start : start + len(block)] = np.linalg.norm(block, axis=1)
    names = [f"{number:07d}.jpg" for number in range(rows)]
    sides = np.full(rows, -1, np.int8)
    labels = np.full(rows, -1, np.int64)
    digests = [f"{number:032x}" for number in range(rows)]
    return Features(values, norms, names, labels, sides, digests, (), {"source": "random", "backbone": "none"})


def probe(rows: int, width: int, queries: int, place: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        begun = time.perf_counter()
        write_features(folder / "features.npz", random_features(rows, width, folder))
        written_s = time.perf_counter() - begun
        (folder / "raw").unlink()
        words = [sys.executable, "-c", PROBE, str(folder / "features.npz"), str(queries)]
        report = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        size = (folder / "features.npz").stat().st_size
    times = report["times"]
    return {
        "rows": rows,
        "file_mb": size / 1e6,
        "written_s": written_s,
        "open_s": report["open_s"],
        "first_s": times[0],
        "next_s": float(np.median(times[1:])),
        "private_mb": report["kib"]["RssAnon"] * 1024 / 1e6,
        "file_pages_mb": report["kib"]["RssFile"] * 1024 / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--queries", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    sizes = [probe(rows, options.width, options.queries, options.folder) for rows in options.rows]
    for size in sizes:
        print(size, file=sys.stderr)
    words = ["FOLDER" if Path(word).is_dir() else word for word in sys.argv[1:]]
    result = {
        "command": " ".join(["python", "benchmarks/search_vectors.py", *words]),
        "n": options.queries,
        "seeds": [0],
        "width": options.width,
        "top": 20,
        "sizes": sizes,
        "load_average_at_the_end": os.getloadavg()[0],
        "commit": commit(),
        "environment": environment(),
    }
    write_json(ROOT / "benchmarks" / "results" / "search-vectors.json", result)


if __name__ == "__main__":
    main()
