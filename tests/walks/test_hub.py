"""A run as a folder for the Hugging Face Hub: timm loads it and answers as catseye does, offline."""

import json
import re

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import ModelCard
from PIL import Image

import catseye
from catseye.data.augment import normalise_batch, to_unit
from catseye.errors import CatseyeError, UsageError
from catseye.exporting import hub as hub_module
from catseye.exporting.export import export
from catseye.exporting.hub import CROP_MODES, twin_of, write_hub_folder
from catseye.manifest import Architecture, Manifest
from catseye.models import registry
from catseye.models.timm_twins import find_twin, open_timm_folder
from catseye.preprocess import preprocess
from tests.conftest import random_pixels


@pytest.fixture(scope="module")
def timm_run(shapes, tmp_path_factory):
    out = tmp_path_factory.mktemp("hub") / "run"
    return catseye.train(shapes, model="timm:test_efficientnet", epochs=2, out=out, device="cpu", progress=None)


@pytest.fixture(scope="module")
def folder(timm_run, tmp_path_factory):
    return export(timm_run, to="hub", out=tmp_path_factory.mktemp("out"), device="cpu").path


def answer_of_timm(folder, paths):
    """Logits as a user of timm gets them, from pixels made by catseye."""
    net = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    spec = catseye.load(folder).manifest.preprocessing
    pixels = torch.from_numpy(np.stack([preprocess(path, spec) for path in paths]))
    with torch.inference_mode():
        return net(normalise_batch(to_unit(pixels.permute(0, 3, 1, 2)), spec)).numpy()


def test_timm_answers_as_the_run(timm_run, folder, shapes):
    paths = sorted(shapes.rglob("*.png"))[::5]
    mine = catseye.load(timm_run, device="cpu")
    logits = mine.logits(np.stack([preprocess(path, mine.manifest.preprocessing) for path in paths]))
    assert np.abs(logits).max() > 0.1
    np.testing.assert_allclose(answer_of_timm(folder, paths), logits, atol=1e-5)


def test_what_is_in_the_folder(timm_run, folder):
    assert sorted(one.name for one in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    config = json.loads((folder / "config.json").read_text())
    spec = timm_run.classifier.manifest.preprocessing
    net = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert config["architecture"] == "test_efficientnet"
    assert net.pretrained_cfg["label_names"] == list(timm_run.classifier.classes) == ["circle", "square", "stripes"]
    found = timm.data.resolve_data_config(model=net)
    assert found["input_size"] == (3, spec.height_px, spec.width_px)
    assert (tuple(found["mean"]), tuple(found["std"])) == (spec.mean, spec.std)
    assert (found["interpolation"], found["crop_mode"]) == (spec.filter, CROP_MODES[spec.resize])


def test_the_card_is_one_the_hub_reads(timm_run, folder):
    card = ModelCard.load(folder / "README.md")
    assert card.data.license is None, "the user's to choose"
    assert (card.data.library_name, card.data.pipeline_tag) == ("timm", "image-classification")
    (accuracy, f1) = card.data.eval_results
    metrics = timm_run.run.metrics
    assert (accuracy.metric_type, accuracy.metric_value) == ("accuracy", metrics["accuracy"])
    assert (f1.metric_type, f1.metric_value) == ("f1", metrics["macro"]["f1"])
    low, high = metrics["accuracy_95_interval"]
    assert f"| {metrics['accuracy']:.2%} | {low:.2%} – {high:.2%} |" in card.text
    assert "`circle`, `square`, `stripes`" in card.text
    assert "hf upload USER/NAME FOLDER" in card.text


@pytest.mark.parametrize("resize", ["pad", "crop", "squash"])
def test_the_code_of_the_card_runs_and_answers_as_catseye(resize, timm_run, tmp_path, monkeypatch, capsys):
    classifier = catseye.load(timm_run, device="cpu")
    spec = classifier.manifest.preprocessing.model_copy(update={"resize": resize, "fill": 40})
    manifest = classifier.manifest.model_copy(update={"preprocessing": spec, "temperature": 1.7})
    write_hub_folder(twin_of(timm_run.model, manifest), tmp_path / "FOLDER", manifest)
    Image.fromarray(random_pixels(3, 37, 50)).save(tmp_path / "image.jpg")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (tmp_path / "FOLDER" / "README.md").read_text(), re.DOTALL)
    names = {}
    exec(code, names)
    expected = catseye.load("FOLDER", device="cpu").predict("image.jpg")
    assert capsys.readouterr().out.strip() == expected.label
    # Pillow's ready-made functions round borders and boxes on their own: by less than a pixel.
    np.testing.assert_allclose(names["probabilities"], expected.probabilities, atol=0.02)


