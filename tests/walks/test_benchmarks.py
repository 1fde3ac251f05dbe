"""Benchmarks that need another machine, or a quiet hour, run their whole path here, on generated images."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import catseye
from tests.conftest import write_tinted

ROOT = Path(__file__).parents[2]


def test_the_gpu_script_runs_dry(tmp_path):
    command = [sys.executable, "benchmarks/gpu_cifar10.py", "--dry", "--seeds", "1", "--out", str(tmp_path / "r.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "r.json").read_text())
    assert [part["name"] for part in result["parts"]] == [
        "classic", "classic, eager", "speed to 94 %", "speed to 96 %",
    ]  # fmt: skip
    for part in result["parts"]:
        assert 0 <= part["accuracy"]["mean"] <= 1
        assert part["training_s"]["min"] > 0
        assert not part["reached"] or part["accuracy"]["mean"] >= part["target"]["accuracy"]
        assert not part["captured"]
    assert set(result["seconds_to_the_images"]) == {"from the files", "from the cache"}


def test_the_gpu_server_script_runs_dry(exported, tmp_path):
    _, _, files = exported
    out = tmp_path / "r.json"
    words = ["--dry", str(files[0]), "--seconds", "0.5", "--clients", "4", "1", "--out", str(out)]
    done = subprocess.run([sys.executable, "benchmarks/gpu_serve.py", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert [row["clients"] for row in result["rows"]] == [4, 1]
    for row in result["rows"]:
        for name in ("gpu", "cpu"):
            assert row[name]["requests_per_s"] > 0
            assert row[name]["p50_ms"] <= row[name]["p99_ms"]
            assert row[name]["failed"] == 0
    assert set(result["reached"]) == {"never slower than the CPU"}


def test_the_gpu_script_says_what_it_needs():
    done = subprocess.run([sys.executable, "benchmarks/gpu_cifar10.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "give either FOLDER or --dry" in done.stderr


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A short run, its images, and its files in fp32 and INT8."""
    folder = tmp_path_factory.mktemp("bench")
    data = write_tinted(folder / "tinted", 30)
    settings = {"training.batch_size": 16, "data.test_fraction": 0.3}
    run = catseye.train(data, model="lenet5", out=folder / "run", epochs=2, device="cpu", settings=settings).path
    files = catseye.export(run, int8=True, max_drop=30)
    return run, data, [file.path for file in files.files]


def measure(script, *words, timeout):
    command = [sys.executable, f"benchmarks/{script}.py", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def result_file():
    """A result of the tests' own, which does not stay among the committed ones."""
    path = ROOT / "benchmarks" / "results" / "bench-only-a-test.json"
    yield path
    path.unlink(missing_ok=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs Debian's package wrk")
@pytest.mark.skipif(importlib.util.find_spec("litserve") is None, reason="needs catseye[serve-bench]")
def test_all_three_servers_answer_under_load(exported, result_file):
    run, data, files = exported
    words = [run, data, *files, "--photos", run, data, files[-1], "--seconds", 1, "--rounds", 1]
    print(measure("serve_load", *words, "--name", result_file.stem, timeout=1200))
    result = json.loads(result_file.read_text())
    small, photos = result["cases"]["small"]["servers"], result["cases"]["photos"]["servers"]
    assert set(small) == {"article", "litserve", "catseye model.onnx", "catseye model.int8.onnx"}
    assert set(photos) == {"article", "catseye model.int8.onnx"}
    for found in (*small.values(), *photos.values()):
        assert found["32"]["requests"] > 0
        assert found["32"]["failed"] == 0
    assert {row["wanted"] for row in result["targets"]} >= {">= 3", ">= 9", ">= 1.5", "<= 0.6"}


@pytest.mark.slow
def test_every_format_is_measured(exported, result_file):
    run, _, _ = exported
    words = [
        result_file.stem.removeprefix("bench-"),
        run,
        "--formats",
        "onnx",
        "torchscript",
        "--max-drop",
        30,
        "--",
        "--batch",
        1,
    ]
    measure("bench_result", *words, "--threads", 1, "--seconds", 0.02, "--rounds", 1, timeout=900)
    result = json.loads(result_file.read_text())
    assert set(result["parity"]) == {"model.onnx", "model.int8.onnx", "model.torchscript"}
    assert result["against_torchscript"]["model.int8.onnx"]["best"]["batch 1"] > 0


def test_planted_faults_are_counted(tmp_path):
    out = measure("check_faults", "--seeds", 1, "--images", 160, "--page", tmp_path, timeout=300)
    assert "class-twins            precision 1.000  recall 1.000" in out
    assert "pointer                precision 1.000  recall 1.000" in out
    assert (tmp_path / "check.html").exists()
