"""Kills and stops under load: every request is answered, or ends so that whoever asked may ask again."""

import pytest

from tests.server import models
from tests.server.kills import CALLERS, NOBODY, kill_workers, stop_servers

NEVER = ("torn", "wrong", "silent")


@pytest.fixture
def model(tmp_path):
    return models.write(tmp_path / "tints.onnx", models.slow(2))


def check_kills(found):
    assert not any(found[what] for what in NEVER), found
    # Whoever was with the killed process meets its end; nobody else notices. Others keep accepting all the time.
    assert found["cut"] + found["closed"] <= found["kills"] * CALLERS / 2, found
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
