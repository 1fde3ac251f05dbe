"""Limits one by one, each met exactly and passed by one; and what every answer tells a browser."""

import asyncio
import signal
import time

import pytest

from catseye.http.bodies import Request, body_held, read_body
from catseye.http.limits import Limits
from catseye.http.refusals import Refusal
from catseye.http.responses import json_response
from tests.server import models
from tests.server.running import form, noise, png, post_bytes, read_answer, refused

GOOD = noise(1, kind="PNG")


def test_the_sum_of_held_bodies(start, tmp_path):
    """Three callers send 400 KB and wait; 1 MB may be held in all, so the third is told to come later."""
    running = start.with_settings(models.write(tmp_path / "m.onnx"), limits={"buffered_bytes": 1_000_000})
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 500000\r\n\r\n"
    held = [running.connect() for _ in range(2)]
    for connection in held:
        connection.sendall(head + b"x" * 400_000)
    time.sleep(0.5)
    with running.connect() as third:
        third.sendall(head + b"x" * 400_000)
        answer = read_answer(third)
    assert refused(answer, 503)["code"] == "busy"
    assert int(answer.headers["retry-after"]) >= 1
    for connection in held:
        connection.close()
    running.wait_for(lambda: running.predict(GOOD).status == 200, timeout_s=5)
    # What was held is given back: again two callers have room, for as often as one likes.
    for _ in range(4):
        with running.connect() as connection:
            connection.sendall(head + b"x" * 500_000)
            assert read_answer(connection).status == 415


def test_held_bytes_are_given_back_whatever_happens():
    class Memory:
        buffered_bytes = 0

    memory, messages = Memory(), [{"type": "http.request", "body": b"x" * 600, "more_body": True}] * 3

    async def receive():
        return messages.pop()

    async def read() -> None:
        request = Request({}, receive, "id", {})
        with body_held(memory, request):
            await read_body(request, Limits(buffered_bytes=1000), memory)

    with pytest.raises(Refusal, match="try again later"):
        asyncio.run(read())
    assert memory.buffered_bytes == 0


def test_the_number_of_parts(start, tmp_path):
    running = start.with_settings(models.write(tmp_path / "m.onnx"), limits={"max_parts": 3})
    for number, status in ((3, 200), (4, 400)):
        body, kind = form(*[png()] * number)
        assert running.predict(body, "/predict/batch", content_type=kind).status == status


def test_the_number_and_size_of_headers(start, tmp_path):
    running = start.with_settings(models.write(tmp_path / "m.onnx"), limits={"max_headers": 5, "header_bytes": 2048})
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    assert running.raw(request + b"X: y\r\n" * 4 + b"\r\n").status == 200
    assert running.raw(request + b"X: y\r\n" * 5 + b"\r\n").status == 431
    room = 2048 - len(request) - len(b"X: \r\n\r\n")
    assert running.raw(request + b"X: " + b"y" * room + b"\r\n\r\n").status == 200
    assert running.raw(request + b"X: " + b"y" * (room + 1) + b"\r\n\r\n").status == 431


def test_the_deadline_of_an_image(start, tmp_path):
    """A call of this model takes seconds on any machine; the answer comes at the end of the caller's half second."""
    model = models.write(tmp_path / "m.onnx", models.slow(6000))
    running = start.with_settings(model, limits={"deadline_s": 0.5}, concurrency=1, batch_size=1)
    started = time.monotonic()
    answer = running.predict(GOOD)
    assert refused(answer, 504)["code"] == "too-late"
    assert 0.4 < time.monotonic() - started < 2


def test_the_drain_delay(start, tmp_path):
    """New callers are let in until it ends, and not after."""
    running = start(models.write(tmp_path / "m.onnx"), "--drain", 1.2)
    running.process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    running.wait_for(lambda: running.events("drain"))
    while time.monotonic() - started < 0.9:
        assert running.predict(GOOD).status == 200
    assert running.process.wait(10) == 0
    assert time.monotonic() - started > 1.2


def test_the_end_of_a_connection_that_asks_nothing(start, tmp_path):
    """Not one byte comes: there is no request to be late, and still no place for ever."""
    running = start.with_settings(models.write(tmp_path / "m.onnx"), limits={"header_s": 1.0})
    with running.connect(8) as connection:
        started = time.monotonic()
        assert connection.recv(100) == b""
        assert 0.9 < time.monotonic() - started < 4


def test_the_end_of_an_idle_connection(start, tmp_path):
    running = start.with_settings(models.write(tmp_path / "m.onnx"), limits={"keep_alive_s": 1.0})
    with running.connect() as connection:
        started = time.monotonic()
        for _ in range(3):
            connection.sendall(post_bytes(GOOD))
            assert read_answer(connection).status == 200
            time.sleep(0.6)  # each request starts the clock anew
        assert connection.recv(100) == b""
        assert 1.9 < time.monotonic() - started < 4


@pytest.mark.parametrize("kind", ["answer", "refusal", "unknown path", "broken", "too slow", "health"])
def test_every_json_answer_keeps_browsers_out(server, kind):
    answer = {
        "answer": lambda: server.predict(GOOD),
        "refusal": lambda: server.predict(b"x"),
        "unknown path": lambda: server.get("/no"),
        "broken": lambda: server.raw(b"nonsense\r\n\r\n"),
        "too slow": lambda: server.raw(b"GET / HTTP/1.1\r\nX: "),
        "health": lambda: server.get("/healthz"),
    }[kind]()
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_answer_with_nan_is_none(value):
    """JSON has no such number: a client would fail on it, far from the fault."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_response({"confidence": value})
