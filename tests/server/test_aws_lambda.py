"""The Lambda function, asked in all three ways, beside the server: same answers, same refusals."""

import base64
import json
from types import SimpleNamespace
from urllib.parse import parse_qs

import pytest

from catseye.errors import UsageError
from catseye.serving.aws_events import BODY_BYTES, LAMBDA_BYTES
from catseye.serving.aws_lambda import open_function
from tests.server import models
from tests.server.running import form, noise, png

CONTEXT = SimpleNamespace(aws_request_id="8f507cfc-xmpl")
FRONTS = ("rest-api", "http-api", "function-url")


def make_event(front, body=b"", path="/predict", query="", method="POST", content_type="image/png", **more):
    """What this front sends. REST APIs keep the capitals of header names and take queries apart."""
    headers = {"content-type": content_type, **{name.replace("_", "-"): value for name, value in more.items()}}
    text = {"body": base64.b64encode(body).decode(), "isBase64Encoded": True} if body else {"body": None}
    if front == "rest-api":
        queries = parse_qs(query, keep_blank_values=True) or None
        return {
            "resource": "/{proxy+}",
            "path": path,
            "httpMethod": method,
            "headers": {name.title(): value for name, value in headers.items()},
            "multiValueHeaders": {name.title(): [value] for name, value in headers.items()},
            "queryStringParameters": queries and {name: values[-1] for name, values in queries.items()},
            "multiValueQueryStringParameters": queries,
            "pathParameters": {"proxy": path[1:]},
            "requestContext": {"stage": "live", "path": f"/live{path}", "httpMethod": method},
            **text,
        }
    stage = "v1" if front == "http-api" else "$default"
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": f"/v1{path}" if front == "http-api" else path,  # a stage with a name stands in the path
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {"stage": stage, "http": {"method": method, "path": path, "protocol": "HTTP/1.1"}},
        **text,
    }


@pytest.fixture(scope="module")
def function(tmp_path_factory):
    """The model and the limits of the shared server."""
    folder = tmp_path_factory.mktemp("lambda")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CATSEYE_MAX_PIXELS", "2000000")
        return open_function(models.write(folder / "tints.onnx", models.with_cam()))


MANY, MANY_KIND = form(png("red"), png("blue"), b"broken")
ONE, ONE_KIND = form(png("green"))
OTHER, OTHER_KIND = form(png(), field="image")
CASES = {
    "an image": {"body": png("red")},
    "a photo": {"body": noise(3, 60)},
    "a form": {"body": ONE, "content_type": ONE_KIND},
    "a stream of bytes": {"body": png("blue"), "content_type": "application/octet-stream"},
    "the best two": {"body": noise(5), "query": "top=2"},
    "with a map": {"body": noise(6, 40), "query": "explain=cam&top=1"},
    "several": {"body": MANY, "content_type": MANY_KIND, "path": "/predict/batch"},
    "several where one is wanted": {"body": MANY, "content_type": MANY_KIND},
    "a form without an image": {"body": OTHER, "content_type": OTHER_KIND},
    "no form at all": {"body": b"--b", "content_type": "multipart/form-data"},
    "a broken image": {"body": png()[:40]},
    "no image": {"body": b"hello"},
    "nothing": {"body": b""},
    "an image of another format": {"body": png(kind="TIFF")},
    "too many pixels": {"body": png(size=(2000, 1001))},
    "text": {"body": b"hello", "content_type": "text/plain"},
    "compressed": {"body": png(), "content_encoding": "gzip"},
    "a bad query": {"body": png(), "query": "top=0"},
    "an odd query": {"body": png(), "query": "top="},
    "another bad query": {"body": png(), "query": "verbose=1"},
    "the wrong method": {"method": "GET"},
    "health": {"path": "/healthz", "method": "GET"},
    "the head of health": {"path": "/healthz", "method": "HEAD"},
}


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("name", CASES)
def test_the_function_answers_as_the_server_does(function, server, front, name):
    case = {"body": b"", "path": "/predict", "query": "", "method": "POST", "content_type": "image/png"} | CASES[name]
    found = function(make_event(front, **case), CONTEXT)
    body, path, query, method = (case.pop(key) for key in ("body", "path", "query", "method"))
    wanted = server.request(method, path + ("?" + query if query else ""), body or None, **case)
    assert found["statusCode"] == wanted.status
    if method == "HEAD":
        assert found["body"] == ""
        return
    told, expected = json.loads(found["body"]), wanted.json()
    assert told.pop("request_id", None) == ("8f507cfc-xmpl" if "code" in told else None)
    expected.pop("request_id", None)
    assert told == expected
    for name in ("content-type", "x-content-type-options", "cache-control", "allow"):
        assert found["headers"].get(name) == wanted.headers.get(name), name
    assert found["headers"]["x-request-id"] == "8f507cfc-xmpl"
    assert found["headers"]["x-catseye-model"] == function.model.version
    assert json.loads(json.dumps(found)) == found


def test_what_the_model_says_of_itself(function, server):
    told = json.loads(function(make_event("http-api", path="/model", method="GET"))["body"])
    wanted = server.get("/model").json()
    assert told["classes"] == wanted["classes"]
    assert told.keys() == wanted.keys()


@pytest.mark.parametrize("front", FRONTS)
def test_a_image_beyond_six_megabytes_is_told_why(function, front):
    found = function(make_event(front, b"x" * (BODY_BYTES + 1)))
    told = json.loads(found["body"])
    assert (found["statusCode"], told["code"]) == (413, "body-too-large")
    assert "base64" in told["error"]
    assert "a third longer" in told["error"]
    assert "4,500,001" in told["error"]


