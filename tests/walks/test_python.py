"""The Python API as a notebook uses it: objects that answer, one for every function, and foreign text escaped."""

import copy
import io
import json
import pickle
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

import catseye
from catseye.errors import CatseyeError, Interrupted, ModelFileError, UsageError
from catseye.runs import open_run
from tests import doors, forked
from tests.conftest import deliver

CLASSES = ("<b>plum</b>", "fig", "lime")


def arrays(seed=0, num=48):
    """Noisy images of a tint per class, and their classes; one class has a name that would be a tag."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % 3
    images = rng.integers(0, 150, (num, 32, 32, 3))
    images[np.arange(num), :, :, labels] += 70
    return images.clip(0, 255).astype(np.uint8), [CLASSES[label] for label in labels]


QUICK = {"model": "lenet5", "recipe": "quick", "epochs": 1, "device": "cpu", "progress": None}
QUICK["set"] = {"training.batch_size": 16, "data.near_copies": "ignore", "data.input_px": 32}


@pytest.fixture(scope="module")
def data():
    return arrays()


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return catseye.train(*data, out=tmp_path_factory.mktemp("python") / "run", **QUICK)


@pytest.fixture(scope="module")
def exported(run):
    return catseye.export(run, device="cpu")


@pytest.fixture(scope="module")
def evaluation(run, tmp_path_factory):
    return catseye.evaluate(run, device="cpu", out=tmp_path_factory.mktemp("evaluated"))


# --- what train returns goes everywhere -------------------------------------------------------------------------------


def test_every_function_takes_what_train_load_and_export_return(run, exported, data, tmp_path):
    classifier = catseye.load(run, device="cpu")
    accuracy = run.metrics.accuracy
    for model in (
        run,
        run.path,
        str(run.path),
        run.run,
        catseye.open_run(run),
        classifier,
        exported,
        exported.files[0],
    ):
        options = {} if Path(model).is_dir() else {"data": (data[0], data[1])}
        found = catseye.evaluate(model, out=tmp_path / "evaluated", device="auto", **options).metrics
        assert found.num_images == (run.metrics.num_images if Path(model).is_dir() else len(data[0]))
        assert catseye.info(model).manifest.classes == CLASSES
        assert catseye.predict(model, data[0][:2])[1].top[0][0] in CLASSES
        if Path(model).is_dir():
            assert found.accuracy == accuracy
            assert catseye.summary(model).num_parameters == catseye.summary(run).num_parameters
            assert catseye.explain(model, data[0][0]).heat.shape == (32, 32)
    assert catseye.calibrate(run, device="cpu").validation.num_images
    assert catseye.bench([exported, run], batch=1, threads=1, seconds=0.01, rounds=1).rows[0].file == "run"
    with pytest.raises(UsageError, match=r"what catseye\.train.*got an object of type dict"):
        catseye.evaluate({"run": run})


def test_a_server_in_the_background_answers_and_stops(run, exported, data):
    stream = io.BytesIO()
    Image.fromarray(data[0][1]).save(stream, "PNG")
    with catseye.serve(run, background=True, port=0, quiet=True) as server:
        request = urllib.request.Request(f"{server.address}/predict", stream.getvalue(), {"Content-Type": "image/png"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert json.load(answer)["class"] == catseye.predict(exported, data[0][1])[0].top[0][0]
    server.stop()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(server.address, timeout=2)


def test_a_run_without_an_export_says_what_to_do_before_it_is_served(run, tmp_path):
    (tmp_path / "settings.toml").write_bytes((run.path / "settings.toml").read_bytes())
    with pytest.raises(UsageError, match=r"catseye\.export\(run\)"):
        catseye.serve(tmp_path)


# --- objects that answer ----------------------------------------------------------------------------------------------


def test_a_run_answers(run, data):
    assert run.model is run.model
    assert isinstance(run.model, nn.Module)
    assert not run.model.training
    x = torch.from_numpy(data[0][:4]).permute(0, 3, 1, 2) / 255
    spec = run.classifier.manifest.preprocessing
    x = (x - torch.tensor(spec.mean).view(1, -1, 1, 1)) / torch.tensor(spec.std).view(1, -1, 1, 1)
    logits = run.model(x).detach().numpy()
    predictions = [run.classifier.predict(image, return_logits=True) for image in data[0][:4]]
    np.testing.assert_allclose(logits, [one.logits for one in predictions], atol=1e-4)
    assert run.classifier.predict(data[0][0]).logits is None
    assert run.settings.training.epochs == 1
    assert run.history[0]["epoch"] == 1
    assert list(run.history.to_frame()["epoch"]) == [1]
    assert isinstance(run.history.plot(), Figure)
    assert run.metrics.accuracy == catseye.open_run(run).metrics["accuracy"]


def test_features_are_what_the_head_sees(run, exported, data):
    one, many = run.classifier.features(data[0][3]), run.classifier.features(list(data[0][2:5]))
    assert one.ndim == 1
    np.testing.assert_allclose(many[1], one, atol=1e-5)
    again = pickle.loads(pickle.dumps(catseye.load(run, device="cpu")))
    np.testing.assert_allclose(again.features(data[0][3]), one, atol=1e-5)
    assert again.predict(data[0][3]).familiarity == pytest.approx(run.classifier.predict(data[0][3]).familiarity)
    with pytest.raises(UsageError, match="no layers to take features from"):
        catseye.load(exported).features(data[0][3])


def test_an_evaluation_answers_image_by_image(run, evaluation):
    frame = evaluation.predictions
    assert list(frame.columns) == ["image", "label", "predicted", "confidence", "split", *(f"p_{c}" for c in CLASSES)]
    assert len(frame) == evaluation.metrics.num_images
    assert (frame["label"] == frame["predicted"]).mean() == pytest.approx(evaluation.metrics.accuracy)
    np.testing.assert_allclose(frame[[f"p_{c}" for c in CLASSES]].sum(axis=1), 1)
    assert set(frame["split"]) == {"test"}
    assert evaluation.confusion.sum() == len(frame)
    assert isinstance(evaluation.plot_confusion(), Figure)


def test_mistakes_are_the_surest_first(evaluation):
    frame = evaluation.predictions
    wrong = frame[frame["label"] != frame["predicted"]].sort_values("confidence", ascending=False, kind="stable")
    found = evaluation.mistakes(3)
    assert [one.image for one in found] == list(wrong["image"])[:3]
    assert len(evaluation.mistakes(0)) == 0
    assert isinstance(evaluation.show_mistakes(), Figure)


def test_without_pandas_its_extra_is_named(evaluation, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(CatseyeError, match=r"pandas, which is not installed.*catseye\[notebook\]"):
        _ = evaluation.predictions


def test_a_batch_is_shown_as_it_is_trained_on(run):
    figure = run.show_batch(6)
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(images) == 6
    assert {axes.get_title() for axes in figure.axes if axes.images} <= set(CLASSES)
    other = [axes.images[0].get_array() for axes in run.show_batch(6, epoch=1).axes if axes.images]
    assert any((one != two).any() for one, two in zip(images, other, strict=True))


def test_what_a_notebook_shows_is_escaped(run, exported, evaluation, data, tmp_path):
    # One that has learnt next to nothing, so that the two disagree.
    second = catseye.train(
        *data, seed=1, out=tmp_path / "second", **QUICK | {"set": {**QUICK["set"], "training.lr": 1e-7}}
    )
    comparison = catseye.compare([run, second], data, device="cpu")
    verdict = catseye.check(np.concatenate([data[0], data[0][:1]]), [*data[1], data[1][0]])
    shown = {
        "run": run,
        "opened run": catseye.open_run(run),
        "history": run.history,
        "evaluation": evaluation,
        "prediction": run.classifier.predict(data[0][0]),
        "predictions": catseye.predict(run, data[0][:3], top=3),
        "check": verdict,
        "comparison": comparison,
        "exported": exported,
        "explanation": catseye.explain(run, data[0][0]),
        "models": catseye.list_models(),
    }
    html = {name: thing._repr_html_() for name, thing in shown.items()}
    for name, text in html.items():
        assert "<b>plum</b>" not in text, name
        assert "<table" in text or "<img" in text, name
    assert "&lt;b&gt;plum" in html["evaluation"]
    assert "&lt;b&gt;plum" in comparison.disagreements._repr_html_()
    for name in ("run", "prediction", "predictions", "check", "comparison"):
        assert 'src="data:image/png;base64,' in html[name], name


# --- quiet, threads, scripts ------------------------------------------------------------------------------------------


def test_progress_none_is_silent(data, tmp_path, capfd):
    catseye.train(*data, out=tmp_path / "run", **QUICK)
    assert capfd.readouterr() == ("", "")


def test_two_threads_train_at_the_same_time_and_as_alone(data, tmp_path, run):
    found, before = {}, [threading.active_count()]

    def work(name):
        found[name] = catseye.train(*data, out=tmp_path / name, **QUICK)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["one", "two"]
    assert before


def test_a_script_without_a_main_guard_may_use_processes(tmp_path):
    """Streaming starts loader processes and bench starts its own; neither may run the script anew."""
    folder = doors.write_folder(tmp_path / "insects")
    (tmp_path / "script.py").write_text(
        "import catseye\n"
        "print('begun')\n"
        "options = {'data.storage': 'stream', 'data.workers': 2, 'data.near_copies': 'ignore', 'data.input_px': 32}\n"
        f"run = catseye.train({str(folder)!r}, model='lenet5', recipe='quick', epochs=1, device='cpu', set=options,\n"
        "                    out='run', progress=None)\n"
        "found = catseye.bench(catseye.export(run, device='cpu'), batch=1, threads=1, seconds=0.01, rounds=1)\n"
        "print('ended', len(found.rows))\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["begun", "ended 1"]


def test_an_interrupt_saves_and_the_run_goes_on(data, tmp_path):
    """As the stop button of a notebook: SIGINT in the main thread, in the middle of a run."""

    def press(row, model):
        if row["epoch"] == 1:
            deliver(signal.SIGINT)

    options = {**QUICK, "epochs": 3}
    with pytest.raises(Interrupted):
        catseye.train(*data, out=tmp_path / "run", on_epoch=press, **options)
    heard = []
    again = catseye.train(
        data,
        resume=tmp_path / "run",
        device="cpu",
        progress=None,
        on_epoch=lambda row, model: heard.append(row["epoch"]),
    )
    assert heard == [2, 3]
    whole = catseye.train(*data, out=tmp_path / "whole", **options)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], value, rtol=0, atol=0)


# --- bring your own ---------------------------------------------------------------------------------------------------


class Pooled(nn.Module):
    """Not of catseye's shape: its last linear layer is found."""

    def __init__(self, num_classes=7, width=8):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, stride=2), nn.BatchNorm2d(width), nn.ReLU())
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