def network_and_manifest(name, channels, input_px, **options):
    model = registry.create(name, num_classes=4, in_channels=channels, input_px=input_px, **options).eval()
    spec = {"height_px": input_px, "width_px": input_px, "channels": channels}
    spec |= {"mean": (0.4,) * channels, "std": (0.3,) * channels}
    architecture = Architecture(name=name, options=options)
    return model, Manifest(classes=tuple("abcd"), preprocessing=spec, architecture=architecture)


@pytest.mark.parametrize(
    ("name", "channels", "input_px", "options"),
    [
        ("resnet18", 1, 96, {}),
        ("resnet18", 3, 48, {"stem": "standard"}),
        ("timm:test_resnet.r160_in1k", 1, 64, {}),
        ("timm:test_convnext", 3, 64, {}),
    ],
)
def test_colours_stems_and_families(name, channels, input_px, options, tmp_path):
    torch.manual_seed(0)
    model, manifest = network_and_manifest(name, channels, input_px, **options)
    write_hub_folder(twin_of(model, manifest), tmp_path / "hub", manifest)
    x = torch.randn(2, channels, input_px, input_px)
    with torch.inference_mode():
        theirs = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).eval()(x)
        torch.testing.assert_close(theirs, model(x), atol=1e-5, rtol=1e-5)
    pixels = np.random.default_rng(0).integers(0, 256, (2, input_px, input_px, channels), np.uint8)
    with torch.inference_mode():
        expected = model(normalise_batch(to_unit(torch.from_numpy(pixels).permute(0, 3, 1, 2)), manifest.preprocessing))
    mine = catseye.load(tmp_path / "hub", device="cpu").logits(pixels)
    np.testing.assert_allclose(mine, expected.numpy(), atol=1e-4, err_msg="catseye reads its own folder")


@pytest.mark.parametrize("name", ["timm:test_efficientnet", "resnet18"])
def test_the_head_of_transfer_learning_is_timms_classifier(name, tmp_path):
    """What `--pretrained` makes: published features and a fresh linear layer."""
    torch.manual_seed(0)
    model, manifest = network_and_manifest(name, 3, 80, head="linear")
    write_hub_folder(twin_of(model, manifest), tmp_path / "hub", manifest)
    x = torch.randn(2, 3, 80, 80)
    with torch.inference_mode():
        theirs = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).eval()(x)
        torch.testing.assert_close(theirs, model(x), atol=1e-5, rtol=1e-5)
    again = catseye.load(tmp_path / "hub", device="cpu")
    assert again.logits(np.zeros((1, 80, 80, 3), np.uint8)).shape == (1, 4)


@pytest.mark.parametrize("name", ["timm:test_convnext", "timm:mobilenetv3_small_050"])
def test_a_head_of_more_layers_that_was_replaced_is_refused(name):
    model, manifest = network_and_manifest(name, 3, 64, head="linear")
    with pytest.raises(UsageError, match="transfer learning has replaced a head of several layers"):
        twin_of(model, manifest)


