"""A training run over several machines: a Kubernetes job, a Kubeflow TrainJob or a Slurm script.

Enters: what to train on how many machines. Leaves: the text of one file. Called by cli (`catseye deploy`).
The templates lie beside this file; everything of the user's is quoted before it is put into them.
"""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath
from textwrap import indent

from catseye.data.builtin import NAMES as BUILTINS
from catseye.deploying.rendering import NAME, render_template
from catseye.errors import UsageError

PORT = 29500
RESTARTS = 3
SIZE = re.compile(r"[1-9][0-9]{0,5}(Mi|Gi|Ti)")


def split_words(text: str) -> tuple[str, ...]:
    """Words as a shell would see them.

    Raises:
        UsageError: a quote is left open.

    """
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"--options is no command line ({error}); got {text!r}") from None


@dataclass(frozen=True)
class TrainingJob:
    """What runs where. With no GPUs one process per machine computes on the CPU."""

    data: str
    run: str
    nodes: int = 2
    gpus_per_node: int = 1
    cpus_per_node: int = 8
    memory: str = "32Gi"
    name: str = "catseye-train"
    words: tuple[str, ...] = ()  # further words of `catseye train`

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise UsageError(f"--name takes small letters, digits and '-', at most 52; got {self.name!r}")
        if not SIZE.fullmatch(self.memory):
            raise UsageError(f"--memory takes a number and Mi, Gi or Ti, such as 32Gi; got {self.memory!r}")
        for word in self.words:
            option = word.partition("=")[0]
            if option in ("--out", "--resume", "--nproc", "--max-restarts"):
                raise UsageError(f"--options cannot hold {option}: torchrun and RUN say it already; leave it out")

    @property
    def processes(self) -> int:
        """Processes per machine."""
        return max(1, self.gpus_per_node)

    @property
    def command(self) -> list[str]:
        """The words after `catseye`."""
        device = [] if self.gpus_per_node else ["--device", "cpu"]
        return ["train", self.data, "--out", self.run, *device, *self.words]

    def facts(self) -> dict[str, object]:
        """What both templates say."""
        return {
            "name": self.name,
            "nodes": self.nodes,
            "processes": self.processes,
            "cpus": self.cpus_per_node,
            "threads": max(1, self.cpus_per_node // self.processes),
            "restarts": RESTARTS,
        }


def kubernetes_job(job: TrainingJob, *, image: str, claim: str, mount: str) -> str:
    """A headless Service and an Indexed Job, as YAML; `claim` is the volume claim that every pod mounts at `mount`.

    Raises:
        UsageError: a name is not what Kubernetes takes, or RUN or DATA lies outside the mount.

    """
    facts = _kubernetes_facts(job, image, claim, mount)
    master = f"{job.name}-0.{job.name}"
    pod = render_template(
        "train-pod.yaml",
        facts
        | {
            **{"container": "train", "job_label": "batch.kubernetes.io/job-name"},
            "entry": indent(_entry(job, facts, prefix="", sized=True), " " * 4),
            "master_env": f"      - name: MASTER_ADDR\n        value: {master}\n"
            f'      - name: MASTER_PORT\n        value: "{PORT}"\n',
            "ports": f"    ports:\n      - name: rendezvous\n        containerPort: {PORT}\n",
        },
    )
    return render_template("train-job.yaml", facts | {"pod": indent(pod.rstrip("\n"), " " * 6)})


def kubeflow_job(job: TrainingJob, *, image: str, claim: str, mount: str) -> str:
    """A TrainingRuntime and a TrainJob of Kubeflow Trainer, as YAML. Trainer sets PET_MASTER_ADDR and its like.

    Source: kubeflow.org/docs/components/trainer; its migration guide says that TrainJob replaces PyTorchJob.

    Raises:
        UsageError: as `kubernetes_job`.

    """
    facts = _kubernetes_facts(job, image, claim, mount)
    pod = render_template(
        "train-pod.yaml",
        facts
        | {
            **{"container": "node", "job_label": "jobset.sigs.k8s.io/jobset-name"},
            **{"entry": "", "master_env": "", "ports": ""},
        },
    )
    return render_template(
        "train-trainjob.yaml",
        facts
        | {
            "pod": indent(pod.rstrip("\n"), " " * 18),
            "trainer_entry": indent(_entry(job, facts, prefix="PET_", sized=False).rstrip("\n"), " " * 4),
        },
    )


def _kubernetes_facts(job: TrainingJob, image: str, claim: str, mount: str) -> dict[str, object]:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", claim):
        raise UsageError(f"--claim takes the name of a PersistentVolumeClaim; got {claim!r}")
    if not re.fullmatch(r"[\w.:/@-]+", image):
        raise UsageError(f"--image takes a name such as registry.example/catseye:0.1.0; got {image!r}")
    where = PurePosixPath(mount)
    if not where.is_absolute():
        raise UsageError(f"--mount takes an absolute path; got {mount!r}")
    for path in [job.run] if job.data in BUILTINS else [job.run, job.data]:
        if not (where / path).is_relative_to(where) or ".." in PurePosixPath(path).parts:
            raise UsageError(f"pods see only what lies below {mount}; got {path}; move it there or change --mount")
    return job.facts() | {
        "image": _yaml(image),
        "mount": _yaml(str(where)),
        "claim": _yaml(claim),
        "memory": job.memory,
        "shared_memory": _half(job.memory),
        "port": PORT,
        "rendezvous_id": job.name,
        "backoff": RESTARTS * job.nodes,
        "gpu_limit": f"        nvidia.com/gpu: {job.gpus_per_node}\n" if job.gpus_per_node else "",
    }


def _entry(job: TrainingJob, facts: dict[str, object], *, prefix: str, sized: bool) -> str:
    """The container's command and arguments; `sized` says the number of machines, which Kubeflow says itself."""
    sizes = f'  - "--nnodes={job.nodes}"\n  - "--nproc-per-node={job.processes}"\n' if sized else ""
    words = "\n".join(f"  - {_yaml(word)}" for word in job.command)
    return render_template("train-entry.yaml", facts | {"sizes": sizes, "prefix": prefix, "words": words})


def slurm_script(job: TrainingJob, *, time: str, setup: str = "") -> str:
    """A script for sbatch; `setup` is a line of shell before it, such as `source /opt/venv/bin/activate`.

    Raises:
        UsageError: the time is not Slurm's HH:MM:SS or D-HH:MM:SS.

    """
    if not re.fullmatch(r"([0-9]+-)?[0-9]{1,2}:[0-9]{2}:[0-9]{2}", time):
        raise UsageError(f"--time takes HH:MM:SS or D-HH:MM:SS; got {time!r}")
    gpus = f"#SBATCH --gpus-per-node={job.gpus_per_node}\n" if job.gpus_per_node else ""
    return render_template(
        "train.sbatch",
        job.facts()
        | {
            "slurm_memory": job.memory[:-1],
            "gpu_line": gpus,
            "time": time,
            "setup": setup,
            "words": shlex.join(job.command),
        },
    )


def _yaml(text: str) -> str:
    """A quoted scalar. Kubernetes replaces $(NAME) in arguments, so the user's own is doubled to stay as it is."""
    return json.dumps(text.replace("$(", "$$("), ensure_ascii=False)


def _half(memory: str) -> str:
    number, unit = int(memory[:-2]), memory[-2:]
    smaller = {"Ti": "Gi", "Gi": "Mi", "Mi": "Ki"}
    return f"{number // 2}{unit}" if number % 2 == 0 else f"{number * 512}{smaller[unit]}"


KINDS = {"job": ("train-job.yaml", kubernetes_job), "trainjob": ("train-trainjob.yaml", kubeflow_job)}
"""What `catseye deploy kubernetes-job --kind` takes: the file's name and who writes it."""
