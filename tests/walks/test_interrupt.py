"""A real signal in mid-epoch: saved, exit code, and the resumed run ends with the very same weights."""

import json
import signal
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

import catseye
from catseye.cli import app
from catseye.errors import UsageError
from tests.forked import Forked

OPTIONS = [
    "--epochs", "8", "--set", "training.batch_size=4", "--set", "training.ema_decay=0.9",
    "--set", "training.optimizer=adamw", "--set", "training.lr=0.001", "--device", "cpu", "--seed", "5",
]  # fmt: skip


def wait_for(path, process):
    for _ in range(30_000):
        if path.exists():
            return
        assert process.poll() is None, process.said()
        time.sleep(0.01)
    raise AssertionError(f"{path} did not appear")


@pytest.fixture(scope="module")
def whole(shapes, tmp_path_factory):
    """The undisturbed run, as the same command makes it."""
    out = tmp_path_factory.mktemp("whole") / "run"
    app(["train", str(shapes), "--out", str(out), *OPTIONS, "--json"], standalone_mode=False)
    return out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_resume_gives_the_same_weights(shapes, whole, tmp_path, number, code, command):
    with Forked("train", shapes, "--out", tmp_path / "stopped", *OPTIONS, cwd=tmp_path) as process:
        wait_for(tmp_path / "stopped" / "history.jsonl", process)  # the first epoch is done, the second has begun
        process.send_signal(number)
        _, said = process.communicate(timeout=240)
    assert process.returncode == code, said
    assert f"--resume {tmp_path / 'stopped'}" in said
    assert "Traceback" not in said
    done = len((tmp_path / "stopped" / "history.jsonl").read_text().splitlines())
    assert 1 <= done < 8

    code, _, said = command("train", "--resume", tmp_path / "stopped", "--device", "cpu", "--json")
    assert code == 0, said
    one, other = (load_file(run / "model.safetensors") for run in (tmp_path / "stopped", whole))
    for name, value in other.items():
        np.testing.assert_array_equal(one[name], value, err_msg=name)
    history = [
        [{k: v for k, v in json.loads(line).items() if k not in ("seconds", "images_per_s")} for line in lines]
        for lines in ((run / "history.jsonl").read_text().splitlines() for run in (tmp_path / "stopped", whole))
    ]
    for mine, theirs in zip(*history, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-6)
    assert not (tmp_path / "stopped" / "checkpoint.safetensors").exists()


def test_resume_refuses_what_it_would_ignore(shapes, tmp_path):
    with pytest.raises(catseye.CatseyeError, match="not a run folder"):
        catseye.train(resume=tmp_path)
    trained = catseye.train(shapes, out=tmp_path / "run", epochs=1, device="cpu")
    with pytest.raises(UsageError, match="nothing to continue"):
        catseye.train(resume=trained.path)
    with pytest.raises(UsageError, match="--epochs would do nothing"):
        catseye.train(resume=trained.path, epochs=3)