class Whole(nn.Module):
    """Of catseye's shape."""

    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(in_channels, 8, 3, stride=2), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))

    def forward(self, x):
        return self.head(self.features(x))


OWN = {name: value for name, value in QUICK.items() if name != "model"}


@pytest.mark.parametrize("model", [Pooled, Whole, Pooled(width=4), lambda num_classes: Whole(num_classes, 3)],
                         ids=["class", "contract", "object", "function"])  # fmt: skip
def test_a_network_of_ones_own_trains_exports_and_is_proved(model, data, tmp_path):
    run = catseye.train(*data, model=model, out=tmp_path / "run", **OWN)
    exported = catseye.export(run, device="cpu")
    assert exported.comparison.agreement == 1.0
    assert catseye.evaluate(run, out=tmp_path / "e", device="cpu").metrics.accuracy == run.metrics.accuracy
    assert json.loads((run.path / "own_code.json").read_text())["model"].startswith("tests.walks.test_python:")
    assert catseye.predict(exported, data[0][0])[0].top[0][0] == run.classifier.predict(data[0][0]).label


def test_a_network_given_as_an_object_is_not_changed(data, tmp_path):
    model = Pooled()
    before = copy.deepcopy(model.state_dict())
    catseye.train(*data, model=model, out=tmp_path / "run", **OWN)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_the_last_layer_may_be_named_and_is_asked_for(data, tmp_path):
    class TwoLayers(Pooled):
        def __init__(self):
            super().__init__()
            self.unused = nn.Linear(3, 3)

    options = {**OWN, "set": {**OWN["set"], "model.last": "fc"}}
    run = catseye.train(*data, model=TwoLayers(), out=tmp_path / "run", **options)
    assert run.model.head[1].out_features == 3
    with pytest.raises(UsageError, match=r"got 'body'; linear layers: fc, unused"):
        catseye.train(*data, model=TwoLayers(), out=tmp_path / "two", **{**OWN, "set": {"model.last": "body"}})
    with pytest.raises(UsageError, match="has neither"):
        catseye.train(*data, model=nn.Sequential(nn.Conv2d(3, 3, 1)), out=tmp_path / "three", **OWN)


