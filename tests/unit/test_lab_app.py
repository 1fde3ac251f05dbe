"""The lab's application, asked without a browser: who may ask, what is refused, and in which words."""

import asyncio
import io
import json
import threading
from importlib import import_module

import httpx
import numpy as np
import pytest
from PIL import Image

from catseye.errors import MissingDependency, UsageError
from catseye.http.limits import Limits
from catseye.http.logs import Log
from catseye.lab import app as lab_app
from catseye.lab.app import LabApplication
from catseye.lab.bench import Workbench
from catseye.lab.chapters.table import CHAPTERS
from catseye.lab.command import serve_lab
from catseye.lab.images import LONGEST_PX, MAX_DROPPED, LabImages, built_in
from catseye.lab.page_files import read_pages
from catseye.lab.questions import Question, QuestionFields, find
from tests.conftest import encode, random_pixels


@pytest.fixture
def ask():
    """`ask("POST", "/api/pixels/look", json={...})` answers as a browser on this machine is answered."""
    log = Log(io.StringIO(), quiet=True)
    app = LabApplication(Workbench("lenet5"), Limits(max_pixels=1_000_000), log)

    def send(method: str, path: str, **more) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8100") as client:
                return await client.request(method, path, **more)

        return asyncio.run(once())

    yield send
    log.close()


def test_every_chapter_has_its_files():
    pages = read_pages()
    for chapter in CHAPTERS:
        assert f'src="/static/{chapter.name}.js"' in pages[f"/{chapter.name}"].content.decode()
        assert f"/static/{chapter.name}.svg" in pages
        answers = import_module(f"catseye.lab.chapters.{chapter.name}.answers")
        assert find(chapter.name, next(iter(answers.QUESTIONS)))
    assert [chapter.number for chapter in CHAPTERS] == list(range(1, len(CHAPTERS) + 1))
    text = b"".join(page.content for page in pages.values()).decode()
    assert "{{" not in pages["/"].content.decode()
    assert "https://" not in text
    assert text.count("http://") == text.count("http://www.w3.org/2000/svg")  # a name, not an address


def test_pages_carry_the_servers_policy(ask):
    for path in ("/", "/convolution", "/static/lab.css"):
        answer = ask("GET", path)
        assert answer.status_code == 200
        assert "default-src 'none'; script-src 'self'" in answer.headers["content-security-policy"]
    assert ask("GET", "/nowhere").json()["code"] == "unknown-path"
    assert ask("POST", "/convolution").headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"host": "evil.example"}, "foreign-host"),  # a name that somebody points at 127.0.0.1
        ({"host": "127.0.0.1.evil.example:8100"}, "foreign-host"),
        ({"origin": "https://evil.example"}, "foreign-page"),
        ({"origin": "http://localhost:9999"}, "foreign-page"),
        ({"sec-fetch-site": "cross-site"}, "foreign-page"),
    ],
)
def test_other_sites_may_not_ask(ask, headers, code):
    answer = ask("POST", "/api/pixels/example", json={}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, code)


def test_own_pages_may(ask):
    own = {"origin": "http://127.0.0.1:8100", "sec-fetch-site": "same-origin"}
    assert ask("POST", "/api/pixels/example", json={}, headers=own).json()["num_values"] == 16
    assert ask("GET", "/api/pixels/example", headers={"host": "localhost:8100"}).status_code == 200


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"image": "gone"}, "the lab has no image 'gone'; it may have been restarted"),
        ({"image": "eye", "side": 99}, "side: input should be less than or equal to 16; got 99"),
        ({"image": "eye", "colour": 1}, "colour: extra inputs are not permitted"),
        ([], "the question: input should be a valid dictionary"),
    ],
)
def test_a_wrong_question_gets_a_sentence(ask, asked, sentence):
    answer = ask("POST", "/api/pixels/look", json=asked)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]


def test_what_is_no_question_is_refused(ask):
    assert ask("POST", "/api/pixels/look", content=b"{").json()["code"] == "unknown-content-type"
    kind = {"content-type": "application/json"}
    assert ask("POST", "/api/pixels/look", content=b"{", headers=kind).json()["code"] == "malformed-json"
    assert "did you mean look" in ask("POST", "/api/pixels/lok", json={}).json()["error"]
    assert ask("POST", "/api/nothing/look", json={}).status_code == 404


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON", "application/JSON; charset=UTF-8"])
def test_a_content_type_is_read_in_either_case(ask, kind):
    assert ask("POST", "/api/pixels/example", content=b"{}", headers={"content-type": kind}).json()["num_values"] == 16


