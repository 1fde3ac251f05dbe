"""Every format of a run, through the same gate; INT8 within its budget; the C++ programs that load them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import catseye
from catseye.data.augment import normalise_batch, to_unit
from catseye.errors import CatseyeError
from catseye.exporting import export as export_module
from catseye.exporting import graph as graph_module
from catseye.exporting import onnx_file, openvino_ir
from catseye.exporting.export import export
from catseye.exporting.held_out import read_for_int8, read_held_out
from catseye.exporting.int8_openvino import kept_in_float
from catseye.manifest import Architecture
from catseye.models import milestones as timeline
from catseye.models import registry
from catseye.preprocess import preprocess
from catseye.runs import load_model, open_run, save_model
from catseye.runtimes.inspection import info
from catseye.runtimes.loading import open_model

ROOT = Path(__file__).parents[2]
FLOAT = ("onnx", "torchscript", "torch-export", "openvino")  # aotinductor compiles for a minute: slow tests have it


@pytest.fixture(scope="session")
def formats(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("formats")
    return export(runs["simple"], to=FLOAT, out=out, device="cpu", golden=2)


def test_every_format_answers_as_the_run(formats, runs, shapes):
    paths = sorted(shapes.rglob("*.png"))[::3]
    mine = list(catseye.load(runs["simple"], device="cpu").predict_many(paths))
    assert [file.format for file in formats.files] == list(FLOAT)
    for file in formats.files:
        theirs = list(catseye.load(file.path, trust=True).predict_many(paths, batch_size=13))
        apart = max(np.abs(a.probabilities - b.probabilities).max() for a, b in zip(mine, theirs, strict=True))
        assert apart < 1e-5, file.format
        manifest = open_model(file.path, trust=True).manifest
        assert manifest.parity.agreement == 1.0
        assert manifest.parity.runtime.split()[0] in ("onnxruntime", "torch", "openvino")


def test_what_is_written(formats):
    folder = formats.path.parent
    names = ["export.md", "golden", "model.bin", "model.onnx", "model.pt2", "model.torchscript", "model.xml"]
    assert sorted(entry.name for entry in folder.iterdir()) == names
    card = formats.card.read_text()
    for file in formats.files:
        assert f"### {file.path.name}" in card
        assert file.sha256 in card
    assert card.count("100% equal answers, |Δp| ≤ 0.0001") == len(FLOAT)


def test_an_openvino_file_works_where_there_is_no_torch(formats, shapes):
    refuse = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "onnx", "nncf", "matplotlib"}:
            raise ModuleNotFoundError(f"{name} was imported", name=name.split(".")[0])
sys.meta_path.insert(0, Refuse())
import catseye
"""
    file, image = str(formats.files[3].path), str(shapes / "circle" / "000.png")
    code = f"{refuse}print(catseye.load({file!r}).predict({image!r}).label)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == catseye.load(formats.path).predict(image).label


def break_the_ir(monkeypatch):
    real = openvino_ir.write_ir

    def write(model, path, manifest):
        spec = manifest.preprocessing.model_copy(update={"filter": "bicubic"})
        real(model, path, manifest.model_copy(update={"preprocessing": spec}))

    monkeypatch.setattr(openvino_ir, "write_ir", write)


def swap_channels(monkeypatch):
    real = graph_module.to_unit
    monkeypatch.setattr(graph_module, "to_unit", lambda pixels: real(pixels.flip(1)))


def leave_out_the_normalisation(monkeypatch):
    monkeypatch.setattr(graph_module, "normalise_batch", lambda x, spec: x)


@pytest.mark.parametrize(
    ("to", "break_it"),
    [("torchscript", swap_channels), ("torch-export", leave_out_the_normalisation), ("openvino", break_the_ir)],
)
def test_a_broken_preprocessing_is_caught_in_every_format(to, break_it, runs, monkeypatch, tmp_path):
    break_it(monkeypatch)
    with pytest.raises(CatseyeError, match="was not written"):
        export(runs["lenet5"], to=to, out=tmp_path / "out", device="cpu")
    assert list((tmp_path / "out").iterdir()) == []


