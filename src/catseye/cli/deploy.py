"""`catseye deploy`: the files for other platforms, one verb per target."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catseye.cli.places import require_model, require_out_folder
from catseye.cli.printing import command_line, common_options, note, print_json, tell
from catseye.cli.verbs import as_verb
from catseye.counting import count
from catseye.deploying.targets import Cluster, TrainingJob

if TYPE_CHECKING:
    from catseye.deploying.rendering import Written

deploy = typer.Typer(
    help="Write the files that run catseye in Docker, Kubernetes, AWS Lambda or Slurm.", no_args_is_help=True
)

TrainOptions = Annotated[
    str, typer.Option("--options", help='More options of `catseye train`: "--model resnet18 -e 90".')
]
Folder = Annotated[Path, typer.Option("--out", help="The folder that the file is written to.")]
ModelToDeploy = Annotated[Path, typer.Argument(help="An .onnx file that `catseye export` wrote.")]
NewFolder = Annotated[Path, typer.Option("--out", help="An empty or new folder.")]
ServiceName = Annotated[str, typer.Option("--name", help="Name of everything that is created.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]


@deploy.command("docker")
@as_verb
def deploy_docker_verb(
    model: ModelToDeploy, out: NewFolder, name: ServiceName = "cnn-classifier", force: Force = False
) -> None:
    """Write a folder for `docker build`: a small server image, for CPU or GPU."""
    _require_model_and_folder(model, out)
    import catseye

    _report(catseye.deploy_docker(model, out=out, name=name, force=force), out)


@deploy.command("compose")
@as_verb
def deploy_compose_verb(
    model: ModelToDeploy,
    out: NewFolder,
    name: ServiceName = "cnn-classifier",
    cpus: Annotated[int, typer.Option("--cpus", min=1, max=256, help="Processors for the classifier.")] = 2,
    memory: Annotated[
        str, typer.Option("--memory", help="Memory of the classifier, such as 2G; auto: the most it can need.")
    ] = "auto",
    force: Force = False,
) -> None:
    """Write a folder for `docker compose up`: the server and its monitoring.

    The monitoring is Prometheus with alerts, and Grafana with the dashboard.
    """
    _require_model_and_folder(model, out)
    import catseye

    _report(catseye.deploy_compose(model, out=out, name=name, cpus=cpus, memory=memory, force=force), out)


@deploy.command("kubernetes")
@as_verb
def deploy_kubernetes_verb(
    model: ModelToDeploy,
    out: NewFolder,
    cluster: Cluster,
    name: ServiceName = "cnn-classifier",
    force: Force = False,
) -> None:
    """Write a Kustomize folder that runs the server in Kubernetes.

    It contains a Deployment, an autoscaler, a network policy, monitoring, Ingress, Gateway and KServe.
    """
    _require_model_and_folder(model, out)
    import catseye

    _report(catseye.deploy_kubernetes(model, cluster, out=out, name=name, force=force), out)


@deploy.command("lambda")
@as_verb
def deploy_lambda_verb(
    model: ModelToDeploy,
    out: NewFolder,
    name: ServiceName = "cnn-classifier",
    python: Annotated[str, typer.Option("--python", help="Python version of the function and of build.py.")] = "3.13",
    force: Force = False,
) -> None:
    """Write an AWS Lambda function: its package, and CloudFormation stacks.

    The package is a zip or an image; there is a stack for each.
    """
    _require_model_and_folder(model, out)
    import catseye

    _report(catseye.deploy_lambda(model, out=out, name=name, python=python, force=force), out)


@deploy.command("kubernetes-job")
@as_verb
def deploy_kubernetes_job_verb(
    job: TrainingJob,
    image: Annotated[str, typer.Option("--image", help="An image with catseye\\[train] and torchrun in it.")],
    claim: Annotated[str, typer.Option("--claim", help="The PersistentVolumeClaim with DATA and room for the run.")],
    mount: Annotated[str, typer.Option("--mount", help="Where the pods mount that claim.")] = "/work",
    options: TrainOptions = "",
    kind: Annotated[str, typer.Option("--kind", help="job, or trainjob: Kubeflow Trainer's.")] = "job",
    out: Folder = Path(),
) -> None:
    """Write an Indexed Job or a Kubeflow TrainJob that trains on several machines."""
    import catseye

    path = catseye.deploy_kubernetes_job(
        job, image=image, claim=claim, mount=mount, options=options, kind=kind, out=out
    )
    _tell_file(path, "kubectl", "apply", "-f")


@deploy.command("slurm")
@as_verb
def deploy_slurm_verb(
    job: TrainingJob,
    time: Annotated[str, typer.Option("--time", help="Time limit of the job, HH:MM:SS.")] = "24:00:00",
    setup: Annotated[
        str, typer.Option("--setup", help="A shell line that puts torchrun and catseye on the PATH.")
    ] = "",
    options: TrainOptions = "",
    out: Folder = Path(),
) -> None:
    """Write a Slurm script that trains on several machines."""
    import catseye

    _tell_file(catseye.deploy_slurm(job, time=time, setup=setup, options=options, out=out), "sbatch")


def _require_model_and_folder(model: Path, out: Path) -> None:
    require_model(model, "give an .onnx file; `catseye export RUN --out DIR` writes one")
    require_out_folder(out)


def _tell_file(path: Path, *words: str) -> None:
    if common_options.json:
        print_json({"written": [str(path)]})
        return
    tell(f"written: {path}")
    tell(f"next: {command_line(*words, path)}")


def _report(written: "Written", out: Path) -> None:
    if common_options.json:
        print_json({"written": [str(path) for path in written.files], "notes": written.notes, "next": written.next})
        return
    tell(f"written: {count(len(written.files), 'file')} below {out}")
    for line in written.notes:
        note(line)
    for step in written.next:
        tell(f"next: {step}")
