"""Faults 11 to 22, 32 and 33: what a stranger may do with the protocol."""

import json
import random
import socket
import statistics
import threading
import time

import pytest

from tests.server import models
from tests.server.running import form, noise, png, post_bytes, read_answer, refused

GOOD = noise(1, kind="PNG")
CAP = 1_000_000  # the shared server's --max-body
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
pytestmark = pytest.mark.usefixtures("answers_as_before")


def test_11_one_byte_over_the_cap_is_refused_before_reading(server):
    head = HEAD + f"Content-Length: {CAP + 1}\r\n\r\n".encode()
    started = time.monotonic()
    with server.connect() as connection:
        connection.sendall(head)  # and not one byte of the body
        refused(read_answer(connection), 413)
    assert time.monotonic() - started < 2
    refused(server.raw(head + b"x" * (CAP + 1)), 413)
    at_the_cap = server.raw(HEAD + f"Content-Length: {CAP}\r\n\r\n".encode() + b"x" * CAP)
    refused(at_the_cap, 415)  # read, and then seen to be no image


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def test_12_the_same_without_a_length(server):
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    refused(server.raw(head + chunked(*[b"x" * 10_000] * 101)), 413)
    assert server.raw(head + chunked(GOOD[:100], GOOD[100:])).status == 200
    # One that never ends is stopped at the cap as well.
    with server.connect() as connection:
        connection.sendall(head)
        sent = 0
        try:
            while sent < 100 * CAP:
                connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                sent += 0x10000
        except OSError:
            pass
        assert sent < 100 * CAP
    assert server.get("/healthz").status == 200


def test_13_a_body_in_65537_chunks(server):
    started = time.monotonic()
    refused(server.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 65_537 + b"0\r\n\r\n"), 413)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "lengths",
    [
        b"Content-Length: -1\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 99999999999999999999999999\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: \r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
    ],
)
def test_14_a_wrong_content_length(server, lengths):
    refused(server.raw(HEAD + lengths + b"\r\nhello"), 400, 415)


def test_15_a_long_boundary_and_ten_thousand_part_headers(server):
    body, kind = form(GOOD, boundary="b" * 257)
    heads = b"X-Header: 1\r\n" * 10_000
    flood = b'--b\r\nContent-Disposition: form-data; name="file"\r\n' + heads + b"\r\nx\r\n--b--\r\n"
    many = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 10_000 + b"--b--\r\n"
    for content, said, rule in (
        (body, kind, "a boundary of 1 to 70 plain characters"),
        (flood, "multipart/form-data; boundary=b", "the headers of a part end within 4,096 bytes"),
        (many, "multipart/form-data; boundary=b", "at most 64 parts"),
    ):
        ids = set()
        for _ in range(3):
            answer = refused(server.predict(content, content_type=said), 400)
            assert answer["code"] == "malformed-form"
            assert rule in answer["error"]
            ids.add(answer["request_id"])
        lines = server.wait_for(lambda ids=ids: _lines_of(server, ids))
        assert min(one["ms"] for one in lines) < 100  # the best of three, since the machine may be busy


def _lines_of(server, ids: set[str]) -> list[dict]:
    """The lines of these requests in the log; none until all are there."""
    found = [one for one in server.events("request") if one.get("id") in ids]
    return found if len(found) == len(ids) else []


def test_16_a_preamble_of_100_megabytes(server):
    """It ends at the cap, whether its length is said or not."""
    body, kind = form(GOOD)
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    head += f"Content-Length: {10**8 + len(body)}\r\n\r\n"
    before = server.memory_mb()
    with server.connect() as connection:
        connection.sendall(head.encode())
        refused(read_answer(connection), 413)
    assert server.memory_mb() - before < 10
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent, most = 0, 0.0
    with server.connect() as connection:
        try:
            connection.sendall(head.encode())
            while sent < 10**8:
                connection.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
                sent += 0x100000
                most = max(most, server.memory_mb())
        except OSError:
            pass  # it has closed: what it said before is read below
    assert sent < 20 * CAP
    assert most - before < 15
    refused(server.raw(head.encode() + b"100000\r\n" + b"x" * 0x100000 + b"\r\n"), 413)
    small = b"some preamble\r\n" + body
    assert server.predict(small, content_type=kind).status == 200


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\x00b.png", 'a\\"b', "x" * 3000, "é\u202egnp.exe"])
def test_17_a_file_name_is_ignored(server, name):
    body, kind = form(GOOD, name=name)
    assert server.predict(body, content_type=kind).status == 200
    assert "passwd" not in server.log_path.read_text()


def test_17_a_line_break_in_a_path_stays_one_line_of_the_log(server):
    before = len(server.log_path.read_text().splitlines())
    server.get("/%0d%0a%7B%22event%22:%22forged%22%7D")
    server.wait_for(lambda: len(server.log_path.read_text().splitlines()) > before)
    assert not server.events("forged")


