"""Behind a proxy's prefix, at a unix socket, asked by pages of other sites, and beside another server."""

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from catseye.errors import CatseyeError, UsageError
from catseye.http.sockets import bind, bind_path
from catseye.serving.settings import ServerSettings
from tests.server import models
from tests.server.running import Running, form, noise, png, post_bytes, read_answer

GOOD = noise(1, kind="PNG")


def test_the_page_names_no_address_of_the_root(server):
    """All are relative, so that they work below whatever prefix a proxy serves the page under."""
    for path in ("/", "/docs", "/static/app.js", "/static/api.js", "/static/docs.js"):
        text = server.get(path).body.decode()
        assert not re.findall(r"""(?:src|href)=["']/|(?:fetch|ask)\(["'`]/|from ["']/""", text), path
    for name in re.findall(r'(?:src|href)="(static/[^"]+)"', server.get("/").body.decode()):
        assert server.get(f"/{name}").status == 200


def test_a_prefix_that_the_proxy_leaves_on(start, tmp_path):
    running = start(models.write(tmp_path / "m.onnx"), "--root-path", "/cats/v1")
    assert running.facts["address"].endswith("/cats/v1")
    redirected = running.get("/cats/v1")
    assert (redirected.status, redirected.headers["location"]) == (308, "/cats/v1/")
    assert b"<!doctype html>" in running.get("/cats/v1/").body
    for prefix in ("/cats/v1", ""):  # a proxy may take it off, too
        assert running.predict(png("blue"), f"{prefix}/predict?top=1").json()["class"] == "blue"
        assert running.get(f"{prefix}/healthz", host="evil.example").status == 200
        assert running.get(f"{prefix}/static/app.js").status == 200
    assert running.get("/cats/v12/predict").status == 404
    assert running.get("/openapi.json").json()["servers"] == [{"url": "/cats/v1"}]


@pytest.mark.parametrize(
    "settings",
    [{"root_path": "cats"}, {"root_path": "/cats/"}, {"root_path": "/a\r\nb"}, {"cors_origins": ("example",)}],
)
def test_prefixes_and_origins_that_are_none(tmp_path, settings):
    with pytest.raises(UsageError, match="looks like"):
        ServerSettings(tmp_path / "m.onnx", **settings)


def allowed(answer) -> str | None:
    return answer.headers.get("access-control-allow-origin")


def test_pages_of_other_sites_may_ask_where_they_are_named(start, tmp_path):
    site, other = "https://cats.example", "https://evil.example"
    running = start(models.write(tmp_path / "m.onnx"), "--cors-origin", site)
    asked = {"access_control_request_method": "POST", "access_control_request_headers": "authorization"}
    preflight = running.request("OPTIONS", "/predict", origin=site, **asked)
    assert (preflight.status, allowed(preflight)) == (200, site)
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for answer in (running.predict(GOOD, origin=site), running.predict(b"x", origin=site)):
        assert allowed(answer) == site
        assert answer.headers["vary"] == "Origin"
    assert allowed(running.predict(GOOD, origin=other)) is None
    assert allowed(running.request("OPTIONS", "/predict", origin=other, **asked)) is None


def test_no_other_site_may_ask_by_itself(server):
    assert allowed(server.predict(GOOD, origin="https://cats.example")) is None
    asked = {"origin": "https://cats.example", "access_control_request_method": "POST"}
    assert server.request("OPTIONS", "/predict", **asked).status == 405


def test_any_site(start, tmp_path):
    running = start(models.write(tmp_path / "m.onnx"), "--cors-origin", "*")
    assert allowed(running.predict(GOOD, origin="https://cats.example")) == "*"


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_unix_socket(start, tmp_path, workers):
    path = tmp_path / "s"
    with contextlib.closing(bind_path(path)):  # what a killed server leaves behind
        pass
    running = start(models.write(tmp_path / "m.onnx"), "--uds", path, "--workers", workers)
    assert running.facts["address"] == f"unix:{path}"
    (tmp_path / "cat.png").write_bytes(png("blue"))
    command = ["curl", "-s", "--unix-socket", path, "-F", f"file=@{tmp_path}/cat.png", "http://any.example/predict"]
    assert '"class":"blue"' in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    with pytest.raises(CatseyeError, match="cannot be used"):
        bind_path(path)  # somebody is listening
    assert running.stop() == 0
    assert not path.exists()


