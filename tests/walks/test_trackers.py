"""MLflow's folders and Weights & Biases offline, with the real packages in an environment of their own, traced."""

import json
import os
import re
import shutil
import site
import subprocess
import venv
from pathlib import Path

import pytest

from tests.conftest import write_tinted

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, sys
from pathlib import Path
import catseye

options = dict(model="lenet5", epochs=2, device="cpu", progress=None, set={"training.batch_size": 16})
run = catseye.train("data", out="run", track=["mlflow:store", "wandb:fruit"], **options).run

from mlflow import MlflowClient
from catseye.settings.schema import Settings
from catseye.training.tracking import tracked

client = MlflowClient(Path("store").absolute().as_uri())
number = client.get_experiment_by_name("catseye").experiment_id
(found,) = client.search_runs([number])
losses = [one.value for one in client.get_metric_history(found.info.run_id, "train_loss")]
files = sorted(one.path for one in client.list_artifacts(found.info.run_id))
model = Path(client.download_artifacts(found.info.run_id, "model.safetensors")).read_bytes()
with tracked(run, ["mlflow:store"], run.settings, print, resumed=True) as (again,):
    again.add_row({"epoch": 3, "train_loss": 0.5})
runs = client.search_runs([number])
print(json.dumps({
    "status": found.info.status, "lr": found.data.params["training.lr"], "losses": losses, "files": files,
    "same_model": model == run.model_path.read_bytes(), "accuracy": found.data.metrics["test_accuracy"],
    "num_runs": len(runs), "resumed": [one.value for one in client.get_metric_history(found.info.run_id, "train_loss")],
}))
"""
UNREACHABLE = """
import catseye
try:
    catseye.train("data", out="other", model="lenet5", epochs=1, device="cpu", progress=None,
                  track="mlflow:http://127.0.0.1:9")
except catseye.CatseyeError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """A way to run a program where both packages are installed beside everything that is here; its connections."""
    if shutil.which("strace") is None:
        pytest.skip("strace, which shows connections, is not installed")
    root = tmp_path_factory.mktemp("trackers")
    venv.create(root / "env", with_pip=True)
    python = root / "env" / "bin" / "python"
    (inner,) = (root / "env" / "lib").glob("python*/site-packages")
    (inner / "shared.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    wanted = ["mlflow-skinny>=3.17,<4", "wandb>=0.31,<0.32"]
    words = [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", *wanted]
    subprocess.run(words, check=True, capture_output=True, timeout=900)
    write_tinted(root / "data", 20)

    def run(program):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "WANDB"))}
        values = {**kept, "PYTHONPATH": str(ROOT / "src"), "HOME": str(root)}
        words = ["strace", "-f", "-qq", "-e", "trace=connect", "-o", root / "trace.txt", python, "-c", program]
        done = subprocess.run(words, capture_output=True, text=True, timeout=280, cwd=root, env=values)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout, re.findall(r"AF_INET6?\b.*", (root / "trace.txt").read_text())

    run.root = root
    return run


@pytest.mark.slow
@pytest.mark.network
def test_both_hear_everything_and_nothing_is_connected_to(traced):
    said, connections = traced(PROGRAM)
    assert connections == []
    found = json.loads(said.splitlines()[-1])
    history = [json.loads(line) for line in (traced.root / "run" / "history.jsonl").read_text().splitlines()]
    losses = [row["train_loss"] for row in history]
    assert found["losses"] == losses
    assert found["status"] == "FINISHED"
    assert found["files"] == ["confusion.png", "curves.png", "model.safetensors", "settings.toml"]
    assert found["same_model"]
    assert found["accuracy"] == json.loads((traced.root / "run" / "metrics.json").read_text())["accuracy"]
    assert (found["num_runs"], found["resumed"]) == (1, [*losses, 0.5]), "a resumed run goes on in its own record"
    (offline,) = (traced.root / "run" / "wandb").glob("offline-run-*")
    (record,) = offline.glob("*.wandb")
    content = record.read_bytes()
    assert all(str(loss).encode() in content for loss in losses)
    assert b"fruit" in content
    assert (offline / "files" / "model.safetensors").read_bytes() == (
        traced.root / "run/model.safetensors"
    ).read_bytes()
    images = {path.name.split("_")[0] for path in (offline / "files" / "media" / "images").iterdir()}
    assert images == {"curves", "confusion"}


@pytest.mark.slow
@pytest.mark.network
def test_a_server_that_is_asked_for_is_connected_to_and_its_absence_said(traced):
    """The trace sees a connection where there is one."""
    said, connections = traced(UNREACHABLE)
    assert "--track mlflow cannot be written to" in said
    assert any("sin_port=htons(9)" in one for one in connections)