@pytest.mark.parametrize("path", ["/api/images", "/image/eye.png", "/api/pixels/example", "/api/training/run"])
def test_only_pages_are_asked_by_head(ask, path):
    """A HEAD of `training/run` would train a network whose events nobody can read."""
    answer = ask("HEAD", path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET" if "image/" in path else "GET, POST")
    assert ask("HEAD", "/pixels").status_code == 200


@pytest.mark.parametrize(
    "path", ["/pixels/", "/api/pixels", "/api/nothing/look", "/api/images/", "/static/../frame.html"]
)
def test_an_address_is_written_as_it_is(ask, path):
    answer = ask("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-path")


def test_a_image_is_taken_and_shown(ask):
    pixels = random_pixels(1, 20, 2000)
    said = ask("POST", "/api/images", content=encode(pixels), headers={"content-type": "image/png"}).json()
    assert (said["given_width"], said["given_height"]) == (2000, 20)
    assert said["width"] == LONGEST_PX
    answer = ask("GET", f"/image/{said['name']}.png")
    assert Image.open(io.BytesIO(answer.content)).size == (said["width"], said["height"])
    assert said["name"] in [one["name"] for one in ask("GET", "/api/images").json()["images"]]


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (b"no image", 415, "send one JPEG, PNG, WebP, BMP or GIF"),
        (encode(random_pixels(2))[:-30], 400, "cannot be decoded completely"),
        (b"", 400, "an image has at least one byte; got 0"),
        (encode(np.zeros((1200, 1200), np.uint8)), 413, "1200 x 1200 pixels; at most 1,000,000"),
    ],
)
def test_what_is_no_image_is_refused(ask, content, status, sentence):
    answer = ask("POST", "/api/images", content=content, headers={"content-type": "image/png"})
    assert answer.status_code == status
    assert sentence in answer.json()["error"]


def test_only_the_latest_dropped_images_are_kept():
    images = LabImages()
    names = [images.add(encode(random_pixels(seed)), 10**6).name for seed in range(MAX_DROPPED + 2)]
    assert images.add(encode(random_pixels(5)), 10**6).name == names[5]  # the same bytes are the same image
    with pytest.raises(UsageError, match="drop the image again"):
        images.get(names[0])
    assert images.get(names[-1]).pixels.shape == (8, 8, 3)


def test_the_drawn_images_are_images():
    for image in built_in().values():
        assert image.pixels.dtype == np.uint8
        assert np.unique(image.pixels.reshape(-1, image.pixels.shape[2]), axis=0).shape[0] >= 8
        assert max(image.fitted(16).shape[:2]) <= 16


def test_a_missing_package_is_named(ask, monkeypatch):
    def find_without_torch(chapter: str, name: str):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(lab_app, "find", find_without_torch)
    answer = ask("POST", "/api/network/flow", json={})
    assert answer.json()["error"] == str(MissingDependency("torch"))


def test_a_streamed_answer_ends_and_tells_what_went_wrong(ask, monkeypatch):
    def count_up(bench, asked):
        yield {"step": 1}
        yield {"step": 2}
        raise UsageError("enough")

    monkeypatch.setattr(lab_app, "find", lambda chapter, name: Question(QuestionFields, count_up))
    text = ask("GET", "/api/network/any").text
    assert [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")] == [
        {"step": 1}, {"step": 2}, {"error": "enough"},
    ]  # fmt: skip
    assert "event: refused" in text


class Endless:
    """An answer without an end, which counts what was read of it."""

    def __init__(self):
        self.num_read, self.closed = 0, threading.Event()

    def __iter__(self):
        return self

    def __next__(self):
        self.num_read += 1
        return {"step": self.num_read}

    def close(self):
        self.closed.set()


@pytest.mark.parametrize("num_events", [0, 1, 3])
def test_a_stream_ends_when_the_browser_hangs_up(monkeypatch, num_events):
    """At whatever event, also before the first one: what computes it is told."""
    endless = Endless()
    monkeypatch.setattr(lab_app, "find", lambda chapter, name: Question(QuestionFields, lambda bench, asked: endless))
    app = LabApplication(Workbench("lenet5"), Limits(), Log(io.StringIO(), quiet=True))
    scope = {"type": "http", "method": "GET", "path": "/api/network/any", "query_string": b"",
             "headers": [(b"host", b"localhost")], "asgi": {"spec_version": "2.3"}}  # fmt: skip

    async def watch():
        gone, seen = asyncio.Event(), []

        async def receive():
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            seen.append(message)
            if len(seen) > num_events:  # the first is the head
                gone.set()

        await app(scope, receive, send)
        return seen

    seen = asyncio.run(asyncio.wait_for(watch(), 10))
    assert endless.closed.is_set()
    assert endless.num_read <= num_events + 2
    assert all(message.get("more_body", True) for message in seen)


def test_a_stream_ends_when_the_lab_stops(monkeypatch):
    endless = Endless()
    monkeypatch.setattr(lab_app, "find", lambda chapter, name: Question(QuestionFields, lambda bench, asked: endless))
    app = LabApplication(Workbench("lenet5"), Limits(), Log(io.StringIO(), quiet=True))
    app.draining = True

    async def ask_once():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.get("/api/network/any")

    answer = asyncio.run(ask_once())
    assert answer.text == 'data: {"step":1}\n\nevent: end\ndata: {}\n\n'
    assert answer.headers["content-type"] == "text/event-stream"
    assert endless.closed.is_set()


