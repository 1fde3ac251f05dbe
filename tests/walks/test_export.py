"""A run becomes an ONNX file that answers alike, or no file at all."""

import json
import shutil
import subprocess
import sys
from copy import deepcopy

import numpy as np
import onnx
import pytest
import torch

import catseye
from catseye.data.augment import normalise_batch, to_unit
from catseye.data.sources import open_source
from catseye.errors import CatseyeError, DataError, MissingDependency, ModelFileError, UsageError
from catseye.explanation.cam import grad_cam
from catseye.exporting import export as export_module
from catseye.exporting import graph as graph_module
from catseye.exporting import head_gradient, onnx_file
from catseye.exporting.export import export
from catseye.exporting.held_out import read_held_out
from catseye.manifest import Architecture, Manifest
from catseye.models import milestones as timeline
from catseye.models import registry
from catseye.models.heads import replace_head
from catseye.preprocess import Preprocessing, normalise, preprocess
from catseye.runs import Run, load_model, open_run, save_model, write_json
from catseye.runtimes.loading import open_model
from catseye.runtimes.model_file import tensor_of
from catseye.runtimes.onnx import open_onnx
from tests.walks.conftest import NETWORKS


@pytest.fixture(scope="session")
def exported(runs, tmp_path_factory):
    """The same runs, exported with golden pairs, out of the run folders' way."""
    root = tmp_path_factory.mktemp("exported")
    return {name: export(run, out=root / name, golden=3, device="cpu") for name, run in runs.items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_answers_as_the_run(name, runs, exported, shapes):
    paths = sorted(shapes.rglob("*.png"))
    mine = list(catseye.load(runs[name], device="cpu").predict_many(paths))
    theirs = list(catseye.load(exported[name].path).predict_many(paths, batch_size=13))
    assert [one.label for one in mine] == [one.label for one in theirs]
    apart = max(np.abs(a.probabilities - b.probabilities).max() for a, b in zip(mine, theirs, strict=True))
    assert apart < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_one_self_describing_file(name, runs, exported):
    done = exported[name]
    assert sorted(entry.name for entry in done.path.parent.iterdir()) == ["export.md", "golden", "model.onnx"]
    proto = onnx.load(done.path, load_external_data=False)
    onnx.checker.check_model(proto, full_check=True)
    assert not [one for one in proto.graph.initializer if one.data_location or one.external_data]
    assert {entry.key for entry in proto.metadata_props} == {"catseye"}
    manifest = Manifest.from_json(proto.metadata_props[0].value, "m")
    _, own = load_model(runs[name], torch.device("cpu"))
    assert manifest.model_copy(update={"input_kind": None, "parity": None}) == own
    assert manifest.parity.num_images == 24
    assert manifest.parity.agreement == 1.0
    assert manifest.parity.max_difference == done.comparison.max_difference <= 1e-4
    assert manifest.parity.familiarity_difference == done.comparison.familiarity.max_difference <= 1e-4
    assert "familiarity (cosine of its features" in done.card.read_text()
    assert f"is below {own.familiarity_threshold:.3f}" in done.card.read_text()
    assert "test images 24" in done.card.read_text()
    text = done.path.read_bytes()
    assert b".py" not in text, "no paths of source files from the exporting machine"
    assert done.num_bytes == len(text)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("n", [1, 2, 5, 65])
def test_any_batch_size(name, n, exported):
    outputs = open_onnx(exported[name].path).run(np.zeros((n, 32, 32, 3), np.uint8))
    assert {key: len(values) for key, values in outputs.items()} == dict.fromkeys(outputs, n)


def test_cam_is_there_where_the_head_allows_it_and_adds_up_to_the_logit(runs, exported, shapes):
    model, manifest = load_model(runs["residual"], torch.device("cpu"))
    pixels = np.stack([preprocess(path, manifest.preprocessing) for path in sorted(shapes.rglob("*.png"))[::9]])
    outputs = open_onnx(exported["residual"].path).run(pixels)
    bias = model.head[-1].bias.detach().numpy()
    top = outputs["prediction"].argmax(1)
    assert outputs["cam"].shape == (len(pixels), 8, 8)
    np.testing.assert_allclose(outputs["cam"].mean((1, 2)) + bias[top], outputs["prediction"].max(1), rtol=1e-4)
    # A seventh of LeNet-5's multiply-adds are in its head: a map would make every answer a third dearer.
    assert set(open_onnx(exported["lenet5"].path).run(pixels)) == {"prediction", "probability", "familiarity"}


def test_examples_are_in_every_file_that_was_asked_to_have_some(runs, tmp_path):
    done = export(runs["simple"], to=["onnx", "torchscript"], out=tmp_path, examples=4, device="cpu")
    for file in done.files:
        opened = open_model(file.path, trust=True)
        carried = opened.manifest.examples
        assert len(carried) == done.num_examples == 4
        assert len({one.label for one in carried[: len(opened.manifest.classes)]}) == min(
            4, len(opened.manifest.classes)
        )
        classifier = opened.classifier()
        assert [classifier.predict(one.image).label for one in carried] == [one.label for one in carried]
    found = catseye.info(done.path)
    assert found.to_json()["manifest"]["num_examples"] == 4
    assert "examples" not in found.to_json()["manifest"]
    assert ("examples", "4 images of the data, for the page of serve") in found.to_rows()


@pytest.fixture(scope="session")
def hidden_layer(runs, tmp_path_factory):
    """A run with the head of transfer learning before 0.2, trained on the features of its images."""
    run = tmp_path_factory.mktemp("hidden") / "run"
    shutil.copytree(runs["residual"], run, ignore=shutil.ignore_patterns("export", ".*"))
    model, manifest = load_model(run, torch.device("cpu"))
    replace_head(model, len(manifest.classes), 3, 32, "transfer")
    held = read_held_out(open_run(run), manifest, 64)
    labels = torch.from_numpy(held.labels)
    with torch.no_grad():
        maps = model.features(torch.from_numpy(normalise(held.pixels(manifest.preprocessing), manifest.preprocessing)))
    optimizer = torch.optim.Adam(model.head.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model.head(maps.clone()), labels).backward()
        optimizer.step()
    options = {**manifest.architecture.options, "head": "transfer"}
    changes = {"architecture": Architecture(name=manifest.architecture.name, options=options)}
    changes |= {"familiarity_threshold": None}
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("familiarity")}
    save_model(run / "model.safetensors", state, manifest.model_copy(update=changes))
    return run