def test_one_format_fails_and_the_others_are_written(runs, monkeypatch, tmp_path):
    break_the_ir(monkeypatch)
    with pytest.raises(CatseyeError, match=r"model\.xml was not written[^$]*written and proved: .*model\.onnx"):
        export(runs["lenet5"], to=["openvino", "onnx"], out=tmp_path, device="cpu")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["export.md", "model.onnx"]


def test_the_command_takes_several_formats_and_predict_wants_trust(command, runs, shapes):
    image = shapes / "circle" / "000.png"
    code, told, said = command("export", runs["lenet5"], "--to", "torchscript,onnx", "--out", "o", "--json")
    assert code == 0, said
    assert [file["format"] for file in json.loads(told)["files"]] == ["torchscript", "onnx"]
    assert "TorchScript is deprecated" in said
    code, _, said = command("predict", "o/model.torchscript", image)
    assert code == 1
    assert "--trust" in said
    answers = [command("predict", f"o/model.{kind}", image, "--trust")[1] for kind in ("torchscript", "onnx")]
    assert answers[0] == answers[1] != ""
    scores = [
        json.loads(command("evaluate", one, shapes, "--json", "--trust")[1])
        for one in ("o/model.torchscript", "o/model.onnx")  # a run would leave out the images it learnt from
    ]
    assert scores[0]["confusion"] == scores[1]["confusion"]