def test_a_fault_is_told_without_its_inside(ask, monkeypatch):
    def broken(bench, asked):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(lab_app, "find", lambda chapter, name: Question(QuestionFields, broken))
    answer = ask("POST", "/api/network/any", json={})
    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_the_walk_of_chapter_4(ask):
    """Every question of the whole network, in the order of the page, on fresh weights."""

    def network(name: str, **asked):
        answer = ask("POST", f"/api/network/{name}", json=asked)
        assert answer.status_code == 200, answer.text
        return answer.json()

    flow = network("flow")
    assert not flow["trained"]
    assert "fresh weights" in flow["says"]
    assert [layer["shape"] for layer in flow["layers"]][:3] == [[6, 28, 28], [6, 28, 28], [6, 14, 14]]
    maps = network("maps", image="street", layer="features.1")
    assert maps["shape"] == [6, 28, 28]
    strengths = [one["strength"] for one in maps["maps"]]
    assert strengths == sorted(strengths, reverse=True)
    place = network("place", image="street", layer="features.3", channel=2, row=3, column=4)
    assert place["box"] == {"top": 6, "left": 8, "bottom": 20, "right": 22, "span": 14}
    assert place["inside"] == pytest.approx(1)
    assert network("place", image="street", layer="head.4", channel=0)["box"]["span"] is None
    decision = network("decision", image="street")
    assert sum(bar["share"] for bar in decision["bars"]) == pytest.approx(1)
    overlay = network("overlay", image="street", target=3)
    assert (overlay["class"], np.shape(overlay["heat"])) == ("class 3", (32, 32))
    patches = network("patches", layer="features.1", channel=0)
    assert len(patches["patches"]) == 9
    assert patches["source"] == "digits"
    wrong = ask("POST", "/api/network/maps", json={"image": "street", "layer": "features.99"})
    assert "unknown layer 'features.99'; did you mean" in wrong.json()["error"]
    path = ask("POST", "/api/network/flow", json={"network": "../../etc/passwd"})
    assert "chosen by its name" in path.json()["error"]


def test_filters_and_slides(ask):
    filters = ask("POST", "/api/convolution/filters", json={}).json()
    assert filters["shape"] == [6, 1, 5, 5]
    one = {"image": "street", "side": 16, "kernel": filters["filters"][0]["values"], "as_network": True}
    slid = ask("POST", "/api/convolution/slide", json=one).json()
    assert np.shape(slid["output"]) == (12, 12)
    slid = ask("POST", "/api/convolution/slide", json={"kernel": [[[-1, 0, 1]] * 3]}).json()
    assert slid["position"]["total"] == slid["output"][0][0] == 4
    crooked = ask("POST", "/api/convolution/slide", json={"kernel": [[[1, 2], [3]]]}).json()
    assert "one square table" in crooked["error"]
    steps = ask("POST", "/api/activations/steps", json={"image": "eye", "spread": 3, "lift": 2}).json()
    assert (steps["mean_after"], steps["sd_after"]) == (pytest.approx(0, abs=1e-9), pytest.approx(1, abs=1e-3))


def test_the_lab_listens_on_this_machine_only():
    with pytest.raises(UsageError, match="for this machine only"):
        serve_lab(None, print, host="0.0.0.0")
    with pytest.raises(UsageError, match="give the run it was exported from"):
        serve_lab("model.onnx", print)


def test_chapter_11_is_the_page_of_teach(monkeypatch):
    from catseye.http.limits import Limits
    from catseye.http.logs import Log
    from catseye.lab.app import LabApplication
    from catseye.lab.bench import Workbench
    from catseye.review import teach_command
    from catseye.review.app import TeachPages
    from catseye.review.teach_desk import TeachDesk
    from tests.unit.test_teach import make_frozen

    opened = []

    def teach_pages():
        opened.append(1)
        return TeachPages(TeachDesk(make_frozen(), ("a", "b"), None), Limits(), Log(quiet=True))

    monkeypatch.setattr(teach_command, "teach_pages", teach_pages)
    app = LabApplication(Workbench(None, None), Limits(), Log(quiet=True))

    async def ask_all():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8100") as client:
            page = await client.get("/teach/")
            assert "Hold" in (await client.get("/teach/static/teach.js")).text
            assert "catseye teach" in page.text
            state = await client.post("/teach/api/state", json={})
            assert [one["name"] for one in state.json()["classes"]] == ["a", "b"]
            foreign = await client.post("/teach/api/state", json={}, headers={"sec-fetch-site": "cross-site"})
            assert foreign.status_code == 403
            assert 'href="/teach/"' in (await client.get("/")).text

    asyncio.run(ask_all())
    assert opened == [1]
