"""Who else hears of a run: asked for by name, judged early, and never a reason to lose the run."""

import sys

import pytest

import catseye
from catseye.errors import Interrupted, MissingDependency, UsageError
from catseye.runs import Run
from catseye.settings.schema import Settings
from catseye.settings.typed import parse_track
from catseye.training import request as request_module
from catseye.training import tracking
from catseye.training.tracking import tracked
from tests.conftest import write_tinted


class Heard:
    """A tracker that remembers, and fails at the row that it is told to fail at."""

    def __init__(self, fails_at=None):
        self.rows, self.ends, self.fails_at = [], [], fails_at

    def add_row(self, row):
        if row["epoch"] == self.fails_at:
            raise ConnectionError("the server\nhas gone")
        self.rows.append(row)

    def end(self, run, status):
        self.ends.append(status)


@pytest.fixture
def heard(monkeypatch):
    """The next run's tracker, in the place of TensorBoard."""

    def put(tracker):
        monkeypatch.setattr(tracking, "_TensorBoard", lambda run: tracker)
        return tracker

    return put


@pytest.mark.parametrize("text", ["", "wand", "mlflow:", "wandb:", "tensorboard:here", "MLFLOW"])
def test_what_is_no_tracker_is_refused(text):
    with pytest.raises(UsageError, match="--track is tensorboard, mlflow, mlflow:URI, wandb or wandb:PROJECT; got"):
        parse_track(text)


def test_a_tracker_that_is_not_installed_is_said_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(request_module, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"pip install 'catseye\[mlflow\]'"):
        catseye.train(write_tinted(tmp_path / "data", 6), out=tmp_path / "run", track="mlflow:here")
    assert not (tmp_path / "run").exists()


def train(tmp_path, **options):
    options = {"model": "lenet5", "epochs": 3, "device": "cpu", "progress": None, **options}
    return catseye.train(write_tinted(tmp_path / "data", 8), out=tmp_path / "run", **options).run


def test_rows_and_the_end_are_told(tmp_path, heard):
    tracker = heard(Heard())
    run = train(tmp_path, track="tensorboard", tensorboard=True)
    assert tracker.rows == run.history
    assert tracker.ends == ["FINISHED"], "asked for twice, told once"


def test_nobody_hears_of_a_run_by_default(tmp_path, heard):
    tracker = heard(Heard())
    run = train(tmp_path, epochs=1)
    assert not tracker.rows
    assert not tracker.ends
    assert not (run.path / "tracked.json").exists()
    assert not {"mlflow", "wandb"} & sys.modules.keys()


def test_a_tracker_that_fails_costs_its_own_record_only(tmp_path, heard, capsys):
    tracker = heard(Heard(fails_at=2))
    said = []
    with tracked(Run(tmp_path), ["tensorboard"], Settings(), said.append, resumed=False) as (one,):
        for epoch in (1, 2, 3):
            one.add_row({"epoch": epoch})
    assert [row["epoch"] for row in tracker.rows] == [1]
    assert said == ["- tensorboard gets no more of this run (the server); training continues"]
    assert not tracker.ends, "it is not asked again"


@pytest.mark.parametrize(
    ("error", "status"),
    [(Interrupted("stop", 2), "KILLED"), (KeyboardInterrupt(), "KILLED"), (ValueError("x"), "FAILED")],
)
def test_how_a_run_ended_is_told(error, status, tmp_path, heard):
    tracker = heard(Heard())
    with (
        pytest.raises(type(error)),
        tracked(Run(tmp_path), ["tensorboard"], Settings(), print, resumed=False),
    ):
        raise error
    assert tracker.ends == [status]


def test_one_that_cannot_be_opened_says_what_to_do(tmp_path, monkeypatch):
    def refuse(run):
        raise PermissionError("no")

    monkeypatch.setattr(tracking, "_TensorBoard", refuse)
    with (
        pytest.raises(UsageError, match=r"--track tensorboard cannot be written to \(no\); check its address"),
        tracked(Run(tmp_path), ["tensorboard"], Settings(), print, resumed=False),
    ):
        pass