def test_a_head_with_a_hidden_layer_has_grad_cams_map(hidden_layer, shapes, tmp_path):
    done = export(hidden_layer, to=["onnx", "torchscript"], out=tmp_path, device="cpu")
    model, manifest = load_model(hidden_layer, torch.device("cpu"))
    model.eval()
    pixels = np.stack([preprocess(path, manifest.preprocessing) for path in sorted(shapes.rglob("*.png"))[::9]])
    x = torch.from_numpy(normalise(pixels, manifest.preprocessing))
    for file in done.files:
        outputs = open_model(file.path, trust=True).run(pixels)
        seen = grad_cam(model, x, torch.from_numpy(outputs["prediction"].argmax(1))).numpy()
        np.testing.assert_allclose(np.maximum(outputs["cam"], 0), seen * seen[0].size, atol=1e-3 * seen.max() * 64)
        assert len({row.tobytes() for row in (outputs["cam"] > 0)}) > 3, "maps differ from image to image"
        assert file.comparison.heat_map.max_difference < 1e-2
    assert "heat maps off by at most" in done.comparison.to_line()
    assert "Heat maps against torch's Grad-CAM" in done.card.read_text()
    carried = open_model(done.path, trust=True).manifest.parity
    assert carried.heat_map_difference == done.comparison.heat_map.max_difference


def test_a_map_of_the_wrong_layer_is_caught_and_leaves_no_file(hidden_layer, monkeypatch, tmp_path):
    real = head_gradient._derivative
    monkeypatch.setattr(
        head_gradient, "_derivative", lambda layer, x, y: 1.0 if isinstance(layer, torch.nn.ReLU) else real(layer, x, y)
    )
    with pytest.raises(CatseyeError, match="the heat maps of the exported file differ from the run's"):
        export(hidden_layer, out=tmp_path, device="cpu")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NETWORKS)
