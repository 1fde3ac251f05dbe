"""Benchmarks that need another machine run their whole path here, on generated pictures."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_gpu_script_runs_dry(tmp_path):
    command = [sys.executable, "benchmarks/gpu_cifar10.py", "--dry", "--seeds", "1", "--out", str(tmp_path / "r.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "r.json").read_text())
    assert [part["name"] for part in result["parts"]] == ["speed to 94 %", "speed to 96 %", "classic"]
    for part in result["parts"]:
        assert 0 <= part["accuracy"]["mean"] <= 1
        assert part["training_s"]["min"] > 0
        assert not part["reached"] or part["accuracy"]["mean"] >= part["target"]["accuracy"]


def test_the_gpu_script_says_what_it_needs():
    done = subprocess.run([sys.executable, "benchmarks/gpu_cifar10.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "give either FOLDER or --dry" in done.stderr
