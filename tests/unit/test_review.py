"""The review without a browser: what is asked, what a decision writes, who may ask; and the engine of label."""

import asyncio
import io

import httpx
import numpy as np
import pytest

from catseye.data.check.check import equal_groups
from catseye.data.check.findings import Example, Finding
from catseye.data.check.looks import look_at_all
from catseye.data.sources import NOT_SPLIT, TEST, TRAIN, ArrayReader, ImageSet
from catseye.data.sources.corrections import Standing, parse_corrections, standing
from catseye.embedding.teaching import NUM_CLUSTERS, Teaching
from catseye.errors import UsageError
from catseye.http.limits import Limits
from catseye.http.logs import Log
from catseye.review.app import ReviewPages
from catseye.review.command import serve_labels, serve_review
from catseye.review.desk import Desk
from catseye.review.items import Mistake, make_queue
from catseye.review.log import CorrectionLog
from catseye.review.material import Material, held_out_answers
from catseye.review.place import PagePlace

EACH = 20
FLIPPED = (3, 27)  # of class 0 and of class 1, each with the other's label
COPIES = (8, 9)  # byte for byte the same, under two labels


def make_material() -> Material:
    """Forty images of two classes, two labels wrong, two equal images under two labels, one far from all."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], EACH)
    pixels = rng.integers(0, 256, (2 * EACH, 20, 24, 3), np.uint8)
    features = (np.array([[0.0] * 6, [4.0] * 6])[truth] + rng.normal(size=(2 * EACH, 6)) + 5).astype(np.float32)
    pixels[COPIES[1]], features[COPIES[1]] = pixels[COPIES[0]], features[COPIES[0]]
    features[15] = [-6, 6, -6, 6, -6, 6]
    labels = truth.copy()
    labels[list(FLIPPED)] = 1 - labels[list(FLIPPED)]
    labels[COPIES[1]] = 1
    sides = np.full(2 * EACH, TRAIN, np.int8)
    sides[-5:] = TEST
    names = [f"{number:02d}.png" for number in range(2 * EACH)]
    images = ImageSet("here", ("ant", "bee"), names, labels.astype(np.int64), sides, ArrayReader(pixels))
    looks = look_at_all(images)
    groups = equal_groups(looks)
    findings = [
        Finding("two-labels", "error", 2, "", "", [Example(COPIES)]),
        Finding("near-leak-test-train", "warning", 1, "", "", [Example((38, 2))]),
        Finding("blank", "warning", 1, "", "", [Example((30,), "all of it is grey")]),
    ]
    row = np.arange(2 * EACH)
    answers = held_out_answers(images, looks, groups, row, features, Standing({}, []))
    return Material(images, looks, groups, findings, row, features, answers, "made up")


@pytest.fixture(scope="module")
def material():
    return make_material()


@pytest.fixture
def desk(material, tmp_path):
    log = CorrectionLog(tmp_path / "c.csv", "ann")
    yield Desk(material, make_queue(material, [Mistake(33, "ant", 0.9)]), log, "here")
    log.close()


def number_of(desk, *images):
    return next(place for place, item in enumerate(desk.queue) if item.images == images)


def rows_of(desk):
    return parse_corrections(desk.log.path.read_bytes(), "f")[0]


def test_the_queue_has_every_kind_in_its_order_and_no_image_twice(desk):
    kinds = [item.kind for item in desk.queue]
    assert sorted(kinds, key=["suspect", "two-labels", "leak", "outlier", "odd", "mistake"].index) == kinds
    assert set(kinds) == {"suspect", "two-labels", "leak", "outlier", "odd", "mistake"}
    suspects = {item.images[0] for item in desk.queue if item.kind == "suspect"}
    assert set(FLIPPED) <= suspects
    assert not suspects & set(COPIES)  # they are asked about side by side
    first = [item.images[0] for item in desk.queue]
    assert len(first) == len(set(first))


def test_a_question_says_what_helps(desk):
    told = desk.question(number_of(desk, FLIPPED[0]))
    assert (told["likely"], told["images"][0]["label"]) == ("ant", "bee")
    assert "ant" in told["reason"]
    nearest = {one["label"]: [image["index"] for image in one["images"]] for one in told["nearest"]}
    assert len(nearest["ant"]) == 5
    assert FLIPPED[0] not in nearest["ant"] + nearest["bee"]
    assert sum(one["share"] for one in told["probabilities"]) == pytest.approx(1)


def test_each_decision_is_a_row(desk):
    number = number_of(desk, FLIPPED[0])
    desk.decide(number, "relabel", "ant")
    desk.decide(number, "drop")
    desk.decide(number, "unsure")
    state = desk.decide(number, "keep")
    rows = rows_of(desk)
    assert [(row.kind, row.old, row.new) for row in rows] == [
        ("relabel", "bee", "ant"), ("drop", "ant", ""), ("unsure", "", ""), ("keep", "bee", "bee")]  # fmt: skip
    assert {(row.image, row.who, row.size_bytes) for row in rows} == {("03.png", "ann", 20 * 24 * 3)}
    assert state["num_decisions"] == 1


def test_a_decision_about_copies_goes_for_all(desk):
    desk.decide(number_of(desk, *COPIES), "relabel", "ant")
    assert [desk.label(index) for index in COPIES] == ["ant", "ant"]
    assert len(rows_of(desk)) == 1  # one content


def test_a_leak_is_decided_for_the_held_out_image_alone(desk):
    desk.decide(number_of(desk, 38, 2), "drop")
    assert desk.label(38) is None
    assert desk.label(2) == "ant"


def test_undo_goes_back_step_by_step(desk):
    number = number_of(desk, FLIPPED[0])
    desk.decide(number, "relabel", "ant")
    desk.decide(number, "merge", "wasp")
    assert desk.classes() == ["bee", "wasp"]
    assert desk.undo()["number"] == number
    assert desk.classes() == ["ant", "bee"]
    assert desk.undo()["num_decisions"] == 0
    assert desk.label(FLIPPED[0]) == "bee"
    with pytest.raises(UsageError, match="nothing to undo"):
        desk.undo()


def test_a_new_desk_goes_on_where_the_old_one_stood(desk, material):
    number = number_of(desk, FLIPPED[0])
    desk.decide(number, "relabel", "ant")
    desk.log.close()
    again = Desk(material, desk.queue, CorrectionLog(desk.log.path), "here")
    assert again.state()["items"][number]["outcome"] == "ant"
    assert again.state()["open"] == len(desk.queue) - 1
    desk.log = again.log


@pytest.mark.parametrize("label", ["", " ", "a\nb", "x" * 300])
def test_a_name_that_can_be_no_class_is_refused(desk, label):
    with pytest.raises(UsageError, match="a class has a name"):
        desk.decide(0, "relabel", label)
    assert rows_of(desk) == []


def test_merging_a_class_with_itself_is_refused(desk):
    with pytest.raises(UsageError, match="two different classes"):
        desk.decide(number_of(desk, FLIPPED[0]), "merge", "bee")


def test_what_decisions_are_worth_is_measured_on_corrected_labels(desk):
    for index, label in zip(FLIPPED, ("ant", "bee"), strict=True):
        desk.decide(number_of(desk, index), "relabel", label)
    told = desk.worth()
    assert told["num_corrections"] == 2
    assert told["accuracy_after"] >= told["accuracy_before"]
    assert "2 corrections, accuracy " in told["sentence"]
    assert told["low"] <= told["accuracy_after"] - told["accuracy_before"] <= told["high"]


# --- over HTTP --------------------------------------------------------------------------------------------------------


@pytest.fixture
def ask(desk):
    log = Log(io.StringIO(), quiet=True)
    app = ReviewPages(desk, None, Limits(), log)

    def send(method, path, host="127.0.0.1:8200", **more):
        async def once():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{host}") as client:
                return await client.request(method, path, **more)

        return asyncio.run(once())

    yield send
    log.close()


def test_the_page_and_its_policy(ask):
    page = ask("GET", "/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for path in ("/static/review.js", "/static/label.js", "/static/common.js", "/static/review.css"):
        text = ask("GET", path).text
        assert "https://" not in text
        assert text.count("http://") == text.count("http://www.w3.org/2000/svg")


def test_a_decision_and_an_image_over_http(ask, desk):
    number = number_of(desk, FLIPPED[0])
    done = ask("POST", "/api/decide", json={"number": number, "kind": "relabel", "label": "ant"})
    assert done.json()["num_decisions"] == 1
    assert ask("POST", "/api/state", json={}).json()["items"][number]["outcome"] == "ant"
    image = ask("GET", f"/image/{FLIPPED[0]}/160")
    assert (image.status_code, image.headers["content-type"]) == (200, "image/png")


@pytest.mark.parametrize(
    ("method", "path", "more", "status"),
    [
        ("POST", "/api/decide", {"json": {"number": 0, "kind": "explode"}}, 400),
        ("POST", "/api/decide", {"json": {"number": -1, "kind": "keep"}}, 400),
        ("POST", "/api/decide", {"json": {"number": 999, "kind": "keep"}}, 400),
        ("POST", "/api/decide", {"json": {"number": 0, "kind": "keep", "more": 1}}, 400),
        ("POST", "/api/decide", {"content": b"{", "headers": {"content-type": "application/json"}}, 400),
        ("POST", "/api/decide", {"content": b"{}", "headers": {"content-type": "text/plain"}}, 415),
        ("GET", "/api/decide", {}, 405),
        ("GET", "/image/999/160", {}, 400),
        ("GET", "/image/0/161", {}, 400),
        ("GET", "/image/heat/0/ant", {}, 400),
        ("GET", "/nothing", {}, 404),
        ("POST", "/api/state", {"json": {}, "headers": {"origin": "http://evil.example"}}, 403),
        ("POST", "/api/state", {"json": {}, "host": "evil.example"}, 403),
        ("GET", "/image/0/160", {"headers": {"sec-fetch-site": "cross-site"}}, 403),
    ],
)
def test_what_is_refused(ask, desk, method, path, more, status):
    answer = ask(method, path, **more)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert rows_of(desk) == []


def test_only_loopback(tmp_path):
    place = PagePlace(tmp_path / "c.csv", host="0.0.0.0")
    with pytest.raises(UsageError, match="this machine only"):
        serve_review("digits", place, print, print)
    with pytest.raises(UsageError, match="two classes"):
        serve_labels(tmp_path, ("a",), PagePlace(tmp_path / "c.csv"), print, print)
    assert not (tmp_path / "c.csv").exists()


# --- label ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def points():
    rng = np.random.default_rng(1)
    labels = np.arange(90) % 3
    centres = rng.normal(size=(3, 8)) * 3
    return (centres[labels] + rng.normal(size=(90, 8))).astype(np.float32), labels


def test_teaching_reaches_most_images_with_few_decisions(points):
    features, truth = points
    teaching = Teaching(features, 3)
    for _ in range(25):
        asked = teaching.next()
        assert asked not in teaching.decided
        teaching.decide({asked: int(truth[asked])})
    assert (teaching.probabilities().argmax(1) == truth).mean() > 0.95
    assert 0.8 < teaching.estimate() <= 1


def test_typical_images_come_first_one_of_each_cluster(points):
    features, truth = points
    teaching = Teaching(features, 3)
    asked = []
    for _ in range(NUM_CLUSTERS):
        asked.append(teaching.next())
        teaching.decide({asked[-1]: int(truth[asked[-1]])})
    assert len(set(teaching.clusters[asked].tolist())) == NUM_CLUSTERS
    margins = np.diff(np.sort(teaching.probabilities(), axis=1)[:, -2:], axis=1)[:, 0]
    margins[list(teaching.decided)] = np.inf
    assert teaching.next() == margins.argmin()


def test_images_of_no_class_teach_nothing_and_come_no_more(points):
    teaching = Teaching(points[0], 3, {0: -1, 1: -1, 2: 2, 3: 0})
    assert len(teaching.labelled()[0]) == 2
    assert teaching.head is not None
    teaching.take_back([3])
    assert teaching.head is None
    assert teaching.next({5, 6}) not in {0, 1, 2, 5, 6}


@pytest.mark.parametrize("num", [1, 2, 5])
def test_a_handful_of_images(num):
    teaching = Teaching(np.random.default_rng(0).normal(size=(num, 4)).astype(np.float32), 2)
    for _ in range(num):
        teaching.decide({teaching.next(): 0})
    assert teaching.next() is None
    assert teaching.estimate() is None


def test_unlabelled_images_have_no_side(tmp_path):
    from catseye.data.sources.unlabelled import list_unlabelled
    from catseye.errors import DataError

    for name in ("a.png", "ant/b.png", "x/bee/c.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    images = list_unlabelled(tmp_path, ("ant", "bee"))
    assert dict(zip(images.names, images.labels.tolist(), strict=True)) == {
        "a.png": -1,
        "ant/b.png": 0,
        "x/bee/c.jpg": 1,
    }
    assert set(images.splits.tolist()) == {NOT_SPLIT}
    with pytest.raises(DataError, match="is not a folder"):
        list_unlabelled(tmp_path / "none", ("ant",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        list_unlabelled(tmp_path / "empty", ("ant",))


def test_undone_rows_stand_for_nothing(desk):
    desk.decide(number_of(desk, FLIPPED[0]), "relabel", "ant")
    desk.undo()
    assert standing(rows_of(desk)) == Standing({}, [])