def test_timm_can_go_on_to_another_task(folder):
    """The names of the first and the last layer are there, so that timm replaces them as in its own networks."""
    net = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=7, in_chans=1)
    assert net(torch.zeros(1, 1, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize(
    ("name", "input_px", "said"),
    [
        ("residual", 32, "got residual"),
        ("mobilenet_v3_small", 96, "got mobilenet_v3_small"),
        ("vgg11", 96, "vgg11 differs from timm's at "),
        (
            "resnet18",
            32,
            "conv1.weight: (64, 3, 3, 3) here, (64, 3, 7, 7) there (small inputs get a smaller first layer",
        ),
        ("timm:test_resnet+test_convnext", 64, "got timm:test_resnet"),
    ],
)
def test_networks_that_timm_has_not_are_refused_with_what_to_take(name, input_px, said):
    with torch.device("meta"):
        model = registry.create(name, num_classes=3, in_channels=3, input_px=input_px)
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        find_twin(model, name, num_classes=3, in_channels=3)
    assert "use --to onnx" in str(caught.value)
    assert "--model timm:NAME" in str(caught.value)


def test_a_run_that_timm_has_not_costs_its_own_folder_only(runs, tmp_path):
    with pytest.raises(CatseyeError, match=r"got simple; use --to onnx.*\nwritten and proved: .*model.onnx"):
        export(runs["simple"], to=("hub", "onnx"), out=tmp_path, device="cpu")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["export.md", "model.onnx"]


def test_the_gate_asks_timm_itself(timm_run, tmp_path, monkeypatch):
    """Weights that end in the wrong place are found before anything is in its place."""

    def exchanged(folder):
        net, version = open_timm_folder(folder)
        with torch.no_grad():
            net.classifier.weight.copy_(net.classifier.weight.roll(1, 0))
        return net, version

    monkeypatch.setattr(hub_module, "open_timm_folder", exchanged)
    with pytest.raises(CatseyeError, match="does not answer as the run does"):
        export(timm_run, to="hub", out=tmp_path, device="cpu")
    assert not list(tmp_path.iterdir())


def test_an_edited_card_is_kept(timm_run, tmp_path):
    card = export(timm_run, to="hub", out=tmp_path, device="cpu").path / "README.md"
    written = card.read_text()
    export(timm_run, to="hub", out=tmp_path, device="cpu")
    assert not card.with_name("README.md.bak").exists()
    card.write_text(written.replace("# license: choose one;", "license: mit #"))
    export(timm_run, to="hub", out=tmp_path, device="cpu")
    assert card.read_text() == written
    assert "license: mit" in card.with_name("README.md.bak").read_text()


def test_a_file_is_not_a_folder(timm_run, tmp_path):
    with pytest.raises(UsageError, match="--to hub writes a folder"):
        export(timm_run, to="hub", out=tmp_path / "m.onnx", device="cpu")


def test_the_command_and_what_it_wrote_answer(timm_run, shapes, tmp_path, command):
    code, _, err = command(
        "export", timm_run.path, "--to", "hub", "--out", tmp_path / "x", "--golden", "2", "--device", "cpu"
    )
    assert code == 0, err
    assert json.loads((tmp_path / "x/golden/golden.json").read_text())["input_kind"] == "float"
    code, out, _ = command("predict", "--json", tmp_path / "x" / "hub", next(shapes.rglob("*.png")))
    assert code == 0
    code, out, _ = command("info", tmp_path / "x" / "hub")
    assert "timm:test_efficientnet" in out


def test_a_name_in_the_card_stays_a_name(timm_run, tmp_path):
    """A folder's name is not Markdown, HTML or YAML."""
    _, manifest = network_and_manifest("timm:test_resnet", 3, 64)
    origin = manifest.provenance.model_copy(
        update={"data_name": 'x: "y"\n- <b>|', "metrics": {"test_accuracy": 0.5, "test_num_images": 8.0}}
    )
    classes = ("a`b", "<script>", "c|d", "[e](f)")
    manifest = manifest.model_copy(update={"classes": classes, "provenance": origin})
    text = hub_module.hub_card(manifest, "test_resnet")
    card = ModelCard(text)
    assert card.data.eval_results[0].dataset_name == origin.data_name
    assert "<script>" not in card.text.replace("`<script>`", "")
    assert "`a b`" in card.text
