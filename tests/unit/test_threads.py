"""How many threads a small network is trained with: measured, kept for a resumed run, and nothing else is changed."""

import json

import pytest
import torch
from rich.console import Console

from catseye.runs import Run
from catseye.training import threads as ours
from catseye.training.assemble import assemble
from catseye.training.request import RunRequest, requested_settings
from catseye.training.session import find_workplace, open_session
from tests.conftest import write_tinted


@pytest.fixture
def built(tmp_path):
    settings = {"model.name": "lenet5", "training.batch_size": 16, "training.epochs": 1}
    request = RunRequest(
        write_tinted(tmp_path / "tinted", 8),
        recipe="quick",
        settings=settings,
        device="cpu",
        console=Console(quiet=True),
    )
    return assemble(open_session(request, requested_settings(request), find_workplace(request)))


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run")


@pytest.fixture
def several(monkeypatch):
    """Two threads that nobody has asked for, whatever this machine and these tests do."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("one", "two", "processor", "chosen"),
    [(0.01, 0.05, 0.01, 1), (0.9, 0.85, 0.01, 1), (0.01, 0.005, 0.01, 2), (0.5, 0.9, 0.5, 2)],
    ids=["slower", "hardly faster", "faster", "a large network"],
)
def test_what_is_measured_decides(one, two, processor, chosen, built, run, several, monkeypatch):
    monkeypatch.setattr(ours, "measure_steps", lambda *_: ours.StepTimes(one, two, processor))
    with ours.measured_threads(run, built) as threads:
        assert threads == torch.get_num_threads() == chosen
    assert torch.get_num_threads() == 2
    assert json.loads((run.path / ours.THREADS_FILE).read_text())["threads"] == chosen


def test_a_resumed_run_measures_nothing(built, run, several, monkeypatch):
    (run.path / ours.THREADS_FILE).write_text('{"threads": 1}')
    monkeypatch.setattr(ours, "measure_steps", None)
    with ours.measured_threads(run, built) as threads:
        assert threads == 1


@pytest.mark.parametrize("asked", [True, False])
def test_who_asks_for_threads_gets_them(asked, built, run, several, monkeypatch):
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    else:
        torch.set_num_threads(1)
    monkeypatch.setattr(ours, "measure_steps", None)
    with ours.measured_threads(run, built) as threads:
        assert threads == (2 if asked else 1)
    assert not (run.path / ours.THREADS_FILE).exists()


def test_measuring_touches_neither_weights_nor_random_numbers(built, several):
    torch.manual_seed(3)
    weights = {name: value.clone() for name, value in built.state.model.state_dict().items()}
    expected = torch.rand(3)
    torch.manual_seed(3)
    found = ours.measure_steps(built, 2)
    assert all(0 < seconds < 60 for seconds in vars(found).values())
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == 2
    assert all(torch.equal(weights[name], value) for name, value in built.state.model.state_dict().items())
    assert all(one.grad is None for one in built.state.model.parameters())
