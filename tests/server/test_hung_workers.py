"""Workers that live and answer nothing, workers whose supervisor dies, and what several workers count in."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from catseye.errors import CatseyeError
from catseye.serving import metrics_folder
from catseye.serving.metrics_folder import hold_metrics_folder, new_metrics_folder
from catseye.serving.progress import Progress
from tests.server import models
from tests.server.running import alive, noise, post_bytes, read_answer, worker_pids

GOOD = noise(1, kind="PNG")


def two_workers(start, tmp_path, *words, **more):
    model = models.write(tmp_path / "m.onnx")
    running = start(model, "--workers", 2, "--concurrency", 1, "--batch-size", 1, "--hang-time", 2, *words, **more)
    running.wait_for(lambda: len(running.events("worker-ready")) == 2)
    return running


def test_a_stopped_worker_is_replaced_within_seconds(start, tmp_path):
    running = two_workers(start, tmp_path)
    victim = worker_pids(running)[0]
    os.kill(victim, signal.SIGSTOP)
    started = time.monotonic()
    # Callers of the stopped worker learn of it, by an end or an answer; nobody waits longer than it takes.
    connections = [running.connect(12) for _ in range(12)]
    for connection in connections:
        connection.sendall(post_bytes(GOOD))
    answers = [read_answer(connection) for connection in connections]
    for connection in connections:
        connection.close()
    assert {answer.status for answer in answers if answer} == {200}
    running.wait_for(lambda: len(running.events("worker-ready")) == 3, timeout_s=15)
    assert time.monotonic() - started < 15
    (line,) = running.events("worker-hung")
    assert line["process"] == victim
    assert not alive(victim)
    assert running.predict(GOOD).status == 200
    assert running.stop() == 0


def test_a_stopped_worker_does_not_hold_up_the_stop(start, tmp_path):
    running = two_workers(start, tmp_path, "--hang-time", 300, "--deadline", 1)
    os.kill(worker_pids(running)[0], signal.SIGSTOP)
    started = time.monotonic()
    assert running.stop(timeout_s=40) == 1, "a worker had to be killed, so not all ended in good order"
    assert time.monotonic() - started < 30
    assert running.events("end")[-1]["codes"] == [-signal.SIGKILL, 0]
    assert not any(alive(pid) for pid in worker_pids(running))


def test_threads_that_do_not_come_back_are_seen(monkeypatch):
    """The event loop lives on when native code locks up, so its life says nothing of the model's threads."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress(15)
    now[0] += 1000
    assert not progress.is_stuck  # nobody has asked
    progress.too_late()
    assert progress.is_stuck
    progress.computed()
    assert not progress.is_stuck
    progress.too_late()
    now[0] += 14
    assert not progress.is_stuck
    now[0] += 2
    assert progress.is_stuck


def test_a_model_that_locks_up_is_told_by_health(start, tmp_path):
    """One call of this model takes seconds, which for a deadline of a tenth is the same as a deadlock."""
    model = models.write(tmp_path / "m.onnx", models.slow(3000))
    settings = {"concurrency": 1, "batch_size": 1, "hang_s": 0.1}
    running = start.with_settings(model, limits={"deadline_s": 0.1}, **settings)
    assert running.get("/healthz").status == 200
    assert running.predict(GOOD).status in (503, 504)
    running.wait_for(lambda: running.get("/healthz").status == 503, timeout_s=5)
    assert running.get("/healthz").json()["code"] == "stuck"
    running.wait_for(lambda: running.get("/healthz").status == 200, timeout_s=60)  # it came back after all


def test_workers_end_with_their_supervisor(start, tmp_path):
    running = two_workers(start, tmp_path)
    before = worker_pids(running)
    assert all(alive(pid) for pid in before)
    running.process.kill()
    running.process.wait()
    running.wait_for(lambda: not any(alive(pid) for pid in before), timeout_s=15)