def test_without_a_gpu_tensorrt_says_what_to_do(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(CatseyeError) as error:
        export(runs["lenet5"], to="tensorrt", out=tmp_path, device="cpu")
    assert "no NVIDIA GPU is here" in str(error.value)
    assert "trtexec --onnx=model.onnx --saveEngine=model.plan --fp16 --minShapes=image:1x32x32x3" in str(error.value)


@pytest.fixture(scope="session")
def int8(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("int8")
    return export(runs["simple"], int8=True, max_drop=50, out=out, device="cpu")  # 24 images: one is 4 points


def test_int8_stays_within_its_budget_and_says_how_it_was_made(int8, runs):
    plain, small = int8.files
    assert small.path.name == "model.int8.onnx"
    assert small.num_bytes < 0.4 * plain.num_bytes
    model = open_model(small.path)
    assert model.operators["QuantizeLinear"] > 4
    how = model.manifest.quantisation
    assert {"entropy drop", "percentile drop"} <= how.measured.keys()
    assert how.float_layers == ()
    drop = model.manifest.parity.run_accuracy - model.manifest.parity.file_accuracy
    assert drop <= 0.5
    low, high = model.manifest.parity.accuracy_drop_95_interval
    assert low <= drop <= high
    assert "INT8 by onnxruntime" in int8.card.read_text()
    assert "INT8" in dict(info(small.path).to_rows())


def test_int8_images_are_training_images_that_the_proof_does_not_see(runs):
    run = open_run(runs["simple"])
    _, manifest = load_model(run.path, torch.device("cpu"))
    calibration, selection = read_for_int8(run, manifest, 20, 10)
    proof = read_held_out(run, manifest, 100)
    splits = run.data["splits"]
    assert set(calibration.names) <= splits["train"].keys()
    assert len(calibration.names) == 20
    assert not set(proof.names) & {*calibration.names, *selection.names}
    assert not set(calibration.names) & set(selection.names)


def make_one_layer_sensitive(run, target):
    """One channel 3000 times as large and the weights behind it as much smaller: in float nothing changes."""
    shutil.copytree(run, target)
    model, manifest = load_model(run, torch.device("cpu"))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    convolutions = [name for name, value in state.items() if value.ndim == 4]
    norms = [name for name in state if name.endswith("running_var")]
    norm = norms[0].removesuffix("running_var")
    channel = int((state[f"{norm}weight"].abs() + state[f"{norm}bias"]).argmax())  # one that is active
    state[f"{norm}weight"][channel] *= 3000
    state[f"{norm}bias"][channel] *= 3000
    state[convolutions[1]][:, channel] /= 3000
    save_model(target / "model.safetensors", state, manifest)
    return target


@pytest.mark.slow
def test_sensitive_layers_stay_in_float_when_the_budget_asks(shapes, tmp_path):
    overrides = ["data.val_fraction=0.4"]  # enough images to be certain that all layers in INT8 lose too much
    trained = catseye.train(
        shapes, model="simple", epochs=40, out=tmp_path / "trained", device="cpu", overrides=overrides
    )
    run = make_one_layer_sensitive(trained.path, tmp_path / "run")
    done = export(run, int8=True, max_drop=5, out=tmp_path / "out", device="cpu")
    how = open_model(done.files[1].path).manifest.quantisation
    assert how.measured[f"{how.calibration.split()[0]} drop"] > 0.05  # all layers in INT8 lose too much
    assert 0 < len(how.float_layers) < 6
    assert how.measured["kept drop"] <= 0.05


@pytest.mark.parametrize(("name", "num_sums"), [("simple", 0), ("residual", 6)])
def test_what_nncf_leaves_in_float(name, num_sums, runs):
    """The normalisation, the softmax, the map and sums of two branches; no layer with weights, nor what follows one."""
    model, manifest = load_model(runs[name], torch.device("cpu"))
    manifest = manifest.model_copy(update={"input_kind": "uint8", "temperature": 1.5})
    graph = openvino_ir.convert(onnx_file.render_onnx(onnx_file.build_onnx(model, manifest), manifest))
    outside = kept_in_float(graph)
    kinds: dict[str, list[bool]] = {}
    for node in graph.get_ordered_ops():
        kinds.setdefault(node.get_type_name(), []).append(node.get_friendly_name() in outside)
    assert all(kinds["Transpose"])
    assert {"probability", "cam"} & {name for one in graph.outputs for name in one.get_names()} <= set(outside)
    assert not any(any(kinds.get(kind, [])) for kind in ("Convolution", "Relu", "MaxPool"))
    assert kinds["MatMul"].count(True) == 1  # familiarity's, which the prediction does not need
    assert len(kinds["Convolution"]) >= 3
    added = [node for node in graph.get_ordered_ops() if node.get_type_name() == "Add"]
    convolved = ["Convolution" in [one.get_node().get_type_name() for one in node.input_values()] for node in added]
    biases = {node.get_friendly_name() for node, one in zip(added, convolved, strict=True) if one}
    assert len(biases) == len(kinds["Convolution"])
    assert not biases & set(outside)
    assert len([name for name in outside if name.startswith("node_add")]) == num_sums
    # Those that compute on images; others turn constants into the shift of a batch norm.
    images = [node for node in graph.get_ordered_ops() if node.get_output_partial_shape(0).is_dynamic]
    arithmetic = [node for node in images if node.get_type_name() in ("Divide", "Subtract")]
    assert len(arithmetic) >= 3  # to [0, 1], mean, std, temperature
    assert all(node.get_friendly_name() in outside for node in arithmetic)


@pytest.mark.slow
def test_int8_by_nncf(runs, tmp_path):
    done = export(runs["simple"], to="openvino", int8=True, max_drop=5, out=tmp_path, device="cpu")
    plain, small = done.files
    assert small.num_bytes < 0.4 * plain.num_bytes
    model = open_model(small.path)
    assert model.operators["FakeQuantize"] > 4
    how = model.manifest.quantisation
    assert how.tool.startswith("nncf")
    kept = how.calibration.removesuffix(", with bias correction")
    other = {"min/max": "mean min/max", "mean min/max": "min/max"}[kept]
    assert how.measured[f"{kept} mean difference"] <= how.measured[f"{other} mean difference"]
    assert how.float_layers == ()
    assert "NNCF" not in (tmp_path / "model.int8.xml").read_text().split("rt_info")[0][:200]


@pytest.mark.slow
def test_tensorrt_rtx_parses_and_builds_float_and_int8(runs, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx-cu13 (95 MB) checks TensorRT's parser")
    if torch.cuda.is_available():
        pytest.skip("with a GPU the engine itself is built")
    with pytest.raises(CatseyeError) as error:
        export(runs["residual"], to="tensorrt", int8=True, max_drop=50, out=tmp_path, device="cpu")
    assert str(error.value).count("parsed the graph and built an engine of") == 2


@pytest.mark.slow
@pytest.mark.parametrize("to", ["torchscript", "aotinductor"])
def test_a_cpp_program_answers_alike(to, runs, tmp_path):
    """examples/cpp, built with the machine's compiler, on a golden pair."""
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler is here")
    done = export(runs["simple"], to=to, out=tmp_path, golden=1, device="cpu")
    pair = json.loads((tmp_path / "golden" / "golden.json").read_text())["pairs"][0]
    tensor = np.load(tmp_path / "golden" / pair["tensor"])
    (tmp_path / "image.bin").write_bytes(tensor.tobytes())
    program = tmp_path / "classify"
    torch_home = Path(torch.__file__).parent
    abi = int(torch._C._GLIBCXX_USE_CXX11_ABI)
    subprocess.run(
        [
            *("g++", "-std=c++20", "-O1", f"-D_GLIBCXX_USE_CXX11_ABI={abi}", ROOT / "examples" / "cpp" / f"{to}.cpp"),
            *(f"-I{torch_home}/include", f"-I{torch_home}/include/torch/csrc/api/include", f"-L{torch_home}/lib"),
            *(f"-Wl,-rpath,{torch_home}/lib", "-Wl,--no-as-needed", "-ltorch", "-ltorch_cpu", "-lc10", "-o", program),
        ],
        check=True,
        timeout=600,
    )
    shape = [str(side) for side in tensor.shape[1:]]
    told = subprocess.run(
        [program, done.path, tmp_path / "image.bin", *shape], check=True, capture_output=True, text=True
    )
    np.testing.assert_allclose([float(word) for word in told.stdout.split()], pair["probabilities"], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("name", [one.name for one in timeline.MILESTONES])
@pytest.mark.parametrize("to", ["torchscript", "torch-export", "openvino", "aotinductor"])
def test_every_milestone_in_every_format(to, name, side, runs, tmp_path, monkeypatch):
    """As in test_export.py: fresh weights, batch-norm statistics from a forward pass."""
    monkeypatch.setattr(export_module, "NUM_IMAGES", 8)
    run = fresh_run(name, side, runs["simple"], tmp_path / "run")
    done = export(run, to=to, device="cpu")
    print(to, name, side, f"{done.num_bytes / 1e6:.2f} MB", done.comparison.to_line())
    assert done.comparison.agreement == 1.0


def fresh_run(name, side, model_run, run):
    """A run folder of a milestone that was never trained."""
    run.mkdir()
    for file in ("settings.toml", "data.json"):
        (run / file).write_bytes((model_run / file).read_bytes())
    _, manifest = load_model(model_run, torch.device("cpu"))
    spec = manifest.preprocessing.model_copy(update={"height_px": side, "width_px": side})
    manifest = manifest.model_copy(update={"preprocessing": spec, "architecture": Architecture(name=name)})
    torch.manual_seed(0)
    model = registry.create(name, num_classes=3, input_px=side).train()
    contents = read_held_out(open_run(model_run), manifest, 8).contents
    pixels = torch.from_numpy(np.stack([preprocess(one, spec) for one in contents])).permute(0, 3, 1, 2)
    for layer in model.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.momentum = None  # the plain mean, so that one pass is enough
    with torch.inference_mode():
        model.features(normalise_batch(to_unit(pixels), spec))
    save_model(run / "model.safetensors", model.state_dict(), manifest)
    return run
