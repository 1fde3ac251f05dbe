"""`catseye bench`: real files, measured for a moment."""

import json

import pytest

from catseye.errors import ModelFileError, UsageError
from catseye.exporting.bench import BenchGrid, bench
from catseye.manifest import Parity
from tests.unit.onnx_files import manifest, tiny_model


@pytest.fixture
def files(tmp_path):
    """The same tiny network twice, one with a proof inside."""
    proof = Parity(
        split="test", num_images=50, batch_sizes=(1,), max_difference=0.0, mean_difference=0.0, agreement=1.0,
        run_accuracy=0.9, file_accuracy=0.88, run_macro_f1=0.9, file_macro_f1=0.88, runtime="onnxruntime",
    )  # fmt: skip
    for name, said in (("a.onnx", manifest(parity=proof)), ("b.onnx", manifest())):
        (tmp_path / name).write_bytes(tiny_model(said).SerializeToString())
    return [tmp_path / "a.onnx", tmp_path / "b.onnx"]


def test_bench(command, files, tmp_path):
    words = ("--batch", "1,4", "--threads", 1, "--threads", 2, "--seconds", 0.02, "--rounds", 3, "--out", "o", "--json")
    code, told, said = command("bench", *files, *words)
    assert code == 0, said
    found = json.loads(told)
    assert found == json.loads((tmp_path / "o" / "bench.json").read_text()) | {"environment": found["environment"]}
    assert (tmp_path / "o" / "bench.png").read_bytes().startswith(b"\x89PNG")
    rows = found["rows"]
    settings = [(1, 1), (2, 1), (1, 2)]  # threads of a call, calls at a time
    assert [(row["file"], row["batch"], row["threads"], row["calls"]) for row in rows] == [
        (name, batch, *pair) for name in ("a.onnx", "b.onnx") for batch in (1, 4) for pair in settings
    ]
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["slowest_round"] <= row["images_per_s"] <= row["fastest_round"]
        assert row["num_calls"] >= 3 * row["calls"]
        assert row["ratio"] == 1 or row["file"] == "b.onnx"
    assert [(one["accuracy"], one["num_images"]) for one in found["files"]] == [(0.88, 50), (None, None)]
    assert found["threads_spin"] is False


def test_the_tables_fit_a_terminal(command, files, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    long = files[0].with_name("a-name-that-is-far-too-long-for-a-column-of-a-table.int8.onnx")
    files[0].rename(long)
    code, told, said = command("bench", long, files[1], "--batch", 64, "--threads", 1, "--seconds", 0.02, "--rounds", 1)
    assert code == 0, said
    assert max(len(line.rstrip()) for line in told.splitlines()) <= 80
    assert "….int8.onnx" in told or "int8.onnx" in told
    assert "a-name-t" in told


def test_bad_requests(files, tmp_path):
    with pytest.raises(UsageError, match=r"--batch takes numbers from 1 to 4096; got \[0\]"):
        bench(files, grid=BenchGrid(batches=[0]))
    with pytest.raises(UsageError, match="--seconds"):
        bench(files, grid=BenchGrid(seconds=0))
    with pytest.raises(ModelFileError, match="cannot be read"):
        bench([tmp_path / "none.onnx"])


@pytest.mark.slow
def test_a_run_is_the_base_and_every_format_is_measured(command, runs, shapes):
    run = runs["simple"]
    assert command("export", run, "--to", "onnx,torchscript,openvino", "--out", "o")[0] == 0
    files = ("o/model.onnx", "o/model.torchscript", "o/model.xml")
    words = ("--batch", 2, "--threads", 2, "--seconds", 0.1, "--rounds", 2, "--data", shapes, "--trust", "--json")
    code, told, said = command("bench", *files, run, *words)
    assert code == 0, said
    found = json.loads(told)
    assert found["base_of_ratios"] == "simple"
    assert [one["format"] for one in found["files"]] == ["eager torch", "ONNX", "TorchScript", "OpenVINO IR"]
    assert len({one["accuracy"] for one in found["files"]}) == 1
    assert code == 0
    assert command("bench", "o/model.torchscript")[0] == 1, "without trust"
