"""Teaching without a browser: what is recorded, learnt and answered, and that the kept run answers the same."""

import asyncio
import io
import json

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

import catseye
from catseye.embedding.backbone import Backbone
from catseye.embedding.head import train_head
from catseye.errors import ImageError, ModelFileError, UsageError
from catseye.http.limits import Limits
from catseye.http.logs import Log
from catseye.manifest import Architecture
from catseye.models import registry
from catseye.preprocess import Preprocessing
from catseye.review import taught
from catseye.review.app import TeachPages
from catseye.review.taught import FrozenNetwork, open_frozen_network
from catseye.review.teach_command import open_teach
from catseye.review.teach_desk import MAX_CLASSES, MIN_FRAMES, TeachDesk

COLOURS = {"cup": (220, 40, 30), "pen": (30, 60, 210), "hand": (240, 220, 60)}
NUM = 10  # frames of a class


def frame(colour, seed: int) -> bytes:
    """A JPEG of one colour with noise."""
    rng = np.random.default_rng(seed)
    pixels = (np.array(colour) + rng.normal(0, 12, (48, 64, 3))).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def make_frozen() -> FrozenNetwork:
    torch.manual_seed(0)
    spec = Preprocessing(height_px=32, width_px=32, resize="crop", mean=(0.5,) * 3, std=(0.25,) * 3)
    network = registry.create("lenet5", num_classes=2, in_channels=3, input_px=32, head="linear").eval()
    backbone = Backbone(network, spec, torch.device("cpu"), "LeNet-5 with fresh weights", "0" * 64)
    return FrozenNetwork(backbone, Architecture(name="lenet5", options={"head": "linear"}))


@pytest.fixture
def desk(tmp_path):
    return TeachDesk(make_frozen(), tuple(COLOURS), tmp_path / "kept")


def record_all(desk, names=COLOURS) -> None:
    for number, (name, colour) in enumerate(COLOURS.items()):
        if name in names:
            for seed in range(NUM):
                desk.record(number, frame(colour, 100 * number + seed))


def test_a_head_of_plain_features_is_one_linear_layer():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 8)
    features = (rng.normal(size=(24, 5)) + 3 * labels[:, None]).astype(np.float32)
    head = train_head(features, labels, 3, one_length=False)
    weight, bias = head.as_layer()
    assert np.abs(features @ weight.T + bias - head.logits(features)).max() < 1e-4
    with pytest.raises(ValueError, match="not a linear layer"):
        train_head(features, labels, 3).as_layer()


