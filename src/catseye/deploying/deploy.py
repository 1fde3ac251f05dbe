"""`catseye deploy`: one function per target, for a program and for cli.

Enters: a model file and facts about the platform. Leaves: `Written`: files, notes, the next commands. The options of a
cluster and of a job are the fields of `Cluster` and `TrainingJob`.
"""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from catseye.deploying.aws_lambda import write_lambda
from catseye.deploying.compose import write_compose
from catseye.deploying.docker import write_docker
from catseye.deploying.kubernetes import write_kubernetes
from catseye.deploying.rendering import Written, read_model
from catseye.deploying.targets import Cluster, TrainingJob
from catseye.deploying.training_job import KINDS, slurm_script, split_words
from catseye.errors import UnknownName, UsageError
from catseye.files import StrPath, path_of

NAME = "cnn-classifier"


def deploy_docker(model: StrPath, *, out: StrPath, name: str = NAME, force: bool = False) -> Written:
    """Write a folder for `docker build`: a small image of this model's server.

    The server runs on the CPU or a GPU. `out` is an empty or new folder; with `force`, existing files are overwritten.

    Raises:
        UsageError: a name or the folder cannot be used. ModelFileError: the model cannot.

    """
    return write_docker(read_model(path_of(model), name), Path(out), force=force)


def deploy_compose(
    model: StrPath, *, out: StrPath, name: str = NAME, cpus: int = 2, memory: str = "auto", force: bool = False
) -> Written:
    """Write a folder for `docker compose up`: the server with its monitoring.

    The monitoring is Prometheus with alerts and Grafana with the dashboard. `cpus`: processors of the classifier;
    `memory`: its memory, such as 2G; auto: the most it can need.

    Raises:
        UsageError: a name or the folder cannot be used. ModelFileError: the model cannot.

    """
    return write_compose(read_model(path_of(model), name), Path(out), cpus=cpus, memory=memory, force=force)


def deploy_kubernetes(
    model: StrPath,
    cluster: Cluster | None = None,
    *,
    out: StrPath,
    name: str = NAME,
    force: bool = False,
    **options: Any,
) -> Written:
    """Write a Kustomize folder for the server in a cluster.

    It has a Deployment, autoscaler, network policy, monitoring, Ingress, Gateway and KServe. The cluster is one object,
    or its fields by name: `namespace`, `host`, `max_replicas` …

    Raises:
        UsageError: a name, an option or the folder cannot be used. ModelFileError: the model cannot.

    """
    place = _of_fields(Cluster, options) if cluster is None else cluster
    return write_kubernetes(read_model(path_of(model), name), place, Path(out), force=force)


def deploy_lambda(
    model: StrPath, *, out: StrPath, name: str = NAME, python: str = "3.13", force: bool = False
) -> Written:
    """Write an AWS Lambda function: a zip or an image, and a stack for each.

    The stacks are CloudFormation's. `python` is the version for the function and for build.py.

    Raises:
        UsageError: a name or the folder cannot be used. ModelFileError: the model cannot.

    """
    return write_lambda(read_model(path_of(model), name), Path(out), python=python, force=force)


def deploy_kubernetes_job(
    job: TrainingJob,
    *,
    image: str,
    claim: str,
    mount: str = "/work",
    options: str = "",
    kind: str = "job",
    out: StrPath = ".",
) -> Path:
    """Write a Kubernetes job that trains on several machines.

    It is an Indexed Job, or with `kind="trainjob"` a Kubeflow TrainJob. `options` are further options of
    `catseye train`; `claim` is the volume claim that every pod sees at `mount`.

    Raises:
        UsageError: a value is not valid for Kubernetes, or `out` cannot be written to.

    """
    if kind not in KINDS:
        raise UnknownName("kind of job", kind, KINDS)
    file_name, write = KINDS[kind]
    text = write(replace(job, words=split_words(options)), image=image, claim=claim, mount=mount)
    return _write_file(Path(out) / file_name, text)


def deploy_slurm(
    job: TrainingJob, *, time: str = "24:00:00", setup: str = "", options: str = "", out: StrPath = "."
) -> Path:
    """Write a Slurm script that trains on several machines.

    `time` is the time limit of the job; `setup` a shell line that puts torchrun and catseye on the PATH; `options`
    are further options of `catseye train`.

    Raises:
        UsageError: a value cannot be used, or `out` cannot be written to.

    """
    text = slurm_script(replace(job, words=split_words(options)), time=time, setup=setup)
    return _write_file(Path(out) / "train.sbatch", text)


def _of_fields(kind: type[Cluster], options: dict[str, Any]) -> Cluster:
    names = {
        field.metadata.get("option", f"--{field.name}").removeprefix("--").replace("-", "_"): field
        for field in fields(kind)
    }
    for name in options:
        if name not in names:
            raise UnknownName("option", name, names)
    return kind(**{names[name].name: value for name, value in options.items()})


def _write_file(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--out {path.parent} cannot be written to ({error.strerror})") from None
    return path
