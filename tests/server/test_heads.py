"""Heads that a parser of HTTP/1.1 lets pass, and that two servers in a row could understand differently."""

import shutil
import subprocess

import pytest

from tests.server import models
from tests.server.running import noise, png, post_bytes, read_answer, refused

GOOD = noise(1, kind="PNG")
LENGTH = f"Content-Type: image/png\r\nContent-Length: {len(GOOD)}\r\n".encode()


def ask(server, *lines: bytes, body: bytes = GOOD, line: bytes = b"POST /predict HTTP/1.1"):
    return server.raw(b"\r\n".join([line, *lines]) + b"\r\n" + LENGTH + b"\r\n" + body)


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"TLS/1.2", b"H2C, x"])
def test_an_upgrade_is_ignored_and_its_body_is_read(server, upgrade):
    """RFC 9110 7.8; a body taken for another protocol would be the next request."""
    head = (b"Host: localhost", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + upgrade, b"HTTP2-Settings: AA")
    assert ask(server, *head).status == 200
    request = b"\r\n".join([b"POST /predict HTTP/1.1", *head]) + b"\r\n" + LENGTH + b"\r\n" + GOOD
    with server.connect() as connection:
        for piece in (request[:60], request[60:250], request[250:-3], request[-3:]):
            connection.sendall(piece)
        assert read_answer(connection).status == 200
        connection.sendall(post_bytes(png("blue")))
        assert read_answer(connection).json()["class"] == "blue"


def test_an_upgrade_cannot_smuggle_a_request(server):
    inner = b"GET /model HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
    with server.connect() as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(inner) + inner + b"GET /no HTTP/1.1\r\n\r\n")
        text = b""
        while piece := connection.recv(10_000):
            text += piece
    assert b'"alive"' in text
    assert b'"classes"' not in text


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_that_offers_http2(server, tmp_path):
    (tmp_path / "cat.png").write_bytes(png("blue"))
    command = ["curl", "-s", "--http2", "-F", f"file=@{tmp_path}/cat.png", f"{server.address}/predict"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '"class":"blue"' in done.stdout


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ((), "no-host"),
        ((b"Host: localhost", b"Host: localhost"), "doubled-header"),
        ((b"Host: localhost, evil.example",), "bad-host"),
        ((b"Host: localhost/evil",), "bad-host"),
        ((b"Host: u@localhost",), "bad-host"),
        ((b"Host: localhost", b"Authorization: Bearer a", b"authorization: Bearer b"), "doubled-header"),
        ((b"Host: localhost", b"Content-Type: image/png"), "doubled-header"),
    ],
)
def test_heads_that_say_nothing_or_two_things(server, lines, code):
    assert refused(ask(server, *lines), 400)["code"] == code


@pytest.mark.parametrize(
    "coding", [b"gzip, chunked", b"gzip", b"chunked, chunked", b"identity", b"chunked\r\nTransfer-Encoding: chunked"]
)
def test_codings_that_nobody_decodes(server, coding):
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nTransfer-Encoding: " + coding
    refused(server.raw(head + b"\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)), 400)


def test_a_chunked_body_of_http_1_0(server):
    head = b"POST /predict HTTP/1.0\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    refused(server.raw(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)), 400)


@pytest.mark.parametrize("version", [b"2.0", b"0.9", b"3.0", b"1.2"])
def test_other_versions_of_http(server, version):
    refused(server.raw(b"GET /healthz HTTP/%s\r\nHost: localhost\r\n\r\n" % version), 400)


@pytest.mark.parametrize("where", ["extension", "many extensions", "trailer"])
def test_what_is_no_body_in_a_chunked_body_is_bounded(server, where):
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    long = {
        "extension": b"1;" + b"a" * 2_000_000,
        "many extensions": (b"1;" + b"a" * 300 + b"\r\nx\r\n") * 5_000,
        "trailer": b"1\r\nx\r\n0\r\nX-A: " + b"b" * 2_000_000,
    }[where]
    refused(server.raw(head + long), 413, 431)


def test_a_trailer_is_no_header(start, tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef0123\n")
    running = start(models.write(tmp_path / "m.onnx"), "--token-file", tmp_path / "token")
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"%x\r\n%s\r\n0\r\nAuthorization: Bearer 0123456789abcdef0123\r\n\r\n" % (len(GOOD), GOOD)
    assert running.raw(head + body).status == 401
    # Of two tokens neither wins; one is enough, its scheme in any case.
    right, wrong = b"Authorization: Bearer 0123456789abcdef0123", b"Authorization: Bearer 0123456789abcdef0124"
    for two in ((right, wrong), (wrong, right), (right, right)):
        assert ask(running, b"Host: localhost", *two).status == 400
    for scheme in (b"bearer", b"BEARER", b"Bearer"):
        assert ask(running, b"Host: localhost", right.replace(b"Bearer", scheme)).status == 200
    assert ask(running, b"Host: localhost", right.replace(b"Bearer", b"Basic")).status == 401
    # Every user of this machine can read that file.
    assert running.events("token-file-open")


def test_a_token_file_of_ones_own_needs_no_warning(start, tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef0123\n")
    (tmp_path / "token").chmod(0o640)
    running = start(models.write(tmp_path / "m.onnx"), "--token-file", tmp_path / "token")
    assert not running.events("token-file-open")


def test_only_names_of_this_machine_are_answered(server):
    """A page of evil.example whose name is pointed at 127.0.0.1 asks with its own name in Host."""
    for host in (b"evil.example", b"evil.example:8000", b"localhost.evil.example"):
        assert refused(ask(server, b"Host: " + host), 421)["code"] == "foreign-host"
        line = b"POST http://" + host + b"/predict HTTP/1.1"
        assert refused(ask(server, b"Host: localhost", line=line), 421)["code"] == "foreign-host"
    for host in (b"localhost", b"LOCALHOST:1", b"127.0.0.1:8000", b"[::1]:8000", b"10.0.0.7", b"localhost."):
        assert ask(server, b"Host: " + host).status == 200
    assert server.get("/healthz", host="evil.example").status == 200  # says nothing that anybody could use


def test_names_can_be_allowed(start, tmp_path):
    running = start(models.write(tmp_path / "m.onnx"), "--allow-host", "cats.example", "--allow-host", "Dogs.example")
    for host in (b"cats.example", b"dogs.example:80", b"localhost"):
        assert ask(running, b"Host: " + host).status == 200
    assert ask(running, b"Host: evil.example").status == 421


@pytest.mark.parametrize("encoding", [b"Identity", b"IDENTITY ", b""])
def test_words_of_http_in_any_case(server, encoding):
    assert ask(server, b"Host: localhost", b"Content-Encoding: " + encoding).status == 200
