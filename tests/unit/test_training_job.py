"""The generated Kubernetes job and Slurm script: valid to strict checkers, and saying what they should."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from catseye.cli import app
from catseye.deploying.training_job import TrainingJob, kubeflow_job, kubernetes_job, slurm_script
from catseye.errors import UnknownName, UsageError
from tests.unit.kubernetes_objects import check

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
        check(part, version)


def test_the_check_of_the_job_can_fail():
    _, batch, _ = parts_of(job_of())
    batch["spec"]["completion"] = 2
    from kubernetes_validate import ValidationError

    with pytest.raises(ValidationError):
        check(batch, "1.34")


@pytest.mark.parametrize("options", [{}, {"gpus_per_node": 0, "nodes": 1}, {"words": AWKWARD, "memory": "3Gi"}])
def test_kubeflow_takes_the_job(options):
    """Through the models that Kubeflow Trainer generates from its API: a field that they do not know is lost."""
    from kubeflow_trainer_api.models import TrainerV1alpha1TrainingRuntime, TrainerV1alpha1TrainJob

    runtime, train_job = kubeflow_parts(job_of(**options))
    assert TrainerV1alpha1TrainingRuntime.from_dict(runtime).to_dict() == runtime
    assert TrainerV1alpha1TrainJob.from_dict(train_job).to_dict() == train_job
    train_job["spec"]["trainer"]["numNode"] = 3
    assert TrainerV1alpha1TrainJob.from_dict(train_job).to_dict() != train_job, "the check sees nothing"


def kubeflow_parts(job):
    return list(
        yaml.safe_load_all(kubeflow_job(job, image="registry.example/catseye:0.1.0", claim="photos", mount="/work"))
    )


def test_kubeflow_starts_the_same_training():
    job = job_of(nodes=3, gpus_per_node=4, words=AWKWARD)
    runtime, train_job = kubeflow_parts(job)
    (replicated,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    template = replicated["template"]["spec"]
    (container,) = template["template"]["spec"]["containers"]
    # Trainer fills in the container called node of the job with this label, and calls the first pod NAME-node-0-0.
    assert (replicated["name"], container["name"]) == ("node", "node")
    assert replicated["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    assert template["podFailurePolicy"]["rules"][1]["onExitCodes"]["containerName"] == "node"
    check({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": template}, "1.34")
    trainer = train_job["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (3, 4)
    assert train_job["spec"]["runtimeRef"] == {"kind": "TrainingRuntime", "name": runtime["metadata"]["name"]}
    _, batch, plain = parts_of(job)
    assert trainer["command"] == plain["command"]
    plain_words = [word.replace("$(MASTER_", "$(PET_MASTER_") for word in plain["args"]]
    assert trainer["args"] == [word for word in plain_words if not word.startswith(("--nnodes", "--nproc-per-node"))]
    assert container["resources"] == plain["resources"]
    assert container["volumeMounts"] == plain["volumeMounts"]
    assert template["template"]["spec"]["volumes"] == batch["spec"]["template"]["spec"]["volumes"]
    assert not {one["name"] for one in container["env"]} & {"MASTER_ADDR", "MASTER_PORT"}


def test_an_unknown_kind_of_job_is_refused():
    words = ["deploy", "kubernetes-job", "digits", "/work/r", "--image", "i", "--claim", "c", "--kind", "pytorchjob"]
    with pytest.raises(UnknownName, match="did you mean trainjob"):
        CliRunner().invoke(app, words, catch_exceptions=False)


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
PHOTOS = ["kubernetes-job", "/work/photos", "/work/runs/first", "--image", "registry.example/catseye:0.1.0"]
SHOWN = {
    "kubernetes/train-trainjob.yaml": [
        *PHOTOS, "--claim", "photos", *MACHINES, "--options", "--model resnet18 --epochs 90", "--kind", "trainjob",
    ],
    "kubernetes/train-job.yaml": [
        *PHOTOS, "--claim", "photos", *MACHINES, "--options", "--model resnet18 --epochs 90",
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