def test_the_largest_body_fits_into_lambdas_event(function):
    event = make_event("http-api", b"x" * BODY_BYTES)
    assert function(event)["statusCode"] == 415  # read, and no image
    assert len(json.dumps(event)) < LAMBDA_BYTES - 100_000


def test_a_body_that_came_as_text(function):
    """An image whose bytes happen to be text is taken; one that lost bytes on the way is told so."""
    ppm = b"BM" + bytes([62, 0, 0, 0, 0, 0, 0, 0, 62, 0, 0, 0, 40, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 1, 0])
    ppm += bytes(24) + bytes([0, 0, 0, 0, 127, 127, 127, 0]) + bytes([64, 0, 0, 0, 64, 0, 0, 0])
    event = make_event("rest-api", ppm, content_type="image/bmp")
    in_base64 = function(event)
    assert in_base64["statusCode"] == 200, in_base64["body"]
    as_text = function({**event, "body": ppm.decode("ascii"), "isBase64Encoded": False})
    assert as_text["body"] == in_base64["body"]
    damaged = function({**event, "body": png().decode("utf-8", "replace"), "isBase64Encoded": False})
    told = json.loads(damaged["body"])
    assert (damaged["statusCode"], told["code"]) == (400, "image-damaged")
    assert "BinaryMediaTypes" in told["error"]


@pytest.mark.parametrize(
    "event",
    [
        {},
        None,
        [],
        {"Records": []},
        {"httpMethod": "GET"},
        {**make_event("http-api", png()), "body": "%%%"},
        {**make_event("http-api", png()), "requestContext": [1]},
        {**make_event("http-api", png()), "headers": "a"},
        {**make_event("rest-api", png()), "multiValueHeaders": 1},
        {**make_event("rest-api", png()), "multiValueQueryStringParameters": True},
        {**make_event("rest-api", png()), "pathParameters": 1},
    ],
    ids=["empty", "none", "list", "queue", "half", "no base64", "context", "headers", "values", "query", "proxy"],
)
def test_what_is_no_event_is_told_so(function, event):
    found = function(event)
    assert (found["statusCode"], json.loads(found["body"])["code"]) == (400, "unknown-event")


def test_behind_a_base_path(function):
    event = make_event("rest-api", path="/healthz", method="GET")
    assert function({**event, "path": "/cats/healthz"})["statusCode"] == 200


def test_a_fault_of_ours_shows_nothing(function, monkeypatch, capsys):
    monkeypatch.setattr(function, "_answer", lambda call: 1 / 0)
    found = function(make_event("http-api", png()), CONTEXT)
    assert found["statusCode"] == 500
    assert "division" not in found["body"]
    assert "division by zero" in capsys.readouterr().out


def test_one_line_of_log_per_call(function, capsys):
    function(make_event("http-api", png(), user_agent="secret-agent-7"), CONTEXT)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line).items() >= {"id": "8f507cfc-xmpl", "status": 200, "route": "/predict"}.items()
    assert "secret-agent" not in line


def test_unknown_is_said_only_below_the_threshold(tmp_path):
    named = models.named("red", "green", "blue", unknown_threshold=0.9)
    function = open_function(models.write(tmp_path / "m.onnx", named))
    assert "unknown" not in json.loads(function(make_event("http-api", png("red")))["body"])
    assert json.loads(function(make_event("http-api", png("grey")))["body"])["unknown"] is True


def test_a_stranger_is_unknown(tmp_path):
    function = open_function(models.write(tmp_path / "m.onnx", models.with_familiarity(0.5)))
    assert "unknown" not in json.loads(function(make_event("http-api", png("red")))["body"])
    stranger = json.loads(function(make_event("http-api", png("blue")))["body"])
    assert (stranger["unknown"], stranger["familiarity"]) == (True, 0.0)
    facts = json.loads(function(make_event("http-api", path="/model", method="GET"))["body"])
    assert facts["familiarity_threshold"] == 0.5


def test_an_answer_that_lambda_would_not_pass_on(function, monkeypatch):
    monkeypatch.setattr("catseye.serving.aws_events.ANSWER_BYTES", 90)
    found = function(make_event("http-api", png()))
    assert (found["statusCode"], json.loads(found["body"])["code"]) == (413, "answer-too-large")
    monkeypatch.setattr("catseye.serving.aws_events.ANSWER_BYTES", 600)
    assert function(make_event("http-api", png()))["statusCode"] == 200


def test_a_token(tmp_path, monkeypatch):
    monkeypatch.setenv("CATSEYE_TOKEN", "0123456789abcdef0123")
    function = open_function(models.write(tmp_path / "m.onnx"))
    for front in FRONTS:
        assert function(make_event(front, png()))["statusCode"] == 401
        assert function(make_event(front, png(), authorization="Bearer 0123456789abcdef0124"))["statusCode"] == 401
        assert function(make_event(front, png(), authorization="Bearer 0123456789abcdef0123"))["statusCode"] == 200
        assert function(make_event(front, path="/healthz", method="GET"))["statusCode"] == 200


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("CATSEYE_TOKEN", "short", "16 or more"), ("CATSEYE_MAX_PIXELS", "many", "whole number")],
)
def test_a_wrong_variable(tmp_path, monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        open_function(models.write(tmp_path / "m.onnx"))