def test_files_of_the_working_directory_are_no_modules_of_ours(start, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("queue", "json", "selectors", "catseye"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w').close(); raise SystemExit(9)\n")
    # The first process as the installed command starts it, which has no working directory in its path either.
    words = ("-m", "catseye", "serve", models.write(tmp_path / "m.onnx"), "--port", "0", "--json", "--workers", "2")
    out, was_run = tmp_path / "out", tmp_path / "was-run"
    with out.open("wb") as told:
        process = subprocess.Popen(
            [str(word) for word in (*_installed(tmp_path), sys.executable, *words)],
            stdout=told, stderr=subprocess.DEVNULL, cwd=folder, env={**os.environ, "PYTHONSAFEPATH": ""},
        )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while not was_run.exists() and "}" not in out.read_text() and time.monotonic() < end:
            time.sleep(0.05)
        assert not was_run.exists()
        assert '"workers": 2' in out.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert not was_run.exists()


def _installed(tmp_path) -> tuple:
    """A prefix that runs `python -m catseye serve …` as the command `catseye serve …`."""
    script = tmp_path / "catseye-command"
    script.write_text(
        "import sys; sys.argv[1:] = sys.argv[4:]; from catseye.__main__ import run_cli; sys.exit(run_cli())\n"
    )
    return (sys.executable, script)


def test_somebody_elses_metrics_folder_is_left_alone(start, tmp_path):
    """Of another program; in small letters too, as prometheus_client once spelt it."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    env = {"PROMETHEUS_MULTIPROC_DIR": str(theirs), "prometheus_multiproc_dir": str(tmp_path / "missing")}
    one = start(models.write(tmp_path / "m.onnx"), env=env)
    assert one.predict(GOOD).status == 200
    one.wait_for(lambda: one.metric("catseye_requests_total", route="/predict", status="200") == 1)
    several = two_workers(start, tmp_path, env=env)
    for _ in range(6):
        assert several.predict(GOOD).status == 200
    # A request is counted when its response is out, which the other worker may do a moment later.
    several.wait_for(lambda: several.metric("catseye_requests_total", route="/predict", status="200") == 6)
    assert not list(theirs.iterdir())


def test_folders_of_killed_servers_are_swept_away(start, tmp_path):
    place = tmp_path / "temporary"
    place.mkdir()
    env = {"TMPDIR": str(place)}
    first = two_workers(start, tmp_path, env=env)
    (old,) = place.glob("catseye-metrics-*")
    second = two_workers(start, tmp_path, env=env)  # the first one lives: its folder stays
    assert old.exists()
    first.process.kill()
    first.process.wait()
    first.wait_for(lambda: not any(alive(pid) for pid in worker_pids(first)))
    assert second.stop() == 0
    assert list(place.glob("catseye-metrics-*")) == [old]
    third = two_workers(start, tmp_path, env=env)
    assert not old.exists()
    assert len(list(place.glob("catseye-metrics-*"))) == 1
    assert third.stop() == 0
    assert not list(place.glob("catseye-metrics-*"))


def test_a_folder_that_is_held_is_not_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics_folder, "_temporary_folders", lambda: [tmp_path])
    held = new_metrics_folder()
    descriptor = hold_metrics_folder(held)
    other = new_metrics_folder()
    os.close(hold_metrics_folder(other))
    assert held.exists()
    third = new_metrics_folder()
    assert held.exists()
    assert not other.exists()
    os.close(descriptor)
    new_metrics_folder()
    assert not held.exists()
    assert third.exists()  # nobody has held it yet: its server is just starting


def test_no_place_for_counters_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics_folder, "_temporary_folders", lambda: [tmp_path / "missing"])
    with pytest.raises(CatseyeError, match="TMPDIR="):
        new_metrics_folder()


def test_no_temporary_folder_at_all(monkeypatch):
    def none() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(metrics_folder.tempfile, "gettempdir", none)
    assert metrics_folder._temporary_folders() == [Path("/dev/shm")]


def test_a_worker_command_needs_no_working_directory(tmp_path):
    """-P keeps the working directory out, and the package is found all the same, installed or not."""
    from catseye.serving import supervisor

    (tmp_path / "queue.py").write_text("raise SystemExit(9)\n")
    command = [sys.executable, "-P", "-c", supervisor._COMMAND, "no json", str(supervisor._ROOT)]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert "JSONDecodeError" in done.stderr
