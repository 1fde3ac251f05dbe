"""Kills and stops under load: every request is answered, or ends so that whoever asked may ask again."""

import select
import signal
import time

import pytest

from tests.server import models
from tests.server.kills import CALLERS, IMAGES, NOBODY, ask, kill_workers, stop_servers

NEVER = ("torn", "wrong", "silent")


@pytest.fixture
def model(tmp_path):
    return models.write(tmp_path / "tints.onnx", models.slow(2))


def check_kills(found):
    assert not any(found[what] for what in NEVER), found
    # Whoever was with the killed process meets its end, once; nobody else notices. Others keep accepting all the time.
    assert found["cut"] + found["closed"] <= found["kills"] * CALLERS, found
    assert found["answered"] > 20 * found["kills"], found
    assert not found[NOBODY], found


def check_stops(found):
    assert not any(found[what] for what in (*NEVER, "cut", "closed")), found
    assert found["answered"] >= 50 * found["stops"], found


def test_workers_that_are_killed_under_load(start, model):
    check_kills(kill_workers(start, model, 5))


@pytest.mark.parametrize("workers", [1, 2])
def test_servers_that_are_stopped_under_load(start, model, workers):
    check_stops(stop_servers(start, model, 3, workers))


@pytest.mark.slow
def test_three_hundred_workers_that_are_killed_under_load(start, model):
    check_kills(kill_workers(start, model, 300))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_fifty_servers_that_are_stopped_under_load(start, model, workers):
    check_stops(stop_servers(start, model, 50, workers))


@pytest.mark.parametrize("ended_by", ["stop", "patience"])
def test_a_request_on_its_way_while_an_idle_connection_is_ended_meets_no_reset(start, model, ended_by):
    """It was sent before the client saw the end: it reads a clean end, and knows that it may ask again elsewhere."""
    limits = {"keep_alive_s": 0.3} if ended_by == "patience" else {}
    running = start.with_settings(model, limits=limits)
    with running.connect() as connection:
        assert ask(connection, IMAGES["red"], "red", 0) == ("answered", True)
        if ended_by == "stop":
            running.process.send_signal(signal.SIGTERM)
        readable, _, _ = select.select([connection], [], [], 10)
        assert readable, "the end was not said"
        connection.sendall(IMAGES["green"])
        time.sleep(0.1)
        assert ask(connection, IMAGES["green"], "green", 1) == ("closed", False)


def test_an_idle_connection_that_its_client_keeps_open_holds_nobody_up(start, model):
    running = start(model, "--quiet")
    with running.connect() as connection:
        assert ask(connection, IMAGES["red"], "red", 0) == ("answered", True)
        begun = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - begun < 6