def test_another_process_needs_the_code_and_says_so(data, tmp_path):
    run = catseye.train(*data, model=Pooled, out=tmp_path / "run", **OWN)
    program = f"import catseye; print(catseye.load({str(run.path)!r}, device='cpu').classes)"
    root = Path(__file__).parents[2]
    without = forked.run("-c", program, cwd=root)
    assert "ModelFileError" in without.stderr
    assert "import tests.walks.test_python" in without.stderr
    given = forked.run("-c", f"import tests.walks.test_python; {program}", cwd=root)
    assert "fig" in given.stdout, given.stderr


def test_a_file_runs_no_code_that_the_program_has_not_imported(run, tmp_path):
    """A stranger's file may name anything; what is no network, or was not imported, is not called."""
    from catseye.manifest import METADATA_KEY
    from catseye.tensor_files import read_tensors, write_tensors

    tensors, _ = read_tensors(run.run.model_path)
    manifest = catseye.info(run).manifest
    for name in ("python:os:abort", "python:antigravity:geohash", "python:catseye:train", "python::", "python:os"):
        named = manifest.model_copy(
            update={"architecture": manifest.architecture.model_copy(update={"name": name, "options": {}})}
        )
        write_tensors(tmp_path / "model.safetensors", tensors, {METADATA_KEY: named.to_json()})
        with pytest.raises(ModelFileError, match="imports no code for a file"):
            catseye.load(tmp_path / "model.safetensors")
    assert "antigravity" not in sys.modules