def test_golden_pairs_reproduce(name, exported):
    import onnxruntime

    folder = exported[name].golden
    golden = json.loads((folder / "golden.json").read_text())
    assert len(golden["pairs"]) == 3
    model = open_onnx(exported[name].path)
    assert golden["model_sha256"] == model.sha256
    session = onnxruntime.InferenceSession(exported[name].path, providers=["CPUExecutionProvider"])
    for pair in golden["pairs"]:
        tensor = np.load(folder / pair["tensor"], allow_pickle=False)
        made = tensor_of(preprocess(folder / pair["image"], model.manifest.preprocessing)[None], model.manifest)
        np.testing.assert_array_equal(tensor, made)
        (probability,) = session.run(["probability"], {"image": tensor})
        np.testing.assert_allclose(probability[0], pair["probabilities"], atol=golden["tolerance"])


def test_float_input_and_a_temperature(runs, tmp_path, shapes):
    """`--input float` takes what most tools hand over; a temperature is applied inside the file."""
    run = tmp_path / "run"
    run.mkdir()
    for file in runs["simple"].iterdir():
        if file.is_file() and not file.name.startswith("."):
            (run / file.name).write_bytes(file.read_bytes())
    model, manifest = load_model(run, torch.device("cpu"))
    warm = manifest.model_copy(update={"temperature": 2.5, "unknown_threshold": 0.5})
    save_model(run / "model.safetensors", model.state_dict(), warm)
    done = export(run, input="float", out=tmp_path / "deep" / "float.onnx", device="cpu")
    opened = open_onnx(done.path)
    assert opened.manifest.temperature == 2.5
    assert opened.inputs[0][2] == ["batch", 3, 32, 32]
    image = shapes / "circle" / "000.png"
    mine, theirs = (catseye.load(one, device="cpu").predict(image) for one in (run, done.path))
    np.testing.assert_allclose(mine.probabilities, theirs.probabilities, atol=1e-5)
    assert mine.unknown == theirs.unknown
    assert "float32, (x / 255 - mean) / std" in (tmp_path / "deep" / "export.md").read_text()


def swap_channels(monkeypatch):
    real = graph_module.to_unit
    monkeypatch.setattr(graph_module, "to_unit", lambda pixels: real(pixels.flip(1)))


def leave_out_the_normalisation(monkeypatch):
    monkeypatch.setattr(graph_module, "normalise_batch", lambda x, spec: x)


def resize_with_another_filter(monkeypatch):
    real = onnx_file.render_onnx

    def render(proto, manifest):
        spec = manifest.preprocessing.model_copy(update={"filter": "bicubic"})
        return real(proto, manifest.model_copy(update={"preprocessing": spec}))

    monkeypatch.setattr(onnx_file, "render_onnx", render)


def cut_instead_of_padding(monkeypatch):
    real = onnx_file.render_onnx

    def render(proto, manifest):
        spec = manifest.preprocessing.model_copy(update={"resize": "crop"})
        return real(proto, manifest.model_copy(update={"preprocessing": spec}))

    monkeypatch.setattr(onnx_file, "render_onnx", render)


@pytest.mark.parametrize(
    "break_it",
    [swap_channels, leave_out_the_normalisation, resize_with_another_filter, cut_instead_of_padding],
    ids=lambda f: f.__name__,
)
def test_a_broken_preprocessing_is_caught_and_leaves_no_file(break_it, runs, monkeypatch):
    break_it(monkeypatch)
    with pytest.raises(CatseyeError, match="was not written") as error:
        export(runs["simple"], device="cpu")
    assert ".png: |Δp|" in str(error.value)
    assert error.value.exit_code == 1
    assert not (runs["simple"] / "export").exists()


def forget_the_spread(monkeypatch):
    """The class means without the features' spread: a plausible mistake that changes no class."""
    real = graph_module.Graph.__init__

    def init(self, model, manifest):
        real(self, model, manifest)
        self.familiarity = deepcopy(self.familiarity)
        self.familiarity.scale.fill_(1.0)

    monkeypatch.setattr(graph_module.Graph, "__init__", init)


