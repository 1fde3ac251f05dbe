"""Export a run in every format that can run here, measure them against each other and commit the numbers.

    python benchmarks/bench_result.py NAME RUN [--data DATA] [--formats onnx openvino …] [--say TEXT] [-- for bench]

Writes benchmarks/results/bench-NAME.json: sizes, accuracy of each file on DATA's held-out pictures (else that of its
own proof), latency and pictures per second of each file, batch size and thread setting, and the ratios that matter:
each against TorchScript and against eager torch, both at the same setting and each at its own best one. Beside
hardware, versions and commit. For numbers to be quoted nothing else may compute on the machine.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from train_result import commit

from catseye.runs import open_run, write_json

ROOT = Path(__file__).parents[1]
FORMATS = ("onnx", "torchscript", "torch-export", "aotinductor", "openvino")


def main() -> None:
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", default=None)
    parser.add_argument("--formats", nargs="+", default=FORMATS)
    parser.add_argument("--say", default=None, help="how the command is written down, where DATA is a private path")
    options = parser.parse_args(sys.argv[1:split])
    words = sys.argv[split + 1 :]
    data = ["--data", options.data] if options.data else []
    with tempfile.TemporaryDirectory() as folder:
        exported = catseye("export", options.run, "--to", *options.formats, "--int8", "--out", folder)
        files = [file["path"] for file in exported["files"]]
        measured = catseye("bench", options.run, *files, *data, "--trust", *words)
    base = options.run.name or str(options.run)
    said = options.say or " ".join(["RUN FILES", *data])
    result = {
        "command": f"catseye bench {said} --trust {' '.join(words)}",
        "n": measured["rounds"],
        "seeds": [open_run(options.run).settings.seed],
        "network": architecture(options.run),
        "against_torchscript": ratios(measured, "model.torchscript"),
        "against_eager_torch": ratios(measured, base),
        "parity": {Path(file["path"]).name: summary(file["parity"]) for file in exported["files"]},
        **{key: measured[key] for key in ("rounds", "seconds_per_cell_and_round", "threads_spin", "files", "rows")},
        "commit": commit(),
        "environment": measured["environment"],
    }
    write_json(ROOT / "benchmarks" / "results" / f"bench-{options.name}.json", result)
    print(json.dumps({key: result[key] for key in ("against_torchscript", "against_eager_torch")}, indent=2))


def catseye(*words: object) -> dict:
    command = [sys.executable, "-m", "catseye", *map(str, words), "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def architecture(run: Path) -> str:
    import torch

    from catseye.runs import load_model

    return load_model(run, torch.device("cpu"))[1].architecture.name


def summary(parity: dict) -> dict:
    names = ("num_pictures", "agreement", "max_difference", "accuracy_drop", "accuracy_drop_95_interval")
    return {name: parity[name] for name in names}


def ratios(measured: dict, base: str) -> dict:
    """Pictures per second against those of `base`, per batch size: best setting against best, and at equal settings."""
    rates: dict[str, dict] = {}
    for row in measured["rows"]:
        setting = (row["threads"], row["calls"])
        rates.setdefault(row["file"], {}).setdefault(row["batch"], {})[setting] = row["pictures_per_s"]
    against = rates.pop(base, {})
    found: dict[str, dict] = {}
    for name, batches in rates.items() if against else ():
        best = {f"batch {batch}": max(own.values()) / max(against[batch].values()) for batch, own in batches.items()}
        same = {
            f"batch {batch}, {calls} calls x {threads} threads": rate / against[batch][threads, calls]
            for batch, own in batches.items()
            for (threads, calls), rate in own.items()
        }
        found[name] = {"best": rounded(best), "same": rounded(same)}
    return found


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in values.items()}


if __name__ == "__main__":
    main()