def darker(x):
    assert x.shape[1:] == (3, 32, 32)
    assert 0 <= float(x.min()) <= float(x.max()) <= 1
    return x * torch.rand(len(x), 1, 1, 1)


def squared(logits, targets):
    wanted = targets if targets.ndim == 2 else nn.functional.one_hot(targets, logits.shape[1])
    return ((logits.softmax(1) - wanted) ** 2).sum(1).mean()


def test_augmentation_loss_and_a_function_per_epoch(data, tmp_path, run):
    heard = []
    own = catseye.train(
        *data,
        augment=darker,
        loss=squared,
        on_epoch=lambda row, model: heard.append((row["epoch"], type(model).__name__)),
        out=tmp_path / "run",
        **QUICK,
    )
    assert heard == [(1, "LeNet5")]
    assert 0 < own.history[0]["train_loss"] < 1.1  # a squared distance, no cross-entropy
    recorded = json.loads((own.path / "own_code.json").read_text())
    assert recorded == {"augment": "tests.walks.test_python:darker", "loss": "tests.walks.test_python:squared"}
    plain = run.model.state_dict()
    assert any((value != plain[name]).any() for name, value in own.model.state_dict().items())


def test_a_run_is_not_resumed_with_another_loss(data, tmp_path):
    def stop(row, model):
        raise CatseyeError("enough")

    with pytest.raises(CatseyeError, match="enough"):
        catseye.train(*data, loss=squared, on_epoch=stop, out=tmp_path / "run", **{**QUICK, "epochs": 2})
    again = {"resume": tmp_path / "run", "device": "cpu", "progress": None}
    with pytest.raises(UsageError, match=r"needs the loss that it began with, tests\.walks\.test_python:squared"):
        catseye.train(data, **again)