def leave_out_familiarity(monkeypatch):
    real = graph_module.Graph.__init__

    def init(self, model, manifest):
        real(self, model, manifest)
        self.familiarity = None

    monkeypatch.setattr(graph_module.Graph, "__init__", init)


@pytest.mark.parametrize("break_it", [forget_the_spread, leave_out_familiarity], ids=lambda f: f.__name__)
def test_a_file_that_would_refuse_other_strangers_is_not_written(break_it, runs, monkeypatch):
    break_it(monkeypatch)
    with pytest.raises(CatseyeError, match="does not detect unknown images as the run does"):
        export(runs["simple"], device="cpu")
    assert not (runs["simple"] / "export").exists()


def test_a_failed_proof_leaves_the_proved_file_of_before(runs, tmp_path, monkeypatch):
    done = export(runs["lenet5"], out=tmp_path, device="cpu")
    before = done.path.read_bytes()
    leave_out_the_normalisation(monkeypatch)
    with pytest.raises(CatseyeError, match="was not written"):
        export(runs["lenet5"], out=tmp_path, device="cpu")
    assert done.path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["export.md", "model.onnx"]


def test_export_info_evaluate(command, runs, shapes, tmp_path):
    run = runs["lenet5"]
    code, told, said = command("export", run, "--out", "here", "--device", "cpu")
    assert code == 0
    assert "parity on 24 test images, from file bytes: 100.00% equal answers" in told
    assert "next: catseye predict here/model.onnx" in told
    assert "arning" not in said
    _, told, _ = command("export", run, "--json", "--golden", 2, "--out", "here/m.onnx", "--device", "cpu")
    (result,) = json.loads(told)["files"]
    assert (result["parity"]["agreement"], result["path"]) == (1.0, "here/m.onnx")
    info = json.loads(command("info", "here/m.onnx", "--json")[1])
    assert info["operators"]["Conv"] == 3
    assert info["sha256"] == result["sha256"]
    assert info["manifest"]["parity"]["num_images"] == 24
    told = " ".join(command("info", run)[1].split())
    assert "safetensors" in told
    assert "test images 24" in told
    assert "where an image's familiarity (cosine of its features" in told
    assert result["sha256"] in command("info", "here/m.onnx")[1].replace("\n", "").replace(" ", "")
    held_out = [shapes / name for name in open_run(run).data["splits"]["test"]]
    for file in held_out:  # the run scores these alone, the file whatever it is given
        (tmp_path / "held-out" / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / "held-out" / file.parent.name)
    scores = [json.loads(command("evaluate", one, "held-out", "--json")[1]) for one in (run, "here/m.onnx")]
    assert scores[0]["num_images"] == len(held_out)
    assert scores[0]["confusion"] == scores[1]["confusion"]


def test_exit_codes(command, runs, monkeypatch):
    assert command("export", runs["lenet5"], "--to", "coreml")[0] == 2
    assert command("export", runs["lenet5"], "--to", "torchscript", "--int8")[0] == 2
    assert command("export", runs["lenet5"], "--golden", 1000)[0] == 2
    assert command("export", "nowhere")[0] == 1
    assert command("info", "nowhere.onnx")[0] == 1
    leave_out_the_normalisation(monkeypatch)
    code, told, said = command("export", runs["lenet5"], "--out", "here")
    assert (code, told) == (1, "")
    assert "worst images" in said
    assert "Traceback" not in said


def test_an_exported_file_works_where_there_is_no_torch(exported, shapes):
    refuse = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "timm", "sklearn", "matplotlib", "onnx", "onnxscript"}:
            raise ModuleNotFoundError(f"{name} was imported", name=name.split(".")[0])
