"""`catseye train DATA --time`: trials that are told, the best so far as a model at every moment, one test at last."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import timm
import torch
from PIL import Image, ImageOps

import catseye
from catseye.errors import Interrupted, UsageError
from catseye.evaluation.predict import collect_logits
from catseye.models.pretrained import Published, expected_input
from catseye.runs import open_run
from catseye.runtimes.loading import open_model
from catseye.training.trials import (
    fresh_rungs,
    frozen_rungs,
    ladder,
    more_weights,
    trial_features,
    tuning_rungs,
)
from catseye.training.trials import search as search_module
from catseye.training.trials.scores import Comparison
from tests.forked import Forked
from tests.photos import photo
from tests.stranger_sets import write_set

TINY = "timm:test_resnet"
LITTLE = {"data.input_px": 64}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photograph-like images of 80 px in three tints, some of them hard to tell apart."""
    root = tmp_path_factory.mktemp("data") / "photos"
    rng = np.random.default_rng(0)
    for number, name in enumerate(("dawn", "dusk", "noon")):
        (root / name).mkdir(parents=True)
        for index in range(36):
            pixels = photo(1_000 * number + index, 80, 80).astype(np.float64)
            pixels[..., number] += rng.normal(24, 30)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{index:02d}.png")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "test_resnet.pth"
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    return path


def options(weights, out, **more):
    settings = {**LITTLE, "transfer.weights": str(weights)}
    return {"pretrained": True, "model": TINY, "settings": settings, "out": out, "device": "cpu", **more}


def auto_json(run):
    return json.loads((run / "auto.json").read_text())


@pytest.fixture(scope="module")
def searched(photos, weights, tmp_path_factory):
    """A search that was let run to its end; which images were asked, and when, is noted."""
    out = tmp_path_factory.mktemp("runs") / "run"
    asked = []
    real = collect_logits

    def noted(model, loader, spec, **more):
        outputs = real(model, loader, spec, **more)
        asked.append(set(outputs.indices.tolist()))
        return outputs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning_rungs, "collect_logits", noted)
        trained = catseye.train(photos, **options(weights, out, time=600))
    return trained, asked


def test_every_trial_is_told_with_score_interval_and_seconds(searched):
    trained, _ = searched
    decided = auto_json(trained.path)
    names = [trial["name"] for trial in decided["trials"]]
    assert names[0].startswith("nearest neighbours")
    assert names[1].startswith("logistic regression")
    assert any("from published classes" in name for name in names)
    assert any("tuned" in name for name in names)
    assert any("mean weights of the two best tuned" in name for name in names)
    for trial in decided["trials"]:
        assert 0 <= trial["score_low"] <= trial["score"] <= trial["score_high"] <= 1
        assert trial["seconds"] >= 0
        assert trial["verdict"] in ("kept", "not kept", "for comparison")
        assert trial["num_images"] <= 108 - 22, "the test images judge nothing"
    assert decided["kept"].partition(",")[0] in {name.partition(",")[0] for name in names}
    assert trained.run.settings.training.time_s == 600
    assert trained.run.settings.transfer.strategy == "trials"


def test_the_test_images_choose_nothing(searched, photos):
    trained, asked = searched
    names = sorted(trained.run.data["splits"]["test"])
    listed = sorted(str(path.relative_to(photos)) for path in photos.rglob("*.png"))
    numbers = {listed.index(name) for name in names}
    assert asked, "nothing was tuned"
    assert not numbers & set().union(*asked)
    assert trained.side == "test"
    assert trained.metrics.num_images == len(names)


def test_a_searched_run_is_finished_and_every_verb_opens_it(searched, tmp_path):
    trained, _ = searched
    assert trained.run.finished
    assert not list(trained.path.glob("features*")) + trained.run.checkpoints
    evaluated = catseye.evaluate(trained.path, device="cpu")
    assert evaluated.metrics.accuracy == pytest.approx(trained.metrics.accuracy)
    page = (trained.path / "report.html").read_text()
    assert "<h3>Trials</h3>" in page
    assert "starts with those rows of the published classifier" in page
    for trial in auto_json(trained.path)["trials"]:
        assert trial["name"] in page
    assert catseye.load(trained.path, device="cpu").manifest.familiarity_threshold is not None


