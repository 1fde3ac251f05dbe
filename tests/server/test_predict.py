"""The classifying routes, asked over a real socket."""

import base64
import io
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import catseye
from tests.server import models
from tests.server.running import form, noise, png, post_bytes, read_answer


def test_the_well_known_shape(server):
    body, kind = form(png("red"))
    answer = server.predict(body, content_type=kind)
    assert answer.status == 200
    found = answer.json()
    assert list(found) == ["class", "confidence", "all_probabilities"]
    assert found["class"] == "red"
    assert list(found["all_probabilities"]) == ["red", "green", "blue"]
    assert found["confidence"] == max(found["all_probabilities"].values())
    assert sum(found["all_probabilities"].values()) == pytest.approx(100, abs=0.02)
    assert round(found["confidence"], 2) == found["confidence"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_as_documented(server, tmp_path):
    image = tmp_path / "cat.jpg"
    image.write_bytes(png("blue", kind="JPEG"))
    command = ["curl", "-s", "-X", "POST", "-F", f"file=@{image}", f"{server.address}/predict"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '"class":"blue"' in done.stdout


def test_answers_are_those_of_catseye_load(server):
    """The same preprocessing and the same graph: no second way from file bytes to probabilities."""
    classifier = catseye.load(server.facts["model"])
    for seed in range(12):
        image = noise(seed, side=9 + seed)
        expected = classifier.predict(image)
        found = server.predict(image).json()
        assert found["class"] == expected.label
        percent = list(found["all_probabilities"].values())
        np.testing.assert_allclose(percent, expected.probabilities * 100, atol=0.0051)


@pytest.mark.parametrize("kind", ["image/png", "image/anything", "application/octet-stream"])
def test_a_raw_body(server, kind):
    assert server.predict(png("green"), content_type=kind).json()["class"] == "green"


def test_top(server):
    found = server.predict(noise(3), "/predict?top=2").json()["all_probabilities"]
    assert len(found) == 2
    assert list(found.values()) == sorted(found.values(), reverse=True)


@pytest.mark.parametrize("query", ["top=0", "top=-1", "top=x", "top=²", "explain=lime", "verbose=1", "top", "%ff=%ff"])
def test_an_option_that_does_nothing_is_refused(server, query):
    answer = server.predict(png(), "/predict?" + query.replace("²", "%C2%B2"))
    assert (answer.status, answer.json()["code"]) == (400, "bad-query")


def test_the_map_lies_on_the_image(server):
    """An image that is bright on its left side only: there the map is opaque, on the right it is clear."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    found = server.predict(stream.getvalue(), "/predict?explain=cam").json()
    head, _, encoded = found["cam"].partition(",")
    assert head == "data:image/png;base64"
    overlay = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert overlay.mode == "RGBA"
    assert overlay.size == (80, 40)
    opaque = np.asarray(overlay)[..., 3]
    assert opaque[20, 5] > 150
    assert opaque[20, 75] < 60


def test_a_model_without_a_map_says_so(start, tmp_path):
    running = start(models.write(tmp_path / "plain.onnx"))
    answer = running.predict(png(), "/predict?explain=cam")
    assert (answer.status, answer.json()["code"]) == (400, "no-cam")
    assert running.get("/model").json()["has_cam"] is False


def test_unknown_is_said_only_below_the_threshold(start, tmp_path):
    running = start(models.write(tmp_path / "m.onnx", models.named("red", "green", "blue", unknown_threshold=0.9)))
    assert "unknown" not in running.predict(png("red")).json()
    assert running.predict(png("grey")).json()["unknown"] is True
    assert running.metric("catseye_unknown_total") == 1


def test_a_stranger_is_unknown_however_sure_the_class(start, tmp_path):
    """Blue and green are certain, and look like nothing that this model was trained on: only red does."""
    running = start(models.write(tmp_path / "m.onnx", models.with_familiarity(0.5, cam=True)))
    known = running.predict(png("red")).json()
    assert list(known) == ["class", "confidence", "all_probabilities"]
    for query in ("", "?explain=cam", "?top=1"):
        stranger = running.predict(png("blue"), "/predict" + query).json()
        assert (stranger["class"], stranger["unknown"], stranger["familiarity"]) == ("blue", True, 0.0)
        assert stranger["confidence"] > 90
        assert ("cam" in stranger) == ("cam" in query)
    body, kind = form(*[png(color) for color in ("red", "blue", "red")], b"broken", png("lime"))
    found = running.predict(body, "/predict/batch", content_type=kind).json()["predictions"]
    assert ["unknown" in one for one in found] == [False, True, False, False, True]
    assert running.metric("catseye_unknown_total") == 5
    assert running.get("/model").json()["familiarity_threshold"] == 0.5
    described = running.get("/openapi.json").json()["components"]["schemas"]["Prediction"]["properties"]
    assert stranger.keys() <= described.keys()
    assert [one["name"] for one in running.get("/v2/models/m").json()["outputs"]] == ["probability"]


def test_the_server_refuses_the_strangers_that_catseye_load_refuses(start, tmp_path):
    running = start(models.write(tmp_path / "m.onnx", models.with_familiarity(0.5)))
    classifier = catseye.load(running.facts["model"])
    images = [noise(seed, side=5 + seed) for seed in range(16)]
    expected = [classifier.predict(image).unknown for image in images]
    assert 0 < sum(expected) < len(expected)
    assert ["unknown" in running.predict(image).json() for image in images] == expected


def test_familiarity_without_a_threshold_refuses_nobody(start, tmp_path):
    running = start(models.write(tmp_path / "m.onnx", models.with_familiarity(None)))
    assert list(running.predict(png("blue")).json()) == ["class", "confidence", "all_probabilities"]
    assert running.get("/model").json()["familiarity_threshold"] is None


def test_a_familiarity_that_is_no_number_is_no_answer(start, tmp_path):
    """Half of float32's range is finite for the trial image and overflows for a white one."""
    running = start(models.write(tmp_path / "m.onnx", models.with_familiarity(0.5, scale=5e38)))
    assert running.predict(png("black")).status == 200
    refused = running.predict(png("white"))
    assert (refused.status, refused.json()["code"]) == (500, "not-finite")


def test_a_batch_answers_in_order(server):
    colors = ["red", "green", "blue"] * 5
    body, kind = form(*[png(color) for color in colors])
    found = server.predict(body, "/predict/batch", content_type=kind).json()["predictions"]
    assert [one["class"] for one in found] == colors
    assert {one["status"] for one in found} == {200}


def test_forms_that_are_refused(server):
    several, kind = form(png(), png())
    none, _ = form(png(), field="image")
    for body, code in ((several, "one-image"), (none, "no-image")):
        answer = server.predict(body, content_type=kind)
        assert (answer.status, answer.json()["code"]) == (400, code)
    answer = server.predict(png(), content_type="text/plain")
    assert (answer.status, answer.json()["code"]) == (415, "unknown-content-type")


def test_health(server):
    assert server.get("/healthz").status == 200
    ready = server.get("/readyz")
    assert (ready.status, ready.json()["status"]) == (200, "ready")


def test_paths_and_methods(server):
    assert server.get("/nothing").status == 404
    wrong = server.get("/predict")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    head = server.request("HEAD", "/healthz")
    assert (head.status, head.body) == (200, b"")


def test_the_log_names_no_image_and_no_header(server):
    server.predict(png(), user_agent="secret-agent-7")
    line = server.wait_for(lambda: [one for one in server.events("request") if one.get("batch")])[-1]
    assert {"id", "route", "status", "ms", "decode_ms", "queue_ms", "model_ms", "batch"} <= line.keys()
    assert "secret-agent-7" not in server.log_path.read_text()


def test_one_connection_many_requests(server):
    with server.connect() as connection:
        for color in ("red", "green", "blue"):
            connection.sendall(post_bytes(png(color)))
            assert read_answer(connection).json()["class"] == color
        connection.sendall(post_bytes(png("red")) + post_bytes(png("green")))
        stream = connection.makefile("rb")
        text = b""
        while text.count(b'"class"') < 2:
            text += stream.read1()
        assert text.index(b'"class":"red"') < text.index(b'"class":"green"')


def test_a_loopback_server_needs_no_token_and_an_open_one_does(tmp_path):
    model = models.write(tmp_path / "m.onnx")
    command = [sys.executable, "-m", "catseye", "serve", str(model), "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "--token-file" in done.stderr


def test_a_token(start, tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef0123\n")
    running = start(models.write(tmp_path / "m.onnx"), "--host", "0.0.0.0", "--token-file", tmp_path / "token")
    for path in ("/healthz", "/readyz", "/", "/docs", "/v2/health/ready"):
        assert running.get(path).status == 200, path
    token = "0123456789abcdef0123"
    wrong = [
        f"Bearer {token[:-1]}4",
        token,
        "Bearer",
        "Bearer ",
        f"Bearer {token[:-1]}",
        f"Bearer {token}4",
        "Bearer é",
    ]
    for headers in ({}, *({"authorization": one.encode()} for one in wrong)):
        refused = running.predict(png(), **headers)
        assert refused.status == 401
        assert "0123456789abcdef0123" not in refused.body.decode()
        assert running.get("/metrics", **headers).status == 401
    assert running.predict(png(), authorization="Bearer 0123456789abcdef0123").status == 200


@pytest.mark.parametrize("content", ["short", "with space in the middle", "\x00" * 40])
def test_a_bad_token_file(tmp_path, content):
    from catseye.errors import UsageError
    from catseye.serving.settings import ServerSettings

    (tmp_path / "token").write_text(content)
    with pytest.raises(UsageError, match="16 or more"):
        ServerSettings(tmp_path / "m.onnx", token_file=tmp_path / "token").token()
