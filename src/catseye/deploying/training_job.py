"""A training run over several machines: Kubernetes, Kubeflow or Slurm.

Enters: the training and its machines. Leaves: the text of one file: a Kubernetes job, a Kubeflow TrainJob or a Slurm
script. Called by cli (`catseye deploy`). The templates lie beside this file; the user's values are quoted before they
are inserted.
"""

import re
import shlex
from pathlib import PurePosixPath

from catseye.data.builtin import NAMES as BUILTINS
from catseye.deploying.rendering import render_template
from catseye.deploying.targets import RESTARTS, TrainingJob
from catseye.errors import UsageError

PORT = 29500


def split_words(text: str) -> tuple[str, ...]:
    """Words split as by a shell.

    Raises:
        UsageError: a quote is not closed.

    """
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"--options is not a command line ({error}); got {text!r}") from None


def kubernetes_job(job: TrainingJob, *, image: str, claim: str, mount: str) -> str:
    """A headless Service and an Indexed Job, as YAML.

    `claim` is the volume claim that every pod mounts at `mount`.

    Raises:
        UsageError: a name is not valid for Kubernetes, or RUN or DATA lies outside the mount.

    """
    return render_template("train-job.yaml", _kubernetes_facts(job, image, claim, mount) | {"kubeflow": False})


def kubeflow_job(job: TrainingJob, *, image: str, claim: str, mount: str) -> str:
    """A TrainingRuntime and a TrainJob of Kubeflow Trainer, as YAML.

    Trainer sets variables such as PET_MASTER_ADDR.

    Source: kubeflow.org/docs/components/trainer; its migration guide says that TrainJob replaces PyTorchJob.

    Raises:
        UsageError: as `kubernetes_job`.

    """
    return render_template("train-trainjob.yaml", _kubernetes_facts(job, image, claim, mount) | {"kubeflow": True})


def _kubernetes_facts(job: TrainingJob, image: str, claim: str, mount: str) -> dict[str, object]:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", claim):
        raise UsageError(f"--claim takes the name of a PersistentVolumeClaim; got {claim!r}")
    if not re.fullmatch(r"[\w.:/@-]+", image):
        raise UsageError(f"--image takes a name such as registry.example/catseye:0.1.0; got {image!r}")
    mount_path = PurePosixPath(mount)
    if not mount_path.is_absolute():
        raise UsageError(f"--mount takes an absolute path; got {mount!r}")
    for path in [job.run] if job.data in BUILTINS else [job.run, job.data]:
        if not (mount_path / path).is_relative_to(mount_path) or ".." in PurePosixPath(path).parts:
            raise UsageError(f"pods can read only below {mount}; got {path}; move it there or change --mount")
    return job.facts() | {
        "image": image,
        "mount": str(mount_path),
        "claim": claim,
        "words": job.command,
        "shared_memory": _half(job.memory),
        "port": PORT,
        "backoff": RESTARTS * job.nodes,
    }


def slurm_script(job: TrainingJob, *, time: str, setup: str = "") -> str:
    """A script for sbatch.

    `setup` is a shell line that runs first, such as `source /opt/venv/bin/activate`.

    Raises:
        UsageError: the time is not Slurm's HH:MM:SS or D-HH:MM:SS.

    """
    if not re.fullmatch(r"([0-9]+-)?[0-9]{1,2}:[0-9]{2}:[0-9]{2}", time):
        raise UsageError(f"--time takes HH:MM:SS or D-HH:MM:SS; got {time!r}")
    return render_template(
        "train.sbatch", job.facts() | {"time": time, "setup": setup, "words": shlex.join(job.command)}
    )


def _half(memory: str) -> str:
    number, unit = int(memory[:-2]), memory[-2:]
    smaller = {"Ti": "Gi", "Gi": "Mi", "Mi": "Ki"}
    return f"{number // 2}{unit}" if number % 2 == 0 else f"{number * 512}{smaller[unit]}"


KINDS = {"job": ("train-job.yaml", kubernetes_job), "trainjob": ("train-trainjob.yaml", kubeflow_job)}
"""What `catseye deploy kubernetes-job --kind` takes: the file's name and the function that writes it."""