def test_a_file_in_the_way_of_a_unix_socket_stays(tmp_path):
    (tmp_path / "s").write_text("mine")
    with pytest.raises(CatseyeError, match="--uds"):
        bind_path(tmp_path / "s")
    assert (tmp_path / "s").read_text() == "mine"


def test_an_address_belongs_to_one_from_the_start():
    """Bound alone, two may have it at the same time; and a model takes seconds to load."""
    with contextlib.closing(bind("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(CatseyeError, match="--port 0"):
            bind("127.0.0.1", port)
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass  # who comes early waits


def test_of_two_servers_on_one_port_one_says_ready(start, tmp_path):
    model = models.write(tmp_path / "m.onnx")
    with contextlib.closing(bind("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "catseye", "serve", str(model), "--port", str(port), "--json", "--quiet"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    try:
        codes: list[int | None] = [None, None]
        end = time.monotonic() + 30
        while codes.count(None) == 2 and time.monotonic() < end:
            codes = [one.poll() for one in both]
            time.sleep(0.05)
        (lost,) = [one for one, code in zip(both, codes, strict=True) if code is not None]
        said, why = lost.communicate()
        assert (lost.returncode, said) == (1, b"")
        assert b"cannot be used" in why
    finally:
        for one in both:
            if one.poll() is None:
                one.send_signal(signal.SIGTERM)
            one.communicate()


def clients(running: Running, results: list, stop: threading.Event, keep: bool) -> list[threading.Thread]:
    """Ask without a pause until nobody can connect any more; note every request that was sent."""

    def ask() -> None:
        connection = None
        while not stop.is_set():
            if connection is None:
                try:
                    connection = running.connect(10)
                except OSError:
                    results.append("refused")
                    time.sleep(0.02)
                    continue
            try:
                connection.sendall(post_bytes(GOOD))
                answer = read_answer(connection)
            except OSError:
                answer = None
            results.append(answer.status if answer else "lost")
            if answer is None or not keep or answer.headers.get("connection") == "close":
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "new"])
def test_sigterm_under_load_loses_no_request(start, tmp_path, keep):
    """Whoever has connected is answered: also who waits to be accepted, and who has been and not yet asked."""
    total: Counter = Counter()
    for round_number in range(2):
        running = start(models.write(tmp_path / "m.onnx"), "--quiet", "--concurrency", 1, "--batch-size", 4)
        results: list = []
        stop = threading.Event()
        threads = clients(running, results, stop, keep)
        time.sleep(0.4 + 0.1 * round_number)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 0
        stop.set()
        for thread in threads:
            thread.join()
        total += Counter(results)
    assert total[200] > 100
    assert set(total) <= {200, "refused"}, total


def test_whoever_waits_to_be_accepted_is_answered(start, tmp_path):
    """The process is stopped, so all of these wait in the socket when the signal comes."""
    running = start(models.write(tmp_path / "m.onnx"), "--drain", 0)
    running.process.send_signal(signal.SIGSTOP)
    connections = [running.connect(20) for _ in range(40)]
    for connection in connections[:20]:
        connection.sendall(post_bytes(png("green")))
    running.process.send_signal(signal.SIGTERM)
    running.process.send_signal(signal.SIGCONT)
    time.sleep(0.3)
    answers = []
    for connection in connections[20:]:  # and these ask a moment later
        with contextlib.suppress(OSError):
            connection.sendall(post_bytes(png("green")))
    for connection in connections:
        answer = read_answer(connection)
        answers.append(answer.status if answer else None)
        connection.close()
    assert answers == [200] * 40
    assert running.process.wait(20) == 0


def test_a_field_is_read_in_order(server):
    """`; name=` inside a file name is no parameter, wherever it stands; boundaries likewise."""
    body, kind = form(GOOD)
    head = b'Content-Disposition: form-data; filename="a; name=other; x.png"; NAME=file'
    plain = b'Content-Disposition: form-data; name="file"; filename="cat.png"'
    assert plain in body
    assert server.predict(body.replace(plain, head), content_type=kind).status == 200
    tricky = 'Multipart/Form-Data; comment="x; boundary=other"; Boundary="b0undary"'
    assert server.predict(body, content_type=tricky).status == 200
    twice = plain.replace(b"; filename", b'; name="other"; filename')
    assert server.predict(body.replace(plain, twice), content_type=kind).status == 400
