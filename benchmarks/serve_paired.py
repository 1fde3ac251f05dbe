"""`catseye serve` of another checkout against this one's, in alternation.

    git worktree add ../then COMMIT
    python benchmarks/serve_paired.py ../then FILE.onnx IMAGES [--clients 32 128] [--seconds 8] [--rounds 5]
        [--name serve-paired]

FILE is a model that both can open (one that the older of them exported), IMAGES a folder of class folders; 200 images
of it are sent as JPEG forms to /predict by wrk (Debian's package) on the same machine. Both servers run in this Python,
one at a time, in alternating order (A B, B A, …), so that a machine that slows down slows both. The ratio of a round is
this checkout's number over the other's: of requests per second, of the median time of a request, and of processor
seconds (user and system) per 1,000 requests, which hardly depend on other programs.
Writes benchmarks/results/NAME.json after every round: the medians of the ratios, with smallest and largest, n, and
every round. Needs `pip install 'catseye[train,serve]'` and wrk.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

from load_generator import about_forms, one_server, version_of_wrk, write_forms
from train_result import commit

ROOT = Path(__file__).parents[1]
RATIOS = ("per_s", "p50_ms", "cpu_s_per_1000")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("then", type=Path, help="a checkout of the other commit")
    parser.add_argument("file", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--clients", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--name", default="serve-paired")
    options = parser.parse_args()
    if not (options.then / "src" / "catseye").is_dir():
        parser.error(f"the other checkout must have src/catseye; got {options.then}; make one with git worktree add")
    out = ROOT / "benchmarks" / "results" / f"{options.name}.json"
    with tempfile.TemporaryDirectory() as folder:
        forms = write_forms(options.images, Path(folder) / "forms")
        rounds: list[dict] = []
        for number in range(options.rounds):
            rounds.append(one_round(options, forms, swapped=number % 2 == 1))
            result = result_of(options, about_forms(forms), rounds)
            out.write_text(json.dumps(result, indent=1) + "\n")
            report(rounds[-1], number + 1)
    for clients, cell in result["ratios"].items():
        for key, values in cell.items():
            print(
                f"{clients} clients: {key}, now over then: {values['median']:.3f} ({values['min']} to {values['max']})"
            )


def one_round(options: argparse.Namespace, forms: Path, *, swapped: bool) -> dict:
    """Both servers, each loaded with all numbers of clients."""
    sources = {"then": options.then.resolve() / "src", "now": ROOT / "src"}
    words = ["-m", "catseye", "serve", options.file.resolve(), "--port", "PORT", "--quiet"]
    results = {}
    for name in sorted(sources, reverse=not swapped):
        results[name] = one_server(words, forms, tuple(options.clients), options.seconds, sources[name])
    return {"first": next(iter(results)), **{name: results[name] for name in sources}}


def result_of(options: argparse.Namespace, images: str, rounds: list[dict]) -> dict:
    from catseye.environment import environment

    words = f"{' '.join(map(str, options.clients))} --seconds {options.seconds} --rounds {options.rounds}"
    return {
        "command": f"python benchmarks/serve_paired.py THEN {options.file.name} IMAGES --clients {words}",
        "n": len(rounds),
        "seeds": [],
        "images": images,
        "then": commit_of(options.then),
        "commit": commit(),
        "ratios": {str(clients): ratios(rounds, str(clients)) for clients in options.clients},
        "medians": {name: medians(rounds, name, options.clients) for name in ("then", "now")},
        "failed": {name: sum(row[name][str(n)]["failed"] for row in rounds for n in options.clients) for name in NAMES},
        "rounds": rounds,
        "environment": environment() | {"wrk": version_of_wrk()},
    }


NAMES = ("then", "now")


def ratios(rounds: list[dict], clients: str) -> dict[str, dict[str, float]]:
    """Now over then, round by round."""
    medians = {}
    for key in RATIOS:
        each = [row["now"][clients][key] / row["then"][clients][key] for row in rounds]
        medians[key] = {
            "median": round(statistics.median(each), 4), "min": round(min(each), 4), "max": round(max(each), 4)
        }  # fmt: skip
    return medians


def medians(rounds: list[dict], name: str, clients: list[int]) -> dict[str, dict[str, float]]:
    return {
        str(number): {key: round(statistics.median(row[name][str(number)][key] for row in rounds), 4) for key in RATIOS}
        for number in clients
    }


def commit_of(checkout: Path) -> str:
    words = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def report(row: dict, number: int) -> None:
    for name in NAMES:
        cells = {key: value for key, value in row[name].items() if isinstance(value, dict)}
        print(f"round {number}, {name}: {json.dumps(cells)}", flush=True)


if __name__ == "__main__":
    main()