def test_what_is_held_up_is_recognised(desk):
    record_all(desk)
    state = desk.learn()
    assert (state["learnt"], state["num_held"]) == (True, 3 * NUM // 5)
    assert state["num_right"] == state["num_held"]
    for number, (name, colour) in enumerate(COLOURS.items()):
        told = desk.answer(frame(colour, 900 + number))
        assert told["label"] == name
        assert told["unknown"] == (told["familiarity"] < told["threshold"])
        assert sum(one["share"] for one in told["shares"]) == pytest.approx(1)


def test_nothing_is_answered_before_two_classes_are_known(desk):
    with pytest.raises(UsageError, match="two classes with 5 frames each"):
        desk.answer(frame((1, 2, 3), 0))
    record_all(desk, ["cup"])
    for seed in range(MIN_FRAMES - 1):
        desk.record(1, frame(COLOURS["pen"], seed))
    assert not desk.learn()["learnt"]
    desk.record(1, frame(COLOURS["pen"], 77))
    state = desk.learn()
    assert [one["learnt"] for one in state["classes"]] == [True, True, False]
    assert not desk.forget(0)["learnt"]


def test_a_frame_is_counted_once_and_in_one_class(desk):
    content = frame(COLOURS["cup"], 0)
    assert desk.record(0, content)["counted"]
    assert not desk.record(0, content)["counted"]
    assert not desk.record(1, content)["counted"]
    assert [one["num_frames"] for one in desk.state()["classes"]] == [1, 0, 0]
    with pytest.raises(ImageError):
        desk.record(0, b"no image")
    with pytest.raises(UsageError, match="numbers 0 to 2"):
        desk.record(3, content)


def test_the_kept_run_answers_as_the_page(desk, tmp_path):
    record_all(desk)
    desk.learn()
    assert not (tmp_path / "kept").exists()
    desk.keep()
    model = catseye.load(tmp_path / "kept")
    for number, colour in enumerate([*COLOURS.values(), (0, 255, 0), (128, 128, 128)]):
        content = frame(colour, 500 + number)
        told, found = desk.answer(content), model.predict(content)
        assert (told["label"], told["unknown"]) == (found.label, found.unknown)
        assert told["confidence"] == pytest.approx(found.confidence, abs=1e-6)
        assert told["familiarity"] == pytest.approx(found.familiarity, abs=1e-6)


def test_the_kept_run_is_a_run(desk, tmp_path):
    record_all(desk)
    desk.learn()
    desk.keep()
    run = catseye.open_run(tmp_path / "kept")
    assert run.finished
    held = {name.split("-")[0].split("/")[-1] for name in run.data["splits"]["val"]}
    assert held == {f"{number:04d}" for number in (8, 9, 18, 19, 28, 29)}  # the last of each class
    done = catseye.evaluate(run, out=tmp_path / "report")
    assert done.metrics.accuracy == run.metrics["accuracy"]
    assert done.metrics.num_images == 6
    assert "biased upwards" in run.data["notes"][0]


def test_keeping_again_replaces_and_leaves_nothing_beside(desk, tmp_path):
    record_all(desk)
    desk.learn()
    desk.keep()
    desk.rename(0, "mug")
    for seed in range(60, 65):
        desk.record(0, frame(COLOURS["cup"], seed))
    desk.learn()
    desk.keep()
    assert catseye.load(tmp_path / "kept").classes == ("mug", "pen", "hand")
    assert len(list((tmp_path / "kept" / "images").rglob("*.jpg"))) == 3 * NUM + 5
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_full_folder_is_not_touched(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("a")
    desk = TeachDesk(make_frozen(), tuple(COLOURS), tmp_path / "mine")
    record_all(desk)
    desk.learn()
    with pytest.raises(UsageError, match="not empty"):
        desk.keep()
    with pytest.raises(UsageError, match="not empty"):
        open_teach(out=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("name", ["", "  ", "a/b", "a\\b", ".a", "a.", "a\nb", "x" * 81, "what?"])
def test_a_name_that_can_be_no_folder_is_refused(desk, name):
    with pytest.raises(UsageError, match="can be a folder's"):
        desk.rename(0, name)


def test_names_differ_also_where_a_is_like_capital_a(desk):
    with pytest.raises(UsageError, match="needs a different name"):
        desk.rename(0, "PEN")
    desk.rename(1, "PEN")
    for number in range(MAX_CLASSES - 3):
        desk.add(f"more {number}")
    with pytest.raises(UsageError, match="at most 12 classes"):
        desk.add("one more")


def test_what_the_command_refuses(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="for this machine only"):
        open_teach(host="0.0.0.0")
    with pytest.raises(UsageError, match="2 to 12 classes; got 1"):
        open_teach(classes=["a"])
    monkeypatch.setattr(taught, "weights_at_hand", lambda name: "")
    with pytest.raises(ModelFileError, match=r"pip install 'catseye\[pretrained\]'"):
        open_frozen_network(None)


def ask(pages, path, content, kind="image/jpeg", **headers):
    async def go():
        transport = httpx.ASGITransport(app=pages)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8300") as client:
            return await client.post(path, content=content, headers={"content-type": kind, **headers})

    return asyncio.run(go())


def test_frames_come_over_http(desk):
    pages = TeachPages(desk, Limits(body_bytes=20_000), Log(quiet=True))
    good = frame(COLOURS["cup"], 1)
    assert ask(pages, "/api/record/0", good).json()["num_frames"] == 1
    assert ask(pages, "/api/record/9", good).status_code == 400
    assert ask(pages, "/api/record/0", good, "text/plain").status_code == 415
    assert ask(pages, "/api/record/0", bytes(30_000)).status_code == 413
    assert ask(pages, "/api/record/0", b"\xff\xd8 no").status_code == 415
    assert ask(pages, "/api/answer", good).status_code == 400
    assert ask(pages, "/api/record/0", good, origin="http://elsewhere.example").status_code == 403
    assert ask(pages, "/api/record/0", good, **{"sec-fetch-site": "cross-site"}).status_code == 403
    state = ask(pages, "/api/state", json.dumps({}), "application/json").json()
    assert [one["num_frames"] for one in state["classes"]] == [1, 0, 0]