@pytest.mark.parametrize(
    ("option", "code", "why"),
    [
        ("augment", lambda x: x[:, :1], r"shape that it got, .*got torch\.float32"),
        ("augment", lambda x: None, "got NoneType"),
        ("loss", lambda logits, targets: logits.sum(1), "scalar tensor"),
        ("loss", lambda logits, targets: 0.5, "got float"),
    ],
)
def test_code_that_answers_wrongly_is_told(option, code, why, data, tmp_path):
    with pytest.raises(UsageError, match=why):
        catseye.train(*data, out=tmp_path / "run", **{option: code}, **QUICK)


def test_data_in_memory_is_found_while_it_is_held_and_asked_for_afterwards(tmp_path):
    images, labels = arrays(7)
    path = catseye.train(images, labels, out=tmp_path / "run", **QUICK).path  # what train returned is gone
    with pytest.raises(CatseyeError, match="give them again"):
        catseye.evaluate(path, device="cpu")
    found = catseye.evaluate(path, (images, labels), out=tmp_path / "e", device="cpu")
    assert found.metrics.num_images == json.loads((path / "metrics.json").read_text())["num_images"]
    with pytest.raises(CatseyeError, match="holds others"):
        catseye.export(path, data=(images[:-1], labels[:-1]), device="cpu")
    assert catseye.export(path, data=(images, labels), device="cpu").path.exists()


def test_a_data_frame_trains(tmp_path):
    folder = doors.write_folder(tmp_path / "insects")
    frame = doors.as_frame(folder, tmp_path)
    run = catseye.train(frame, path="file", label="y", out=tmp_path / "run", **QUICK)
    assert run.classifier.classes == doors.CLASSES
    assert open_run(run).data["source"].startswith("memory:frame")


# --- doors ------------------------------------------------------------------------------------------------------------


def weights_of(source, out):
    run = catseye.train(source, out=out, **QUICK)
    return run.model.state_dict(), open_run(run).data["sha256"]


@pytest.mark.parametrize("door", ["tar", "Parquet of bytes"])
def test_a_door_leads_to_the_same_weights(door, tmp_path):
    folder = doors.write_folder(tmp_path / "insects")
    _same(weights_of(folder, tmp_path / "a"), weights_of(doors.FILES[door](folder, tmp_path), tmp_path / "b"))


@pytest.mark.slow
def test_all_doors_lead_to_the_same_weights(tmp_path):
    folder = doors.write_folder(tmp_path / "insects")
    first = weights_of(folder, tmp_path / "first")
    for number, write in enumerate(doors.FILES.values()):
        _same(first, weights_of(write(folder, tmp_path), tmp_path / f"run-{number}"))
        for left in ("list.csv", "list.parquet"):
            (folder / left).unlink(missing_ok=True)
    doors.as_csv(folder, tmp_path)
    with doors.served(folder) as address:
        _same(first, weights_of(f"{address}/list.csv", tmp_path / "remote"))


def _same(first, second):
    assert first[1] == second[1]
    for name, value in first[0].items():
        torch.testing.assert_close(second[0][name], value, rtol=0, atol=0)


# --- inputs that are not square ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["simple", "lenet5", "residual"])
def test_an_input_need_not_be_square(model, data, tmp_path):
    options = {**QUICK, "model": model, "set": {**QUICK["set"], "data.input_px": [32, 48]}}
    run = catseye.train(*data, out=tmp_path / "run", **options)
    spec = run.classifier.manifest.preprocessing
    assert (spec.height_px, spec.width_px) == (32, 48)
    exported = catseye.export(run, device="cpu")
    assert exported.comparison.agreement == 1.0
    assert catseye.explain(run, data[0][0]).heat.shape == (32, 48)
    assert catseye.explain_receptive_field(run, data[0][0]).keys()
    assert catseye.summary(run).rows[0].output_shape[1:] != (32, 32)
    assert model != "simple" or catseye.summary("simple", input="3x32x48").rows[-1].output_shape == (10,)
    query = "?explain=cam" if model == "residual" else ""  # the others have no map in the exported graph
    with catseye.serve(exported, background=True, port=0, quiet=True) as server:
        stream = io.BytesIO()
        Image.fromarray(data[0][0]).save(stream, "PNG")
        request = urllib.request.Request(
            f"{server.address}/predict{query}", stream.getvalue(), {"Content-Type": "image/png"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert json.load(answer)["class"] == run.classifier.predict(data[0][0]).label
