"""Export runs and commit how each file was proved.

    python benchmarks/export_result.py RUN…

Writes benchmarks/results/export-parity.json: one row per run with network, data, size of the file and the parity
report, beside hardware, versions and commit. The files themselves are thrown away.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from train_result import commit

from catseye.environment import environment
from catseye.runs import load_model, write_json

ROOT = Path(__file__).parents[1]


def main() -> None:
    rows = [one_export(Path(run)) for run in sys.argv[1:]]
    result = {
        "command": "catseye export RUN --device cpu --json",
        "n": len(rows),
        "seeds": sorted({row["seed"] for row in rows}),
        "exports": rows,
        "commit": commit(),
        "environment": environment(),
    }
    write_json(ROOT / "benchmarks" / "results" / "export-parity.json", result)


def one_export(run: Path) -> dict[str, object]:
    _, manifest = load_model(run, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "catseye", "export", str(run), "--device", "cpu", "--json", "--out", folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    file = json.loads(done.stdout)["files"][0]
    spec = manifest.preprocessing
    return {
        "network": manifest.architecture.name,
        "data": manifest.provenance.data_name,
        "seed": manifest.provenance.seed,
        "input": f"{spec.channels} x {spec.height_px} x {spec.width_px}",
        "num_bytes": file["num_bytes"],
        "parity": file["parity"],
    }


if __name__ == "__main__":
    main()
