"""The generated Kubernetes job and Slurm script: valid to strict checkers, and saying what they should."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kubernetes_validate import ValidationError, validate
from typer.testing import CliRunner

from catseye.cli import app
from catseye.deploying.training_job import TrainingJob, kubernetes_job, slurm_script
from catseye.errors import UsageError

EXAMPLES = Path(__file__).parents[2] / "examples"
SHELLCHECK = Path(sys.executable).with_name("shellcheck")
AWKWARD = ("--set", 'model.name=it\'s "so" $HOME $(date) `id` \\', "-e", "é")


def job_of(**options):
    return TrainingJob(**{"data": "/work/photos", "run": "/work/runs/first"} | options)


def parts_of(job, image="registry.example/catseye:0.1.0"):
    service, batch = yaml.safe_load_all(kubernetes_job(job, image=image, claim="photos", mount="/work"))
    return service, batch, batch["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("version", ["1.29", "1.34"])
@pytest.mark.parametrize("options", [{}, {"gpus_per_node": 0, "nodes": 1}, {"words": AWKWARD, "memory": "3Gi"}])
def test_kubernetes_takes_the_job(version, options):
    for part in parts_of(job_of(**options))[:2]:
        validate(part, version, strict=True)


def test_the_check_of_the_job_can_fail():
    _, batch, _ = parts_of(job_of())
    batch["spec"]["completion"] = 2
    with pytest.raises(ValidationError):
        validate(batch, "1.34", strict=True)


@pytest.mark.parametrize(("nodes", "gpus"), [(2, 4), (7, 1), (1, 0)])
def test_the_pods_meet(nodes, gpus):
    """What a schema does not say: names, ports, numbers and labels that must be each other's."""
    service, batch, container = parts_of(job_of(nodes=nodes, gpus_per_node=gpus, cpus_per_node=16, name="cats"))
    spec, pod = batch["spec"], batch["spec"]["template"]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == nodes
    env = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert env["MASTER_ADDR"] == f"{batch['metadata']['name']}-0.{service['metadata']['name']}"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": batch["metadata"]["name"]}
    (port,) = container["ports"]
    assert service["spec"]["ports"][0]["port"] == port["containerPort"] == int(env["MASTER_PORT"])
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    assert len(port["name"]) <= 15
    assert container["command"] == ["torchrun"]
    words = container["args"]
    assert f"--nnodes={nodes}" in words
    assert f"--nproc-per-node={max(1, gpus)}" in words
    assert "--rdzv-endpoint=$(MASTER_ADDR):$(MASTER_PORT)" in words
    assert container["resources"]["limits"].get("nvidia.com/gpu", 0) == gpus
    assert int(env["OMP_NUM_THREADS"]) == 16 // max(1, gpus)
    assert env["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"
    assert spec["podFailurePolicy"]["rules"][1]["onExitCodes"]["containerName"] == container["name"]
    assert pod["restartPolicy"] == "Never"  # a pod failure policy asks for it
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert volumes == {mount["name"] for mount in container["volumeMounts"]}


def test_the_users_words_arrive_as_they_are(tmp_path):
    words = parts_of(job_of(words=AWKWARD))[2]["args"]
    wanted = ["train", "/work/photos", "--out", "/work/runs/first", *AWKWARD]
    found = [word.replace("$$(", "$(") for word in words[words.index("catseye") + 1 :]]  # as Kubernetes will
    assert found == wanted
    assert not any("$(" in word.replace("$$(", "") for word in words[words.index("catseye") + 1 :])
    script = slurm_script(job_of(words=AWKWARD), time="1:00:00")
    last = script[script.index("-m catseye ") + len("-m catseye ") :]
    assert shlex.split(last) == wanted
    told = subprocess.run(["bash", "-c", f"printf '%s\\0' {last}"], capture_output=True, check=True).stdout
    assert told.decode().split("\0")[:-1] == wanted


@pytest.mark.parametrize("options", [{}, {"gpus_per_node": 0}, {"words": ("-m", "it's"), "nodes": 16}])
def test_the_script_is_sound_shell(tmp_path, options):
    path = tmp_path / "train.sbatch"
    path.write_text(slurm_script(job_of(**options), time="2-00:00:00"))
    subprocess.run(["bash", "-n", path], check=True)
    checked = subprocess.run([SHELLCHECK, path], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    path.write_text(path.read_text().replace('"$SLURM_JOB_NODELIST"', "$SLURM_JOB_NODELIST"))
    assert subprocess.run([SHELLCHECK, path], capture_output=True).returncode == 1, "the check sees nothing"


def test_slurm_is_asked_for_what_torchrun_is_told():
    script = slurm_script(job_of(nodes=3, gpus_per_node=4, cpus_per_node=32, memory="64Gi"), time="12:00:00")
    asked = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2] for line in script.splitlines() if "#SBATCH" in line
    )
    assert asked["nodes"] == "3"
    assert asked["ntasks-per-node"] == "1"  # one torchrun each, which starts the four processes
    assert (asked["gpus-per-node"], asked["cpus-per-task"], asked["mem"]) == ("4", "32", "64G")
    assert asked["signal"].startswith("TERM@")
    assert "--nnodes=3 " in script
    assert "--nproc-per-node=4 " in script
    assert "--gpus-per-node" not in slurm_script(job_of(gpus_per_node=0), time="12:00:00")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "Cats"}, "--name"),
        ({"name": "c" * 53}, "--name"),
        ({"memory": "32 GB"}, "--memory"),
        ({"words": ("--out", "x")}, "cannot hold --out"),
        ({"words": ("--nproc=2",)}, "cannot hold --nproc"),
        ({"run": "/elsewhere/run"}, "/elsewhere/run"),
        ({"run": "/work/../run"}, r"/work/\.\./run"),
        ({"data": "/photos"}, "/photos"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        kubernetes_job(job_of(**options), image="catseye", claim="photos", mount="/work")


def test_names_of_others_are_checked_too():
    for bad in ({"image": "a b"}, {"claim": "A_b"}, {"mount": "work"}):
        with pytest.raises(UsageError, match=next(iter(bad))):
            kubernetes_job(job_of(), **{"image": "catseye", "claim": "photos", "mount": "/work"} | bad)
    with pytest.raises(UsageError, match="--time"):
        slurm_script(job_of(), time="a day")


MACHINES = ["--nodes", "2", "--gpus-per-node", "4", "--cpus-per-node", "32", "--memory", "128Gi"]
SHOWN = {
    "kubernetes/train-job.yaml": [
        "kubernetes-job", "/work/photos", "/work/runs/first", "--image", "registry.example/catseye:0.1.0",
        "--claim", "photos", *MACHINES, "--options", "--model resnet18 --epochs 90",
    ],
    "slurm/train.sbatch": [
        "slurm", "/shared/photos", "/shared/runs/first", *MACHINES, "--setup", "source /shared/venv/bin/activate",
        "--options", "--model resnet18 --epochs 90",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_the_examples_are_what_the_command_writes(name, tmp_path):
    done = CliRunner().invoke(app, ["deploy", *SHOWN[name], "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    (written,) = json.loads(done.output)["written"]
    assert Path(written).read_text() == (EXAMPLES / name).read_text()