def test_18_json_nested_500_000_deep(server):
    for text in (b"[" * 500_000, b'{"a":' * 150_000, b"[" * 490_000 + b"]" * 490_000):
        answer = server.predict(text, "/v2/models/tints/infer", content_type="application/json")
        refused(answer, 400)


@pytest.mark.parametrize(
    "change",
    [
        {"data": [float("nan")] * 48},
        {"data": [float("inf")] * 48},
        {"data": [1e400] * 48},
        {"data": [-1] * 48},
        {"data": [256] * 48},
        {"data": [0.5] * 48},
        {"data": [1] * 47},
        {"data": [[1], [1, 2]]},
        {"data": "x"},
        {"data": None},
        {"data": {"a": 1}},
        {"shape": [1, 3, 4, 4]},
        {"shape": [0, 4, 4, 3]},
        {"shape": [-1, 4, 4, 3]},
        {"shape": [10**12, 4, 4, 3]},
        {"shape": [True, 4, 4, 3]},
        {"shape": "1"},
        {"datatype": "FP32"},
        {"datatype": None},
        {"name": "photo"},
        {"parameters": {"binary_data_size": 48}},
        {"parameters": {"binary_data_size": -1}},
    ],
    ids=str,
)
def test_19_a_wrong_tensor(server, change):
    tensor = {"name": "image", "shape": [1, 4, 4, 3], "datatype": "UINT8", "data": [7] * 48, **change}
    body = json.dumps({"inputs": [tensor]}).encode()
    refused(server.predict(body, "/v2/models/tints/infer", content_type="application/json"), 400)


def slow_heads(server, count: int) -> list[socket.socket]:
    connections = []
    for _ in range(count):
        connection = server.connect()
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        connections.append(connection)
    return connections


def p99_ms(server, count: int) -> float:
    times = []
    for _ in range(count):
        started = time.perf_counter()
        assert server.predict(GOOD).status == 200
        times.append((time.perf_counter() - started) * 1000)
    return statistics.quantiles(times, n=100)[-1]


