"""`catseye explain`: an image in, a PNG with its map out."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import catseye
from catseye import cli
from catseye.errors import UnknownName, UsageError
from catseye.explanation.explain import explain, overlay


@pytest.fixture(scope="module")
def run(shapes, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "shapes"
    settings = {"training.batch_size": 16, "training.lr": 0.02}
    return catseye.train(shapes, out=out, epochs=5, device="cpu", settings=settings).path


def test_the_command_writes_a_image(run, shapes, tmp_path, monkeypatch, capsys):
    out = tmp_path / "map.png"
    words = [
        "catseye",
        "explain",
        run,
        shapes / "circle/000.png",
        "--out",
        out,
        "--method",
        "gradcam++",
        "--device",
        "cpu",
    ]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    cli.main()
    told = capsys.readouterr().out
    assert "circle" in told
    assert "deletion" in told
    with Image.open(out) as image:
        assert image.width == 2 * image.height > 600


def test_another_class_can_be_asked_about(run, shapes, tmp_path):
    image = shapes / "square/003.png"
    own = explain(run, image, out=tmp_path / "own.png", device="cpu")
    other = explain(run, image, target="stripes", out=tmp_path / "other.png", device="cpu")
    assert own.label == "square"
    assert other.label == "stripes"
    assert own.probability > other.probability
    assert not np.array_equal(own.heat, other.heat)


def test_what_it_refuses(run, shapes, tmp_path):
    image = shapes / "square/003.png"
    with pytest.raises(UnknownName, match="square"):
        explain(run, image, target="squar", device="cpu")
    with pytest.raises(UsageError, match=r"ends in \.png"):
        explain(run, image, out=tmp_path / "map.jpg", device="cpu")
    with pytest.raises(UsageError, match="gradients"):
        explain(tmp_path / "model.onnx", image)


def test_heat_is_yellow_and_cold_is_violet():
    found = overlay(np.zeros((1, 2, 1), np.uint8), np.array([[0.0, 1.0]], np.float32), strength=1.0)
    assert found.tolist() == [[[68, 1, 84], [253, 231, 37]]]


def command(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["catseye", "explain", *(str(word) for word in words)])
    code = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = ended.code
    told = capsys.readouterr()
    return code, told.out, told.err


def test_a_folder_takes_the_map_too(run, shapes, tmp_path, monkeypatch, capsys):
    for words in ([run], ["cam", run]):  # with and without the verb
        out = tmp_path / str(len(words))
        code, told, _ = command(monkeypatch, capsys, *words, shapes / "circle/000.png", "--out", out, "--device", "cpu")
        assert code == 0
        assert str(out / "000-gradcam.png") in told.replace("\n", "")
        with Image.open(out / "000-gradcam.png") as image:
            assert image.width > 600


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["kernels"], ["kernels"]),
        (["kernels", "IMAGE"], ["answers", "kernels"]),
        (["feature-maps", "IMAGE", "--layer", "features.0"], ["features.0"]),
        (["receptive-field", "IMAGE"], None),
        (
            ["receptive-field", "IMAGE", "--layer", "features.0.0.0", "--channel", "3", "--at", "2,5"],
            ["features.0.0.0"],
        ),
    ],
)
def test_the_other_verbs_write_figures_and_a_page(run, shapes, tmp_path, monkeypatch, capsys, words, names):
    image = str(shapes / "square/003.png")
    rest = [image if word == "IMAGE" else word for word in words[1:]]
    out = tmp_path / "seen"
    code, told, said = command(monkeypatch, capsys, words[0], run, *rest, "--out", out, "--device", "cpu", "--json")
    assert code == 0, said
    written = [Path(path) for path in json.loads(told)["written"]]
    assert written[-1] == out / "index.html"
    assert names is None or sorted(path.stem for path in written[:-1]) == names
    page = written[-1].read_text()
    for path in written[:-1]:
        assert f'src="{path.name}"' in page
        with Image.open(path) as image:
            assert image.width > 100


def test_feature_maps_of_six_layers(run, shapes, tmp_path):
    from catseye.explanation import figures

    found = figures.draw_feature_maps(run, shapes / "circle/000.png", device="cpu")
    assert 3 <= len(found) <= figures.NUM_LAYERS
    assert next(iter(found)).startswith("features.0")
    assert list(figures.draw_cam(run, shapes / "circle/000.png", device="cpu")) == ["gradcam"]
    with pytest.raises(UsageError, match="channels 0 to"):
        figures.draw_receptive_field(run, shapes / "circle/000.png", channel=10**6, device="cpu")
    with pytest.raises(UnknownName, match="no-layer"):
        figures.draw_feature_maps(run, shapes / "circle/000.png", layer="no-layer", device="cpu")


def test_gradient_flow_in_a_terminal(tmp_path, monkeypatch, capsys):
    out = tmp_path / "flow"
    words = ("gradient-flow", "--depth", 10, "--steps", 2, "--out", out)
    code, told, said = command(monkeypatch, capsys, *words)
    assert code == 0, said
    assert "0.8 to the power of 9: 0.13" in told
    assert "with skips" in told
    assert (out / "gradient-flow.png").stat().st_size > 10_000
    code, told, _ = command(monkeypatch, capsys, *words, "--json")
    content = json.loads(told)
    assert len(content["plain"]["start"]["signal"]) == 9
    assert len(content["residual"]["losses"]) == 2
    assert content["written"][-1].endswith("index.html")


def test_what_the_verbs_refuse(run, shapes, monkeypatch, capsys):
    code, _, said = command(monkeypatch, capsys, "kernals", run, "x.png")
    assert code == 2
    assert "kernels" in said
    code, _, said = command(monkeypatch, capsys, "gradient-flow", "--depth", 51)
    assert code == 2
    assert "even number from 10 to 100" in said
    code, _, said = command(monkeypatch, capsys, "receptive-field", run, shapes / "circle/000.png", "--at", "3")
    assert code == 2
    assert "--at is ROW,COLUMN" in said
