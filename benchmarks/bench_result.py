"""Export a run in every format that can run here, and compare the files.

    python benchmarks/bench_result.py NAME RUN [--data DATA] [--formats onnx openvino …] [--max-drop 0.3] [--say TEXT]
        [-- --batch 1,8 --threads 1,2 --seconds 0.5 --rounds 5, which go to `catseye bench`]

Writes benchmarks/results/bench-NAME.json: sizes, accuracy of each file on DATA's held-out images (without DATA, that of
its own proof), latency and images per second for each file, batch size and thread setting, and ratios of each file to
TorchScript and to eager torch, at equal settings and at the best setting of each. A file that the proof refuses is
listed with the reason, and the others are measured. Hardware, versions and commit are included. For numbers that will
be quoted, no other program may compute on the machine.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from train_result import commit

from catseye.errors import CatseyeError
from catseye.exporting.export import export
from catseye.exporting.offered import INT8_FORMATS
from catseye.runs import open_run, write_json
from catseye.runtimes.formats import is_model_file
from catseye.runtimes.loading import open_model

ROOT = Path(__file__).parents[1]
FORMATS = ("onnx", "torchscript", "torch-export", "aotinductor", "openvino")


def main() -> None:
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", default=None)
    parser.add_argument("--formats", nargs="+", default=FORMATS)
    parser.add_argument("--max-drop", type=float, default=0.3)
    parser.add_argument("--say", default=None, help="command to write down instead, if DATA is a private path")
    options = parser.parse_args(sys.argv[1:split])
    words = sys.argv[split + 1 :]
    data = ["--data", options.data] if options.data else []
    with tempfile.TemporaryDirectory() as folder:
        refused = export_all(options.run, options.formats, options.max_drop, folder)
        files = [path for path in sorted(Path(folder).iterdir()) if is_model_file(path)]
        proofs = {path.name: proof(path) for path in files}
        measured = catseye("bench", options.run, *files, *data, "--trust", *words)
    base = options.run.name or str(options.run)
    shown = options.say or " ".join(["RUN FILES", *data])
    result = {
        "command": f"catseye bench {shown} --trust {' '.join(words)}",
        "n": measured["rounds"],
        "seeds": [open_run(options.run).settings.seed],
        "network": architecture(options.run),
        "against_torchscript": ratios(measured, "model.torchscript"),
        "against_eager_torch": ratios(measured, base),
        "parity": proofs,
        "refused": refused,
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


def export_all(run: Path, formats: list[str], max_drop: float, folder: str) -> list[str]:
    """Export every format in float and, if possible, in INT8.

    Returns the reasons why a file was not written.
    """
    int8 = bool(set(formats) & set(INT8_FORMATS))
    try:
        export(run, to=formats, int8=int8, max_drop=max_drop, out=folder, device="cpu", say=note)
    except CatseyeError as error:  # the files that passed have been written
        lines = str(error).replace(folder, "OUT").splitlines()
        return [line for line in lines if not line.startswith((" ", "written and proved"))]
    return []


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def proof(path: Path) -> dict:
    """The proof inside a file and, for an INT8 file, how it was made."""
    manifest = open_model(path, trust=True).manifest
    parity, made = manifest.parity, manifest.quantisation
    return {
        "num_images": parity.num_images,
        "agreement": parity.agreement,
        "max_difference": parity.max_difference,
        "accuracy_drop": parity.run_accuracy - parity.file_accuracy,
        "accuracy_drop_95_interval": parity.accuracy_drop_95_interval,
    } | ({"quantisation": made.model_dump(mode="json")} if made else {})


def ratios(measured: dict, base: str) -> dict:
    """Images per second compared with `base`, per batch size.

    At the best setting of each, and at equal settings.
    """
    rates: dict[str, dict] = {}
    for row in measured["rows"]:
        setting = (row["threads"], row["calls"])
        rates.setdefault(row["file"], {}).setdefault(row["batch"], {})[setting] = row["images_per_s"]
    against = rates.pop(base, {})
    per_base: dict[str, dict] = {}
    for name, batches in rates.items() if against else ():
        best = {f"batch {batch}": max(own.values()) / max(against[batch].values()) for batch, own in batches.items()}
        same = {
            f"batch {batch}, {calls} calls x {threads} threads": rate / against[batch][threads, calls]
            for batch, own in batches.items()
            for (threads, calls), rate in own.items()
        }
        per_base[name] = {"best": rounded(best), "same": rounded(same)}
    return per_base


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in values.items()}


if __name__ == "__main__":
    main()
