"""Model files and runtimes: what is served, what is refused, and that all runtimes say the same."""

import platform
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from catseye.errors import MissingDependency, ModelFileError, UsageError
from catseye.machine.cores import num_cores
from catseye.runtimes import onnx as onnx_runtime
from catseye.serving import runtimes, tuning
from tests.server import models


@pytest.fixture
def path(tmp_path) -> Path:
    return models.write(tmp_path / "tints.onnx", models.with_cam())


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8)


def test_names_and_shapes(path):
    model = runtimes.load_served(path)
    assert (model.name, model.runtime, model.row_shape, model.row_type) == ("tints", "cpu", (4, 4, 3), np.uint8)
    assert model.has_cam
    assert len(model.version) == 12
    answers = model.compute(rows(5), True)
    assert answers.probabilities.shape == (5, 3)
    assert answers.cams.shape == (5, 4, 4)
    assert model.compute(rows(5), False).cams is None


@pytest.mark.parametrize("count", [1, 3, 8])
def test_openvino_says_the_same(path, count):
    pytest.importorskip("openvino", reason="needs openvino")
    reference, other = runtimes.load_served(path, "cpu"), runtimes.load_served(path, "openvino")
    for with_cam in (False, True):
        expected, found = (model.compute(rows(count), with_cam) for model in (reference, other))
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
        if with_cam:
            np.testing.assert_allclose(found.cams, expected.cams, rtol=1e-4)


@pytest.mark.parametrize("threshold", [0.5, None])
def test_familiarity_is_asked_for_where_it_decides(tmp_path, threshold):
    path = models.write(tmp_path / "m.onnx", models.with_familiarity(threshold, cam=True))
    model = runtimes.load_served(path)
    for with_cam in (False, True):
        found = model.compute(rows(3), with_cam)
        assert (found.cams is not None) == with_cam
        if threshold is None:
            assert found.familiarity is None
        else:
            np.testing.assert_allclose(found.familiarity, rows(3)[..., 0].mean((1, 2)) / 255, rtol=1e-5)


def test_openvino_in_several_threads(path):
    pytest.importorskip("openvino", reason="needs openvino")
    model = runtimes.load_served(path, "openvino")
    expected = model.compute(rows(6), False).probabilities
    wrong = []

    def work(index: int):
        for _ in range(100):
            found = model.compute(rows(6)[index : index + 1], False).probabilities
            if not np.allclose(found, expected[index], atol=1e-6):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("name", "runtime", "error", "words"),
    [
        ("tints.onnx", "tpu", UsageError, "auto, cpu, cuda"),
        ("model.pth", "auto", UsageError, "catseye export"),
        ("missing.onnx", "auto", ModelFileError, "missing.onnx"),
    ],
)
def test_what_is_refused(path, name, runtime, error, words):
    with pytest.raises(error, match=words):
        runtimes.load_served(path.with_name(name), runtime)


@pytest.mark.parametrize("runtime", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there(path, runtime):
    import onnxruntime

    if onnx_runtime._PROVIDERS[runtime] in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has it")
    with pytest.raises(UsageError, match="onnxruntime-gpu"):
        runtimes.load_served(path, runtime)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps freed memory in other ways")
def test_loading_keeps_no_memory_that_it_has_freed(tmp_path):
    models.write(tmp_path / "m.onnx", models.heavy(layers=160))  # 10 MB
    given_back = {}
    for name, open_it in (
        ("server", "serving.runtimes import load_served as load"),
        ("library", "runtimes.onnx import open_onnx as load"),
    ):
        program = f"""
import ctypes, pathlib
from catseye.{open_it}
def held():
    return int(pathlib.Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) / 1024
model = load(pathlib.Path("m.onnx"))
before = held()
ctypes.CDLL("libc.so.6").malloc_trim(0)
print(before - held())
"""
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        given_back[name] = float(ended.stdout)
    assert given_back["server"] < 1
    assert given_back["library"] > 3  # else this test would say nothing


def test_openvino_that_is_not_installed(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependency, match="openvino"):
        runtimes.load_served(path, "openvino")


def test_a_plan_is_measured_and_can_be_fixed(path):
    model = runtimes.load_served(path)
    plan = tuning.choose(model)
    assert plan.measured
    assert plan.batch_size in tuning.BATCH_SIZES
    assert 1 <= plan.concurrency <= num_cores()
    assert plan.images_per_s > 0
    fixed = tuning.choose(model, concurrency=3, batch_size=5)
    assert (fixed.concurrency, fixed.batch_size, fixed.measured) == (3, 5, {})
    assert str(fixed) == "3 calls at a time, up to 5 images each"


def test_a_slow_model_is_not_given_large_batches(tmp_path):
    model = runtimes.load_served(models.write(tmp_path / "m.onnx", models.slow(120)))
    assert tuning.choose(model).batch_size <= 4
