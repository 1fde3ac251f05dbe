"""One connection and many: pipelines, answers that nobody reads, places, and who gets one when all are taken."""

import asyncio
import re
import socket
import time

import pytest
import uvicorn
from uvicorn.server import ServerState

from catseye.http.door import Door, place_of
from catseye.http.limits import Limits
from catseye.http.protocol import guarded
from catseye.http.rules import Rules
from tests.server import models
from tests.server.running import Running, noise, png, post_bytes, read_answer, refused

GOOD = noise(1, kind="PNG")
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def few(start, tmp_path) -> Running:
    """At most ten connections, six of one address; whoever reads nothing for a second is cut off."""
    limits = {"max_connections": 10, "max_per_address": 6, "write_s": 1.0, "header_s": 5.0}
    return start.with_settings(models.write(tmp_path / "m.onnx"), limits=limits)


def connect_narrow(running: Running) -> socket.socket:
    """A connection that takes in little. Set before it is made: behind a window that shrank later, a reset is lost."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", running.port))
    return connection


def send_until_full(connection: socket.socket, piece: bytes, most: int) -> int:
    """Bytes that were taken before the other side took no more for two seconds, or ended the connection."""
    connection.setblocking(False)
    sent, last = 0, time.monotonic()
    while sent < most and time.monotonic() - last < 2:
        try:
            sent += connection.send(piece)
            last = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            break
    return sent


def test_a_pipeline_that_is_never_read_stays_small(start, tmp_path):
    running = start(models.write(tmp_path / "m.onnx"), "--quiet")
    before = running.memory_mb()
    with connect_narrow(running) as connection:
        send_until_full(connection, HEALTH * 4000, 200_000_000)
        assert running.memory_mb() - before < 12
        assert running.get("/healthz").status == 200
        # Reading has stopped; the connection has not been cut off: whoever reads at last is answered on.
        connection.settimeout(10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
        found = b""
        while len(found) < 1_000_000:
            piece = connection.recv(100_000)
            assert piece, "it was cut off"
            found += piece
        assert found.count(b"HTTP/1.1 200 ") > 2000


def test_a_pipeline_that_is_read_is_answered_in_order(server):
    colors = ["red", "green", "blue"] * 20
    with server.connect() as connection:
        connection.sendall(b"".join(post_bytes(png(color)) for color in colors))
        stream = connection.makefile("rb")
        text = b""
        while text.count(b'"class"') < len(colors):
            piece = stream.read1()
            assert piece, "it ended early"
            text += piece
    found = [one.split(b'"')[0].decode() for one in text.split(b'"class":"')[1:]]
    assert found == colors


def test_whoever_reads_nothing_is_cut_off(few):
    page = b"GET /static/style.css HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect_narrow(few) as connection:
        send_until_full(connection, page * 100, 50_000_000)  # two seconds pass in it, and one is allowed
        few.wait_for(lambda: ended(connection), timeout_s=10)
    assert few.get("/healthz").status == 200


def ended(connection: socket.socket) -> bool:
    """Whether the other side has reset the connection; reads nothing of it."""
    try:
        connection.send(b"x")
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


class NeverRead:
    """A transport whose client reads nothing; it was closed, and what was written last still waits."""

    aborted = False

    def __getattr__(self, name):
        return lambda *words: None

    def is_closing(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 1000

    def abort(self) -> None:
        self.aborted = True


def test_also_while_it_is_closing():
    config = uvicorn.Config(lambda *words: None, http="httptools", ws="none", log_config=None)
    loop = asyncio.new_event_loop()
    try:
        protocol = guarded(Rules(Limits(write_s=30)))(config, ServerState(), {}, loop)
        transport = NeverRead()
        protocol.connection_made(transport)
        for now, aborted in ((100, False), (129, False), (131, True)):
            protocol.sweep(now)
            assert transport.aborted is aborted
    finally:
        loop.close()


def statuses(connection: socket.socket) -> list[int]:
    """Of all answers until the end."""
    text = b""
    while piece := connection.recv(100_000):
        text += piece
    return [int(found) for found in re.findall(rb"HTTP/1.1 (\d+) ", text)]


def test_a_good_request_before_garbage_gets_its_answer(server):
    for garbage in (b"\x00\x01\x02 garbage\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /predict HTTP/1.1\r\n\r\n"):
        with server.connect() as connection:
            connection.sendall(post_bytes(png("blue")) + garbage)
            good, bad = statuses(connection)
            assert (good, bad) == (200, 400)
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(head + body + b"garbage\r\n\r\n")
        assert statuses(connection) == [200, 400]


def idle(running: Running, count: int) -> list[socket.socket]:
    """Connections that have asked once and wait."""
    found = []
    for _ in range(count):
        connection = running.connect()
        connection.sendall(HEALTH)
        assert read_answer(connection).status == 200
        found.append(connection)
    return found


def hold(running: Running, count: int) -> list[socket.socket]:
    """Connections that have begun to ask, so that they are not idle."""
    found = []
    for _ in range(count):
        connection = running.connect()
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        found.append(connection)
    time.sleep(0.3)
    return found


def close(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.close()


def test_idle_connections_make_room_the_longest_first(few):
    waiting = idle(few, 6)
    newcomer = few.connect()
    newcomer.sendall(post_bytes(GOOD))
    assert read_answer(newcomer).status == 200
    assert waiting[0].recv(1) == b""  # the one that had been idle longest
    for connection in waiting[1:]:
        connection.sendall(HEALTH)
        assert read_answer(connection).status == 200
    close([*waiting, newcomer])


def test_one_address_gets_its_share_and_is_told_so(few):
    """The seventh connection of this address is refused, though there are ten places; health is answered."""
    held = hold(few, 6)
    answer = few.predict(GOOD)
    said = refused(answer, 503)
    assert said["code"] == "too-many-connections"
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["content-type"] == "application/json"
    for path in ("/healthz", "/readyz", "/metrics", "/v2/health/live"):
        assert few.get(path).status == 200
    other = socket.create_connection(("127.0.0.1", few.port), timeout=10, source_address=("127.0.0.2", 0))
    other.sendall(post_bytes(GOOD))
    assert read_answer(other).status == 200
    close([*held, other])
    few.wait_for(lambda: few.predict(GOOD).status == 200)
    assert few.metric("catseye_requests_total", route="connection", status="503") == 1


def test_nobody_can_hold_the_places_on_top(few):
    held = hold(few, 6)
    on_top = hold(few, 30)
    on_top[0].settimeout(1)  # well before its time for a request is over
    assert on_top[0].recv(1) == b""
    assert few.get("/healthz").status == 200
    other = socket.create_connection(("127.0.0.1", few.port), timeout=10, source_address=("127.0.0.2", 0))
    other.sendall(HEALTH)
    assert read_answer(other).status == 200
    close([*held, *on_top, other])


def test_all_places_taken_by_many_addresses(few):
    held = hold(few, 6)
    for number in range(2, 6):
        one = socket.create_connection(("127.0.0.1", few.port), timeout=10, source_address=(f"127.0.0.{number}", 0))
        one.sendall(b"GET / HTTP/1.1\r\nX-A: ")
        held.append(one)
    time.sleep(0.3)
    other = socket.create_connection(("127.0.0.1", few.port), timeout=10, source_address=("127.0.0.9", 0))
    other.sendall(post_bytes(GOOD))
    assert read_answer(other).status == 503
    close([*held, other])


class Caller:
    """A connection, as far as the door knows it."""

    def __init__(self, host: str) -> None:
        self.address = place_of(host)

    def dismiss(self) -> None:
        raise AssertionError("it has begun to ask")


def test_a_subscriber_of_ipv6_is_one_address():
    """He has 2 ** 64 of them: counted one by one, the limit of one address would bind nobody."""
    door = Door(Limits(max_connections=10, max_per_address=3))
    taken_in = []
    for number in range(5):
        caller = Caller(f"2001:db8:1:2::{number:x}")
        taken_in.append(door.enter(caller))
        door.busy(caller)
    assert taken_in == [True, True, True, False, False]
    assert door.enter(Caller("2001:db8:1:3::1"))


def test_refusals_before_any_route_are_counted(start, tmp_path):
    running = start.with_settings(models.write(tmp_path / "m.onnx"), limits={"header_s": 0.5})
    refused(running.raw(b"nonsense\r\n\r\n"), 400)
    refused(running.raw(b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 3_000), 431)
    refused(running.raw(b"GET / HTTP/1.1\r\nX-A: "), 408)
    for status in ("400", "408", "431"):
        assert running.metric("catseye_requests_total", route="connection", status=status) == 1
    codes = {line["code"] for line in running.events("request") if line["route"] == "connection"}
    assert codes == {"malformed-request", "too-slow", "headers-too-large"}
