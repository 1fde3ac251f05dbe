"""`catseye explain`: a picture in, a PNG with its map out."""

import sys

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


def test_the_command_writes_a_picture(run, shapes, tmp_path, monkeypatch, capsys):
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
    picture = shapes / "square/003.png"
    own = explain(run, picture, out=tmp_path / "own.png", device="cpu")
    other = explain(run, picture, target="stripes", out=tmp_path / "other.png", device="cpu")
    assert own.label == "square"
    assert other.label == "stripes"
    assert own.probability > other.probability
    assert not np.array_equal(own.heat, other.heat)


def test_what_it_refuses(run, shapes, tmp_path):
    picture = shapes / "square/003.png"
    with pytest.raises(UnknownName, match="square"):
        explain(run, picture, target="squar", device="cpu")
    with pytest.raises(UsageError, match=r"ends in \.png"):
        explain(run, picture, out=tmp_path / "map.jpg", device="cpu")
    with pytest.raises(UsageError, match="gradients"):
        explain(tmp_path / "model.onnx", picture)


def test_heat_is_yellow_and_cold_is_violet():
    found = overlay(np.zeros((1, 2, 1), np.uint8), np.array([[0.0, 1.0]], np.float32), strength=1.0)
    assert found.tolist() == [[[68, 1, 84], [253, 231, 37]]]