def test_an_export_carries_its_class_activation_map(searched, tmp_path):
    trained, _ = searched
    exported = catseye.export(trained.path, out=tmp_path)
    model = catseye.load(next(iter(tmp_path.glob("*.onnx"))))
    assert exported is not None
    assert model.manifest.architecture.options["head"] == "linear"
    import onnx

    outputs = {each.name for each in onnx.load(next(iter(tmp_path.glob("*.onnx")))).graph.output}
    assert "cam" in outputs


class Stop(Exception):
    """The machine is switched off."""


def stop_after(patch, num_trials, error=Stop):
    """End the search like a power cut once so many trials are written."""
    real = search_module.Search.write

    def write(self):
        real(self)
        if len(self.trials) == num_trials:
            raise error

    patch.setattr(search_module.Search, "write", write)


def test_after_a_power_cut_the_best_so_far_is_a_model_and_features_are_not_computed_again(
    photos, weights, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Stop):
            catseye.train(photos, **options(weights, out, time=600))
    assert not open_run(out).finished
    classifier = catseye.load(out, device="cpu")
    assert classifier.predict(next(photos.rglob("*.png"))).label in classifier.classes
    catseye.export(out, out=tmp_path / "export")

    passes = []
    real = trial_features._compute_features

    def counted(search, backbone, session, side, numbers, copies):
        passes.append((session.prepared.spec.height_px, copies))
        return real(search, backbone, session, side, numbers, copies)

    monkeypatch.setattr(trial_features, "_compute_features", counted)
    resumed = catseye.train(resume=out, device="cpu")
    assert resumed.run.finished
    assert (64, "") not in passes, "the features that were there already were computed again"
    assert not list(out.glob("features*"))


def test_a_tuned_model_is_kept_over_a_power_cut(photos, weights, tmp_path, monkeypatch):
    """Whatever is tuned pays, for once; the run that goes on has it without tuning it again."""
    monkeypatch.setattr(search_module, "compare_scores", lambda *_: search_module.Comparison(True, 0.1, 0.0, 50))
    out = tmp_path / "run"
    first = []
    with monkeypatch.context() as patch:
        real = search_module.Search.keep

        def keep(self, found):
            real(self, found)
            if found.kept.strategy != "feature-extraction":
                first.append({name: value.clone() for name, value in found.state.items()})

        patch.setattr(search_module.Search, "keep", keep)
        write = search_module.Search.write

        def stop(self):
            write(self)
            if first and "tuned" in self.trials[-1].name:
                raise Stop

        patch.setattr(search_module.Search, "write", stop)
        with pytest.raises(Stop):
            catseye.train(photos, **options(weights, out, time=600))
    before = [trial["name"] for trial in auto_json(out)["trials"] if "tuned" in trial["name"]]
    tuned = []
    monkeypatch.setattr(tuning_rungs._Tuner, "tune", lambda self, plan, *rest: tuned.append(plan) or 1 / 0)
    monkeypatch.setattr(tuning_rungs._Tuner, "forecast_s", lambda *_: 1e9)  # nothing more fits
    monkeypatch.setattr(tuning_rungs._Tuner, "finish_kept", lambda self: None)
    monkeypatch.setattr(search_module, "compare_scores", lambda *_: search_module.Comparison(False, 0.0, 0.1, 50))
    resumed = catseye.train(resume=out, device="cpu")
    assert not tuned
    assert [trial["name"] for trial in auto_json(out)["trials"] if "tuned" in trial["name"]] == before
    assert "tuned" in auto_json(out)["kept"]
    found, _ = catseye.runs.load_model(resumed.path, torch.device("cpu"))
    for name, value in first[-1].items():
        torch.testing.assert_close(found.state_dict()[name], value)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_the_best_so_far_measured(photos, weights, tmp_path, number, code):
    out = tmp_path / "run"
    words = ["train", photos, "--time", "20m", "--pretrained", "--model", TINY, "--weights", weights, "--out", out]
    words += ["--device", "cpu", "--set", "data.input_px=64"]
    with Forked(*words, cwd=tmp_path) as process:
        while not (out / "model.safetensors").exists():
            assert process.poll() is None, process.said()
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate(timeout=240)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert "the best so far is measured: accuracy" in said
    assert open_run(out).finished
    assert open_run(out).metrics["num_images"] > 0


