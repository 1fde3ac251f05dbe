"""Real processes over 127.0.0.1: the same step, the same run, and what happens when one of them is ended."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import catseye
import catseye.runs
from catseye.deploying.training_job import TrainingJob, slurm_script
from catseye.training.distributed import ALONE
from tests.walks.one_step import all_steps

ROOT = Path(__file__).parents[2]
OPTIONS = ["--model", "lenet5", "--device", "cpu", "--seed", "1", "--set", "training.batch_size=100"]
MEASURED = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_processes_take_the_very_step_of_one(tmp_path):
    """Gradients, weights, averages, loss, right answers, validation logits and their order, to 1e-6.

    Batch norm divides by what it measures, so that rounding grows from layer to layer: 1e-5 there for a whole network,
    and 1e-12 for one layer in float64.
    """
    here = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [sys.executable, "-m", "tests.walks.one_step", str(tmp_path / "found")]
    started = [
        subprocess.Popen(command, cwd=ROOT, env=os.environ | here | {"RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]
    alone = all_steps(ALONE)
    assert [process.wait(timeout=240) for process in started] == [0, 0]
    for rank in (0, 1):
        together = load_file(tmp_path / f"found.{rank}")
        assert together.keys() == alone.keys()
        for name, value in alone.items():
            near = 1e-12 if name.startswith("float64") else 1e-5 if name.startswith("batch norm") else 1e-6
            torch.testing.assert_close(together[name], value, atol=near, rtol=near, msg=lambda m, n=name: f"{n}: {m}")


def test_nproc_makes_the_run_that_one_process_makes(tmp_path, catseye_command):
    words = ["train", "digits", *OPTIONS, "--epochs", "2", "--json"]
    done = catseye_command(*words, "--out", "two", "--nproc", "2")
    assert done.returncode == 0, done.stderr
    settings = {"training.batch_size": 100}
    one = catseye.train("digits", model="lenet5", epochs=2, seed=1, settings=settings, device="cpu", out=tmp_path / "1")
    told = json.loads(done.stdout)  # one answer, from one writer
    assert told["num_images"] == one.metrics.num_images == 359
    assert told["accuracy"] == one.metrics.accuracy
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in one.path.iterdir()}
    mine, theirs = (catseye.runs.Run(path).history for path in (one.path, tmp_path / "two"))
    for row, other in zip(mine, theirs, strict=True):
        assert {key: other[key] for key in MEASURED} == pytest.approx({key: row[key] for key in MEASURED}, rel=1e-5)
    weights, others = load_file(one.run.model_path), load_file(tmp_path / "two" / "model.safetensors")
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, atol=1e-5, rtol=1e-5)
    assert done.stderr.count("epoch 2/2") == 1


def children(pid: int) -> list[int]:
    """Processes that this one has started, oldest first."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = path.read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has ended meanwhile
            continue
        if int(parent) == pid:
            found.append(int(path.parent.name))
    return sorted(found)


def start(tmp_path, *more: str) -> subprocess.Popen[str]:
    words = ["train", "digits", *OPTIONS, "--epochs", "8", "--out", "run", "--nproc", "2", *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "catseye", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    history = tmp_path / "run" / "history.jsonl"
    for _ in range(6000):
        if history.exists() and len(history.read_text().splitlines()) >= 2:
            return process
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("the second epoch did not end")


def compare_with_an_undisturbed_run(tmp_path) -> None:
    settings = {"training.batch_size": 100}
    whole = catseye.train(
        "digits", model="lenet5", epochs=8, seed=1, settings=settings, device="cpu", out=tmp_path / "1"
    )
    rows = catseye.runs.Run(tmp_path / "run").history
    assert [row["epoch"] for row in rows] == list(range(1, 9))
    for row, other in zip(whole.run.history, rows, strict=True):
        assert other["train_loss"] == pytest.approx(row["train_loss"], rel=1e-3)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_is_started_anew_and_the_run_goes_on(tmp_path, victim):
    process = start(tmp_path, "--max-restarts", "1")
    workers = children(process.pid)
    assert len(workers) == 2
    os.kill(workers[victim], signal.SIGKILL)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert "continuing run at epoch" in said
    assert said.count("epoch 1/8") == 1, "it began from the start again"
    compare_with_an_undisturbed_run(tmp_path)


@pytest.mark.slow
def test_a_killed_process_without_restarts_ends_the_run(tmp_path):
    process = start(tmp_path)
    os.kill(children(process.pid)[1], signal.SIGKILL)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 128 + signal.SIGKILL
    assert "process 1 of 2 was ended by SIGKILL" in said
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("to_all", [True, False])
def test_a_signal_stops_all_at_the_same_step_and_one_process_goes_on(tmp_path, catseye_command, to_all):
    process = start(tmp_path)
    os.kill(process.pid if to_all else children(process.pid)[1], signal.SIGTERM)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 143, said
    assert said.count("stopped and saved; continue with: catseye train --resume run") == 1
    assert "Traceback" not in said
    resumed = catseye_command("train", "--resume", "run", "--device", "cpu", timeout_s=600)
    assert resumed.returncode == 0, resumed.stderr
    compare_with_an_undisturbed_run(tmp_path)


@pytest.mark.slow
def test_errors_are_told_once(tmp_path, catseye_command):
    done = catseye_command("train", "digits", "--model", "lenett", "--nproc", "2", "--device", "cpu")
    assert done.returncode == 2
    assert "did you mean lenet5" in done.stderr
    assert "Traceback" not in done.stderr
    done = catseye_command("train", "digits", *OPTIONS, "--set", "training.batch_size=3", "--nproc", "2")
    assert done.returncode == 2
    assert "use --set training.batch_size=4" in done.stderr
    done = catseye_command("train", "digits", *OPTIONS, "--nproc", "2", "--max-restarts", "1", "--epochs", "1")
    assert done.returncode == 2
    assert "--max-restarts needs --out" in done.stderr


@pytest.mark.slow
def test_the_slurm_script_trains_on_two_machines(tmp_path):
    """The script as sbatch would run it, with srun and scontrol played by six lines of shell: two torchruns meet."""
    job = TrainingJob("digits", str(tmp_path / "run"), gpus_per_node=0, words=("--model", "lenet5", "--epochs", "2"))
    script = tmp_path / "train.sbatch"
    script.write_text(slurm_script(job, time="00:10:00"))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in {
        "scontrol": "echo 127.0.0.1; echo 127.0.0.2",
        "srun": 'shift; for node in 0 1; do "$@" & done; wait -n; wait -n',
        "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
    }.items():
        (programs / name).write_text(f"#!/bin/bash\nset -e\n{body}\n")
        (programs / name).chmod(0o755)
    number = str(free_port() - 20000 if free_port() > 20000 else 7)
    here = {"PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_ID": number, "SLURM_JOB_NODELIST": "two"}
    done = subprocess.run(["bash", script], env=os.environ | here, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run folder:") == 1
    history = catseye.runs.Run(tmp_path / "run").history
    one = catseye.train("digits", model="lenet5", epochs=2, device="cpu", out=tmp_path / "1")
    assert history[1]["val_loss"] == pytest.approx(one.run.history[1]["val_loss"], rel=1e-4)