def slowloris(server, count: int, requests: int) -> None:
    # Beside other tests the slowest of 60 answers is a matter of chance: once three pairs in a row had one. What the
    # connections themselves cost would show in every pair.
    p99_ms(server, requests // 4)
    ratios = []
    for _ in range(8):
        alone = p99_ms(server, requests)
        connections = slow_heads(server, count)
        try:
            beside = p99_ms(server, requests)
        finally:
            for connection in connections:
                connection.close()
        ratios.append(beside / alone)
        if ratios[-1] < 2:
            return
    raise AssertionError(f"p99 of a good client grew by {ratios}")


def test_20_100_connections_with_slow_headers(server):
    slowloris(server, 100, 60)


@pytest.mark.slow
def test_20_500_connections_with_slow_headers(server):
    slowloris(server, 500, 400)


@pytest.mark.parametrize("part", ["head", "body"])
def test_21_one_byte_a_moment_is_closed_at_the_deadline(server, part):
    """The shared server gives 2 s for headers and 3 s for a body."""
    with server.connect() as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\n" if part == "head" else HEAD + b"Content-Length: 1000\r\n\r\n")
        started = time.monotonic()
        try:
            while time.monotonic() - started < 10:
                connection.sendall(b"X")
                time.sleep(0.1)
                connection.setblocking(False)
                try:
                    if not connection.recv(1, socket.MSG_PEEK):
                        break
                    connection.setblocking(True)
                    assert read_answer(connection).status == 408
                    break
                except BlockingIOError:
                    connection.setblocking(True)
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert time.monotonic() - started < 6


def test_21_a_long_body_beside_half_a_header_is_no_long_header(server):
    """Pipelined: the end of one request and the beginning of the next come in one piece."""
    big = noise(2, side=200)
    first, second = post_bytes(big), post_bytes(png("blue"))
    with server.connect() as connection:
        connection.sendall(first + second[:40])
        assert read_answer(connection).status == 200
        time.sleep(0.2)
        connection.sendall(second[40:])
        assert read_answer(connection).json()["class"] == "blue"


def test_21_blank_lines_do_not_hold_a_connection(server):
    with server.connect() as connection:
        connection.sendall(post_bytes(png("blue")))
        assert read_answer(connection).status == 200
        connection.sendall(b"\r\n")
        started = time.monotonic()
        connection.recv(1000)  # 408 or the end: what counts is that it comes
        assert time.monotonic() - started < 6


def test_21_headers_without_an_end_are_refused(server):
    refused(server.raw(b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 3_000), 431)
    refused(server.raw(b"GET / HTTP/1.1\r\nX-A: " + b"b" * 200_000), 431)
    refused(server.raw(b"GET /" + b"b" * 200_000), 431)
    refused(server.raw(b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: b\r\n" % n for n in range(200)) + b"\r\n"), 431)


def hang_up(server, count: int, seed: int = 0) -> None:
    """Disconnect before, during and after the batch."""
    chance = random.Random(seed)
    body = post_bytes(GOOD)

    def some(number: int) -> None:
        for _ in range(number):
            try:
                with server.connect() as connection:
                    kind = chance.random()
                    if kind < 0.25:
                        connection.sendall(body[: chance.randrange(len(body))])
                    else:
                        connection.sendall(body)
                        if kind < 0.75:
                            time.sleep(chance.random() * 0.01)
                        else:
                            connection.recv(10)
            except OSError:
                pass

    threads = [threading.Thread(target=some, args=(count // 8,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def all_back():
        found = server.get("/metrics").body.decode()
        return "catseye_images_in_flight 0.0" in found and "catseye_queue_depth 0.0" in found

    server.wait_for(all_back)


def test_22_callers_that_hang_up(server):
    hang_up(server, 400)
    gone = server.metric("catseye_requests_total", status="499")
    assert gone > 0


@pytest.mark.slow
def test_22_ten_thousand_callers_that_hang_up(start, tmp_path):
    running = start(models.write(tmp_path / "m.onnx", models.slow(5)), "--quiet")
    hang_up(running, 2_000)
    before = running.memory_mb()
    hang_up(running, 10_000, seed=1)
    assert running.memory_mb() - before < 15


def test_22_a_caller_that_has_gone_costs_no_model_time(start, tmp_path):
    """40 slow images are queued and their callers hang up: the queue is empty long before it could be computed."""
    running = start(models.write(tmp_path / "m.onnx", models.slow(60)), "--concurrency", 1, "--batch-size", 1)
    connections = [running.connect() for _ in range(40)]
    for connection in connections:
        connection.sendall(post_bytes(GOOD))
    running.wait_for(lambda: running.metric("catseye_images_in_flight") >= 20)
    for connection in connections:
        connection.close()
    running.wait_for(lambda: running.metric("catseye_images_in_flight") == 0, timeout_s=5)
    calls = running.metric("catseye_batch_size_count")
    assert calls < 38


@pytest.mark.parametrize(
    ("request_line", "status", "code"),
    [
        (b"GET //metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "unknown-path"),
        (b"GET /metrics/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "unknown-path"),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "unknown-path"),
        (b"GET /static/../page.py HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "unknown-path"),
        (b"GET /static/%2e%2e/page.py HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "unknown-path"),
        (b"GET /static/..%5cpage.py HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "unknown-path"),
        (b"GET /static//app.js HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "unknown-path"),
        (b"GET http://evil.example/metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, "foreign-host"),
        (b"GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 421, "foreign-host"),
        (b"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "unknown-path"),
        (b"GET /%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "unknown-path"),
        (b"DELETE /predict HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "unknown-method"),
        (b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "no-tunnel"),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "unknown-path"),
        (
            b"POST /v2/models/../../etc/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
            404,
            "unknown-path",
        ),
        (b"GET /v2/models/other HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "unknown-model"),
        (b"GET /v2/repository/index HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "unknown-path"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed-request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed-request"),
    ],
    ids=lambda one: one.partition(b"\r")[0].decode("latin-1") if isinstance(one, bytes) else str(one),
)
def test_32_odd_requests_open_nothing(server, request_line, status, code):
    assert refused(server.raw(request_line, timeout_s=5), status)["code"] == code


def test_32_range_and_host_change_nothing(server):
    plain = server.get("/")
    for headers in ({"range": "bytes=0-10"}, {"host": "LocalHost:1"}, {"x-forwarded-host": "evil.example"}):
        answer = server.get("/", **headers)
        assert (answer.status, answer.body) == (200, plain.body)
    upgraded = server.get("/healthz", connection="upgrade", upgrade="websocket", sec_websocket_key="eA==")
    assert upgraded.status == 200  # RFC 9110 7.8: ignored


NASTY = '<img src=x onerror="document.title=1">'


def test_33_a_class_with_markup_stays_text(start, tmp_path):
    running = start(models.write(tmp_path / "m.onnx", models.named(NASTY, "=cmd|' /C calc'!A0", "\tblue\n")))
    answer = running.predict(png("red"))
    assert answer.json()["class"] == NASTY  # exact in JSON
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    for path in ("/", "/docs", "/static/app.js", "/favicon.ico"):
        page = running.get(path)
        assert b"onerror=" not in page.body
        assert b"script-src 'self'" in page.headers["content-security-policy"].encode()
        assert "unsafe" not in page.headers["content-security-policy"]
    assert running.get("/openapi.json").headers["content-type"] == "application/json"
    # The line stays one line, and Prometheus can read it.
    text = running.get("/metrics").body.decode()
    assert r"\"document.title=1\"" in text