def test_a_signal_before_the_first_head_says_how_to_go_on(photos, weights, tmp_path, monkeypatch):
    real = frozen_rungs.get_features

    def get_features(search, *rest, **more):
        found = real(search, *rest, **more)
        search.stop.received = signal.SIGINT
        return found

    monkeypatch.setattr(frozen_rungs, "get_features", get_features)
    with pytest.raises(Interrupted, match="--resume") as caught:
        catseye.train(photos, **options(weights, tmp_path / "run", time=600))
    assert caught.value.exit_code == 130


def test_networks_from_fresh_weights_are_searched_too(tmp_path, monkeypatch):
    monkeypatch.setattr(fresh_rungs, "NUM_ROUNDS", 1)  # each network once
    monkeypatch.setattr(fresh_rungs, "MOST_EPOCHS", 10)  # enough for these images
    data = write_set("tiny", tmp_path / "tiny")
    trained = catseye.train(data, out=tmp_path / "run", time=900, device="cpu")
    decided = auto_json(trained.path)
    tried = {trial["name"].partition(" from fresh weights")[0] for trial in decided["trials"]}
    assert tried == set(fresh_rungs.NETWORKS)
    assert "fresh weights" in decided["kept"]
    assert trained.metrics.accuracy > 0.8
    assert trained.run.finished


@pytest.mark.slow
def test_the_promise_is_kept_on_a_clock_that_counts_computing_alone(tmp_path, monkeypatch):
    """Other jobs may slow the machine down: so the clock is this process's own. Fresh networks can use any time."""
    monkeypatch.setattr(time, "monotonic", time.process_time)
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    for name in "ab":  # noise: nothing is ever good enough
        (tmp_path / "noise" / name).mkdir(parents=True)
        for number in range(150):
            pixels = rng.integers(0, 256, (20, 20, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "noise" / name / f"{number}.png")
    begun = time.process_time()
    try:
        catseye.train(tmp_path / "noise", out=tmp_path / "run", time=20, device="cpu")
    finally:
        torch.set_num_threads(threads)
    spent = time.process_time() - begun
    assert 10 <= spent <= 21, f"{spent:.1f} of 20 s"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"epochs": 3}, "--epochs would do nothing with --time"),
        ({"overrides": ["training.lr=0.1"]}, "training.lr would do nothing with --time"),
        ({"recipe": "quick"}, "--recipe would do nothing with --time"),
        ({"settings": {"transfer.strategy": "full"}}, "--strategy full would do nothing with --time"),
    ],
)
def test_what_a_promise_leaves_no_room_for(photos, tmp_path, more, said):
    with pytest.raises(UsageError, match=said):
        catseye.train(photos, out=tmp_path / "run", time="2m", device="cpu", **more)
    assert not (tmp_path / "run").exists()


