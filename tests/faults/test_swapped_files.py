"""Fault 60: a file that is swapped between the check and the use. It is read once; that is judged, hashed and run."""

from hashlib import sha256

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from catseye import runs, tensor_files
from catseye.exporting.drafts import Graph
from catseye.exporting.openvino_ir import convert, write_ir
from catseye.exporting.torch_export import build_torch_export
from catseye.exporting.torchscript import build_torchscript
from catseye.manifest import Architecture, Manifest
from catseye.models import registry
from catseye.preprocess import Preprocessing
from catseye.runtimes import onnx as onnx_runtime
from catseye.runtimes import openvino as openvino_runtime
from catseye.runtimes import torch as torch_runtime
from catseye.runtimes.loading import open_model
from catseye.runtimes.torch_archive import with_manifest
from tests.unit.onnx_files import manifest, tiny_model
from tests.unit.test_torch_archive import Tiny

JUDGES = {
    ".onnx": (onnx_runtime, "read_structure"),
    ".xml": (openvino_runtime, "read_ir"),
    ".torchscript": (torch_runtime, "read_archive"),
    ".pt2": (torch_runtime, "read_archive"),
    ".safetensors": (tensor_files, "_check_header"),
}


def _onnx_of(factor: float) -> onnx.ModelProto:
    model = tiny_model()
    weight = next(one for one in model.graph.initializer if one.name == "weight")
    weight.CopyFrom(numpy_helper.from_array(np.eye(3, dtype=np.float32) / 64 * factor, "weight"))
    return model


def write(path, seed: int):
    """A sound model file; another seed, another model of the same kind."""
    torch.manual_seed(seed)
    if path.suffix == ".onnx":
        path.write_bytes(_onnx_of(seed).SerializeToString())
    elif path.suffix == ".xml":
        write_ir(convert(_onnx_of(seed).SerializeToString()), path, manifest())
    elif path.suffix == ".safetensors":
        spec = Preprocessing(height_px=32, width_px=32, mean=(0.5,) * 3, std=(0.3,) * 3)
        said = Manifest(classes=("a", "b", "c"), preprocessing=spec, architecture=Architecture(name="lenet5"))
        runs.save_model(path, registry.create("lenet5", num_classes=3).state_dict(), said)
    else:
        graph = Graph(Tiny(), manifest()).eval()
        build = build_torchscript if path.suffix == ".torchscript" else build_torch_export
        path.write_bytes(with_manifest(build(graph), manifest(outputs=tuple(graph.output_names)).to_json()))
    return path


def answer(opened) -> np.ndarray:
    spec = opened.manifest.preprocessing
    pixels = np.random.default_rng(0).integers(0, 256, (1, spec.height_px, spec.width_px, 3), np.uint8)
    return opened.run(pixels)["probability"]


@pytest.mark.parametrize("suffix", list(JUDGES))
def test_60_what_was_judged_is_what_is_hashed_and_run(suffix, tmp_path, monkeypatch):
    if suffix == ".xml":
        pytest.importorskip("openvino")
    path = write(tmp_path / f"m{suffix}", 1)
    other = write(tmp_path / f"other{suffix}", 2)
    wanted, digest = answer(open_model(path, trust=True)), sha256(path.read_bytes()).hexdigest()
    assert not np.allclose(answer(open_model(other, trust=True)), wanted)
    module, name = JUDGES[suffix]
    judge, swapped = getattr(module, name), []

    def swap(*words):
        verdict = judge(*words)
        for each in tmp_path.glob("other.*"):
            each.rename(path.with_suffix(each.suffix))
            swapped.append(each)
        return verdict

    monkeypatch.setattr(module, name, swap)
    opened = open_model(path, trust=True)
    assert swapped
    assert sha256(path.read_bytes()).hexdigest() != digest
    np.testing.assert_array_equal(answer(opened), wanted)
    assert opened.sha256 == digest