sys.meta_path.insert(0, Refuse())
"""
    file, image = str(exported["residual"].path), str(shapes / "circle" / "000.png")
    for code in (
        f"import catseye\nprint(catseye.load({file!r}).predict({image!r}).label)",
        f"sys.argv = ['catseye', 'predict', {file!r}, {image!r}]\nfrom catseye.cli import main\nmain()",
        f"sys.argv = ['catseye', 'info', {file!r}]\nfrom catseye.cli import main\nmain()",
    ):
        done = subprocess.run([sys.executable, "-c", refuse + code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_bad_requests(runs, tmp_path, monkeypatch):
    run = runs["lenet5"]
    with pytest.raises(UsageError, match="--to is one of: onnx"):
        export(run, to="coreml")
    with pytest.raises(UsageError, match="--input is uint8 or float"):
        export(run, input="int8")
    with pytest.raises(UsageError, match="0 to 100; got -1"):
        export(run, max_drop=-1)
    with pytest.raises(CatseyeError, match="unknown option 'max_dorp'; did you mean max_drop"):
        export(run, max_dorp=1)
    with pytest.raises(UsageError, match="several will be written; give a folder"):
        export(run, to=["onnx", "torchscript"], out=tmp_path / "m.onnx")
    with pytest.raises(UsageError, match=r"ends in \.xml"):
        export(run, to="openvino", out=tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match="not a run folder"):
        export(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be made"):
        export(run, out=tmp_path / "file" / "below")
    with pytest.raises(UsageError, match="add DATA"):
        catseye.evaluate(export(run, out=tmp_path / "m.onnx", device="cpu").path)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingDependency, match=r"pip install 'catseye\[export\]'"):
        export(run, out=tmp_path)


def test_without_its_images_a_run_cannot_be_proved(images, tmp_path):
    root = images({"a": 12, "b": 12}, height=32, width=32)
    run = catseye.train(root, model="lenet5", epochs=1, out=tmp_path / "run", device="cpu").path
    gone = next(iter(open_run(run).data["splits"]["test"]))
    (root / gone).unlink()
    with pytest.raises(DataError, match="1 image of the run is missing"):
        export(run)
    assert not (run / "export").exists()


def test_images_without_files_go_through_png_bytes(tmp_path):
    digits = open_source("digits")
    names = {digits.names[index]: digits.classes[digits.labels[index]] for index in range(300)}
    facts = {"source": "digits", "data_dir": None, "splits": {"train": {}, "val": {}, "test": names}}
    write_json(tmp_path / "data.json", facts)
    spec = Preprocessing(height_px=8, width_px=8, channels=1, mean=(0.3,), std=(0.3,))
    manifest = Manifest(classes=digits.classes, preprocessing=spec, architecture=Architecture(name="any"))
    found = read_held_out(Run(tmp_path), manifest, 256)
    assert (found.split, len(found.names)) == ("test", 256)
    for name, content, label in zip(found.names, found.contents, found.labels, strict=True):
        assert content.startswith(b"\x89PNG")
        np.testing.assert_array_equal(preprocess(content, spec), digits.read(int(name)))
        assert names[name] == manifest.classes[label]


@pytest.mark.slow
@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("name", [one.name for one in timeline.MILESTONES])
def test_every_milestone_passes_the_gate(name, side, runs, tmp_path, monkeypatch):
    """Fresh weights, but batch-norm statistics from a forward pass, so that the answers differ between images."""
    monkeypatch.setattr(export_module, "NUM_IMAGES", 8)
    run = tmp_path / "run"
    run.mkdir()
    for file in ("settings.toml", "data.json"):
        (run / file).write_bytes((runs["simple"] / file).read_bytes())
    _, manifest = load_model(runs["simple"], torch.device("cpu"))
    spec = manifest.preprocessing.model_copy(update={"height_px": side, "width_px": side})
    manifest = manifest.model_copy(update={"preprocessing": spec, "architecture": Architecture(name=name)})
    torch.manual_seed(0)
    model = registry.create(name, num_classes=3, input_px=side).train()
    contents = read_held_out(open_run(runs["simple"]), manifest, 8).contents
    pixels = torch.from_numpy(np.stack([preprocess(one, spec) for one in contents])).permute(0, 3, 1, 2)
    for layer in model.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.momentum = None  # the plain mean, so that one pass is enough
    with torch.inference_mode():
        model.features(normalise_batch(to_unit(pixels), spec))
    save_model(run / "model.safetensors", model.state_dict(), manifest)
    done = export(run, device="cpu")
    print(name, side, f"{done.num_bytes / 1e6:.2f} MB", done.comparison.to_line())
    assert done.comparison.agreement == 1.0
