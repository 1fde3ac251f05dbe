"""`catseye serve` on files that are no .onnx: OpenVINO IR, .pt2 and TorchScript answer over HTTP as the .onnx does."""

import subprocess
import sys

import pytest

import catseye
from catseye.errors import UsageError
from catseye.serving import runtimes
from tests.server import models
from tests.server.running import png
from tests.unit.onnx_files import manifest, tiny_model


@pytest.fixture(scope="module")
def expected(shared_start, tmp_path_factory):
    server = shared_start(models.write(tmp_path_factory.mktemp("onnx") / "m.onnx"))
    return server.predict(png("red")).json()


@pytest.fixture
def ir(tmp_path):
    pytest.importorskip("openvino", reason="needs openvino")
    from catseye.exporting.openvino_ir import convert, write_ir

    path = tmp_path / "m.xml"
    write_ir(convert(tiny_model().SerializeToString()), path, manifest())
    return path


@pytest.fixture(params=[".torchscript", ".pt2"])
def program(request, tmp_path):
    """The mean of each channel is its logit."""
    import torch
    from torch import nn

    from catseye.exporting.graph import Graph
    from catseye.exporting.torch_export import build_torch_export
    from catseye.exporting.torchscript import build_torchscript
    from catseye.runtimes.torch_archive import with_manifest

    class Means(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Identity()
            self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
            with torch.no_grad():
                self.head[2].weight.copy_(torch.eye(3))
                self.head[2].bias.zero_()

    graph = Graph(Means(), manifest()).eval()
    build = build_torchscript if request.param == ".torchscript" else build_torch_export
    path = tmp_path / f"m{request.param}"
    path.write_bytes(with_manifest(build(graph), manifest(outputs=tuple(graph.output_names)).to_json()))
    return path


def test_an_ir_answers(start, ir, expected):
    server = start(ir)
    assert server.facts["runtime"] == "openvino"
    assert server.predict(png("red")).json() == expected
    assert server.get("/model").json()["runtime"] == "openvino"
    maps = subprocess.run(["cat", f"/proc/{server.process.pid}/maps"], capture_output=True, text=True).stdout
    assert "libopenvino" in maps
    assert "libtorch" not in maps


def test_a_program_answers_once_it_is_trusted(start, program):
    refused = subprocess.run(
        [sys.executable, "-m", "catseye", "serve", program, "--port", "0"], capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 1
    assert "--trust" in refused.stderr
    server = start(program, "--trust")
    assert server.facts["runtime"] == "torch"
    expected = catseye.load(program, trust=True).predict(png("red"))
    shares = {name: 100 * share for name, share in zip(manifest().classes, expected.probabilities, strict=True)}
    assert server.predict(png("red")).json()["all_probabilities"] == pytest.approx(shares, abs=0.006)


@pytest.mark.parametrize("runtime", ["cpu", "cuda"])
def test_another_runtime_than_the_format_s_own_is_refused(ir, runtime):
    with pytest.raises(UsageError, match="runs in openvino"):
        runtimes.load_served(ir, runtime)
