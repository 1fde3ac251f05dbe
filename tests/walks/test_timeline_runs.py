"""The runs of a timeline are runs like others: finished, evaluated on their own images, resumed where they stopped."""

import io
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

import catseye
from catseye.errors import Interrupted, UsageError
from catseye.runs import open_run
from catseye.training import step, timeline
from catseye.training.timeline import run_timeline
from tests.conftest import deliver

OPTIONS = {"names": ("lenet5",), "device": "cpu", "seed": 2, "overrides": ("training.batch_size=8",)}


@pytest.fixture
def fixed_speed(monkeypatch):
    """100 images a second, so that what the budget buys does not depend on this machine."""
    monkeypatch.setattr(timeline, "_time_per_image", lambda session, budget_s: 0.01)


def quiet_timeline(data, out, **more):
    return run_timeline(data, out=out, console=Console(file=io.StringIO()), **OPTIONS, **more)


def small_cifar(folder: Path, per_batch: int = 16) -> Path:
    """CIFAR-10 as it is unpacked, with two classes that a network can tell apart: dark and light noise."""
    inside = folder / "cifar-10-batches-py"
    inside.mkdir(parents=True)
    rng = np.random.default_rng(5)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        labels = np.arange(per_batch) % 2
        rows = rng.integers(0, 90, (per_batch, 3072)) + 150 * labels[:, None]
        (inside / name).write_bytes(pickle.dumps({b"data": rows.astype(np.uint8), b"labels": labels.tolist()}))
    (inside / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"night", b"day"]}))
    return folder


@pytest.mark.parametrize("budget_s", [0.5, 4.0], ids=["a part of the images", "all of them, several times"])
def test_evaluate_finds_the_data_folder_and_the_very_images(tmp_path, monkeypatch, fixed_speed, budget_s):
    monkeypatch.setattr(timeline, "MAX_TEST", 9)
    folder = small_cifar(tmp_path / "kept")
    out, (result,) = quiet_timeline("cifar10", tmp_path / "line", budget_s=budget_s, data_dir=folder)
    run = open_run(out / "lenet5")
    assert run.data["data_dir"] == str(folder)
    sizes = {side: len(names) for side, names in run.data["splits"].items()}
    assert sizes == {"train": 50 if budget_s == 0.5 else 80, "val": 0, "test": 9}
    again = catseye.evaluate(run.path, device="cpu").metrics  # no --data-dir
    assert (again.accuracy, again.num_images) == (result.accuracy, result.num_test) == (run.metrics["accuracy"], 9)


def test_a_run_of_a_timeline_is_finished(shapes, tmp_path, fixed_speed):
    out, _ = quiet_timeline(shapes, tmp_path / "line", budget_s=2.0)
    run = open_run(out / "lenet5")
    assert run.finished
    assert (run.path / "environment.json").exists()
    assert run.data["data_dir"] is None
    with pytest.raises(UsageError, match="nothing to continue: it is finished"):
        catseye.train(resume=run.path)


def test_an_interrupted_run_goes_on_with_the_same_part_to_the_same_weights(shapes, tmp_path, monkeypatch, fixed_speed):
    whole, (result,) = quiet_timeline(shapes, tmp_path / "whole", budget_s=0.48)
    assert (result.epochs, result.num_seen) == (1, 48)
    real, calls = step.augment_batch, []

    def augment_batch(*values, **more):
        calls.append(1)
        if len(calls) == 3:
            deliver(signal.SIGTERM)
        return real(*values, **more)

    with monkeypatch.context() as patch:
        patch.setattr(step, "augment_batch", augment_batch)
        with pytest.raises(Interrupted, match="stopped and saved"):
            quiet_timeline(shapes, tmp_path / "stopped", budget_s=0.48)
    run = open_run(tmp_path / "stopped" / "lenet5")
    assert not run.finished
    assert run.data["parts"] == {"train": 48}
    said = io.StringIO()
    done = catseye.train(resume=run.path, device="cpu", console=Console(file=said, width=1000))
    assert "at epoch 1, batch 4" in said.getvalue()
    assert done.metrics.accuracy == result.accuracy
    mine, theirs = (load_file(path / "lenet5" / "model.safetensors") for path in (tmp_path / "stopped", whole))
    for name, value in theirs.items():
        np.testing.assert_array_equal(mine[name], value, err_msg=name)


def test_published_weights_are_refused(shapes, tmp_path):
    with pytest.raises(UsageError, match=r"transfer\.strategy would do nothing here"):
        run_timeline(shapes, budget_s=1.0, out=tmp_path / "line", overrides=("transfer.strategy=scratch",))
    assert not (tmp_path / "line").exists()
