"""Who asks while the server is already on its way out: a loop in this process, where the moment can be chosen."""

import asyncio
import contextlib
import socket

from catseye.http import listening
from catseye.http.limits import Limits
from catseye.http.listening import Stopping, listen
from catseye.http.rules import Rules
from catseye.http.sockets import bind
from tests.server.running import read_answer

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Greeter:
    """Answers every request at once."""

    draining = False

    async def __call__(self, scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hello"})


def run_until(last_moment, monkeypatch) -> int:
    """Serve until `last_moment(port)` is over; after it nothing runs in the loop before the end begins."""

    class Ending(listening.Server):
        async def main_loop(self) -> None:
            await last_moment(listener.getsockname()[1])

    monkeypatch.setattr(listening, "Server", Ending)
    with contextlib.closing(bind("127.0.0.1", 0)) as listener:
        stopping = Stopping(drain_s=0, finish_s=5)
        return asyncio.run(listen(Greeter(), listener, Rules(Limits()), lambda *_, **__: None, lambda: None, stopping))


def test_whoever_has_just_connected_is_answered(monkeypatch):
    """He waits in the socket, and a socket that is closed resets those who wait in it."""
    callers: list[socket.socket] = []

    async def connect(port: int) -> None:
        for _ in range(20):
            caller = socket.create_connection(("127.0.0.1", port), timeout=10)
            caller.sendall(REQUEST)
            callers.append(caller)

    assert run_until(connect, monkeypatch) == 20
    for caller in callers:
        answer = read_answer(caller)
        assert answer is not None
        assert (answer.status, answer.body) == (200, b"hello")
        caller.close()


def test_a_request_that_is_on_its_way_over_an_old_connection_is_answered(monkeypatch):
    async def nobody_waits(*_, **__) -> None:
        pass

    monkeypatch.setattr(listening, "take_the_last", nobody_waits)  # else the loop would read it meanwhile
    callers: list[socket.socket] = []

    def connect_and_ask(port: int) -> None:
        caller = socket.create_connection(("127.0.0.1", port), timeout=10)
        caller.sendall(REQUEST)
        assert read_answer(caller).status == 200
        callers.append(caller)

    async def ask_again(port: int) -> None:
        await asyncio.to_thread(connect_and_ask, port)
        callers[0].sendall(REQUEST)

    assert run_until(ask_again, monkeypatch) == 2
    answer = read_answer(callers[0])
    assert answer is not None
    assert answer.status == 200
    callers[0].close()


def test_a_caller_who_has_connected_and_not_yet_asked_is_waited_for(monkeypatch):
    callers: list[socket.socket] = []

    async def connect(port: int) -> None:
        callers.append(socket.create_connection(("127.0.0.1", port), timeout=10))
        asyncio.get_running_loop().call_later(0.4, callers[0].sendall, REQUEST)

    assert run_until(connect, monkeypatch) == 1
    answer = read_answer(callers[0])
    assert answer is not None
    assert answer.status == 200
    callers[0].close()