def test_a_usage_error_comes_before_torch_is_loaded(photos, tmp_path):
    words = ["train", str(photos), "--time", "2m", "--epochs", "3", "--out", str(tmp_path / "run")]
    probe = f"""
import sys
sys.argv = ["catseye", *{words!r}]
from catseye.cli import main
try:
    main()
except SystemExit as done:
    assert done.code == 2, done.code
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--epochs would do nothing with --time" in done.stderr


def test_crowding_is_one_where_the_machine_is_quiet():
    assert ladder.crowding(10.0, 15.0) == 1
    assert ladder.crowding(30.0, 10.0) == 3


OTHER = "timm:test_efficientnet"


@pytest.fixture
def two_weights(tmp_path, monkeypatch):
    """The first network answers the same to every image; the second, with random weights, tells tints apart."""
    deaf = tmp_path / "deaf.pth"
    state = timm.create_model("test_resnet").state_dict()
    torch.save({name: torch.zeros_like(value) for name, value in state.items()}, deaf)
    torch.manual_seed(0)
    as_the_first = expected_input(TINY, given=True)  # networks side by side take one input
    published = Published(timm.create_model("test_efficientnet").state_dict(), as_the_first, "a test")
    monkeypatch.setattr(more_weights, "_weights_are_open", lambda session: True)
    monkeypatch.setattr(more_weights, "MORE_BACKBONES", ("timm:not_here", OTHER))
    monkeypatch.setattr(more_weights, "weights_at_hand", lambda name: "here" if name == OTHER else "")
    monkeypatch.setattr(more_weights, "find_published", lambda name: published)
    monkeypatch.setattr(ladder, "tuning_rungs", lambda search, backbone: None)
    return deaf


def test_other_weights_on_this_machine_are_tried_and_kept_where_they_pay(two_weights, photos, tmp_path):
    trained = catseye.train(photos, **options(two_weights, tmp_path / "run", time=600))
    trials = auto_json(trained.path)["trials"]
    (tried,) = (trial for trial in trials if "on test_efficientnet" in trial["name"])
    assert tried["verdict"] == "kept"
    (both,) = (trial for trial in trials if "both networks" in trial["name"])
    assert both["verdict"] == "not kept", "a network that answers the same to every image adds nothing"
    assert catseye.load(trained).manifest.architecture.name == OTHER
    assert trained.metrics.accuracy > 0.5


def test_two_networks_side_by_side_are_a_model_like_any_other(two_weights, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(
        search_module, "compare_scores", lambda *_: Comparison(True, 0.0, 0.0, 1)
    )  # the last one is kept
    monkeypatch.setattr(ladder, "copy_rungs", lambda search, backbone: None)
    trained = catseye.train(photos, **options(two_weights, tmp_path / "run", time=600))
    assert auto_json(trained.path)["kept"] == "linear discriminants on both networks, 64 px"
    classifier = catseye.load(trained)
    assert classifier.manifest.architecture.name == "timm:test_efficientnet+test_resnet"
    file = catseye.export(trained, out=tmp_path / "model.onnx")
    assert "cam" in {name for name, _, _ in open_model(file.path).outputs}
    assert catseye.evaluate(trained, device="cpu").metrics.accuracy == trained.metrics.accuracy


def test_without_a_promised_time_no_second_network_makes_answers_slower(two_weights, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, "copy_rungs", lambda search, backbone: None)
    settings = {"transfer.strategy": "trials"}
    words = options(two_weights, tmp_path / "run")
    trained = catseye.train(photos, **{**words, "settings": {**words["settings"], **settings}})
    names = [trial["name"] for trial in auto_json(trained.path)["trials"]]
    assert any("test_efficientnet" in name for name in names)
    assert not any("both networks" in name for name in names)


def test_both_mirror_images_are_a_model_like_any_other(weights, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(
        search_module, "compare_scores", lambda *_: Comparison(True, 0.0, 0.0, 1)
    )  # the last one is kept
    monkeypatch.setattr(ladder, "tuning_rungs", lambda search, backbone: None)
    trained = catseye.train(photos, **options(weights, tmp_path / "run", time=600))
    assert auto_json(trained.path)["kept"] == "linear discriminants on both mirror images, 64 px"
    classifier = catseye.load(trained)
    assert classifier.manifest.architecture.options["views"] == "mirrored"
    image = Image.open(next(photos.rglob("*.png"))).convert("RGB").resize((64, 64))
    one, other = (classifier.predict(each).probabilities for each in (image, ImageOps.mirror(image)))
    assert one == pytest.approx(other, abs=1e-5)
    file = catseye.export(trained, out=tmp_path / "model.onnx")
    assert "cam" in {name for name, _, _ in open_model(file.path).outputs}
    assert catseye.evaluate(trained, device="cpu").metrics.accuracy == trained.metrics.accuracy
    assert catseye.explain(trained, image, out=tmp_path / "explained")


def test_without_a_promised_time_no_second_view_makes_answers_slower(weights, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, "tuning_rungs", lambda search, backbone: None)
    words = options(weights, tmp_path / "run")
    settings = {**words["settings"], "transfer.strategy": "trials"}
    trained = catseye.train(photos, **{**words, "settings": settings})
    names = [trial["name"] for trial in auto_json(trained.path)["trials"]]
    assert any(name.endswith("with enlarged copies, 64 px") for name in names)
    assert not any("both mirror images" in name for name in names)


def test_a_network_that_the_user_named_stays_the_only_one(searched):
    trained, _ = searched
    assert not [trial for trial in auto_json(trained.path)["trials"] if "lite2" in trial["name"]]
