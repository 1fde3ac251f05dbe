"""Servers for the tests: one that most tests share, and a way to start others."""

import pytest

from tests.server import models
from tests.server.running import Running, Starter, noise


@pytest.fixture(scope="session")
def shared_start(tmp_path_factory):
    starter = Starter(tmp_path_factory.mktemp("servers"))
    yield starter
    starter.end()


@pytest.fixture(scope="session")
def server(shared_start, tmp_path_factory) -> Running:
    """The tiny classifier of red, green and blue; limits small enough to be met by tests."""
    model = models.write(tmp_path_factory.mktemp("model") / "tints.onnx", models.with_cam())
    words = ("--max-body", 1_000_000, "--max-pixels", 2_000_000, "--header-time", 2, "--body-time", 3)
    return shared_start(model, *words)


@pytest.fixture
def start(tmp_path):
    """Start a server of one's own: `start(model, "--workers", 2)`."""
    starter = Starter(tmp_path)
    yield starter
    starter.end()


@pytest.fixture
def answers_as_before(server):
    """Rule R's last part, after every test of a file of faults: the next good request is answered exactly as before."""
    good = noise(1, kind="PNG")
    before = server.predict(good).json()
    yield
    assert server.predict(good).json() == before
    assert server.process.poll() is None
