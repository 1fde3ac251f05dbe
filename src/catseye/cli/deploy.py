"""`catseye deploy`: the files that put catseye to work elsewhere, one verb per target."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catseye.cli.options import Debug, Json
from catseye.cli.printing import note, print_json, stdout
from catseye.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from catseye.deploying.rendering import Written

deploy = typer.Typer(help="Write the files that put catseye to work elsewhere.", no_args_is_help=True)

Nodes = Annotated[int, typer.Option("--nodes", min=1, max=1000, help="Machines.")]
Gpus = Annotated[int, typer.Option("--gpus-per-node", min=0, max=64, help="Processes per machine; 0: one, on the CPU.")]
Cpus = Annotated[int, typer.Option("--cpus-per-node", min=1, max=1024, help="Cores per machine.")]
Memory = Annotated[str, typer.Option("--memory", help="Per machine, such as 32Gi.")]
JobName = Annotated[str, typer.Option("--name", help="Of the job.")]
TrainOptions = Annotated[str, typer.Option("--options", help='More of `catseye train`: "--model resnet18 -e 90".')]
RunThere = Annotated[str, typer.Argument(help="The run folder, as the machines see it; continued if half done.")]
DataThere = Annotated[str, typer.Argument(help="DATA as in train, as the machines see it.")]
Folder = Annotated[Path, typer.Option("--out", help="The folder that the file is written to.")]
ModelToDeploy = Annotated[Path, typer.Argument(help="An .onnx file that `catseye export` wrote.")]
NewFolder = Annotated[Path, typer.Option("--out", help="An empty or new folder.")]
ServiceName = Annotated[str, typer.Option("--name", help="Of everything that is made.")]
Force = Annotated[bool, typer.Option("--force", help="Write over what has the same name.")]


@deploy.command("docker")
def deploy_docker(
    model: ModelToDeploy,
    out: NewFolder,
    name: ServiceName = "cnn-classifier",
    force: Force = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a folder for `docker build`: a small image of this model's server, for CPU or GPU."""
    from catseye.deploying.docker import write_docker
    from catseye.deploying.rendering import read_model

    _report(write_docker(read_model(model, name), out, force=force), out, as_json)


@deploy.command("compose")
def deploy_compose(
    model: ModelToDeploy,
    out: NewFolder,
    name: ServiceName = "cnn-classifier",
    cpus: Annotated[int, typer.Option("--cpus", min=1, max=256, help="Processors for the classifier.")] = 2,
    memory: Annotated[
        str, typer.Option("--memory", help="For the classifier, such as 2G; auto: the most it can need.")
    ] = "auto",
    force: Force = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a folder for `docker compose up`: the server, Prometheus with alerts, Grafana with the dashboard."""
    from catseye.deploying.compose import write_compose
    from catseye.deploying.rendering import read_model

    written = write_compose(read_model(model, name), out, cpus=cpus, memory=memory, force=force)
    _report(written, out, as_json)


@deploy.command("kubernetes")
def deploy_kubernetes(
    model: ModelToDeploy,
    out: NewFolder,
    name: ServiceName = "cnn-classifier",
    image: Annotated[
        str, typer.Option("--image", help="As pushed; without a tag the model's version is one.", show_default="NAME")
    ] = "",
    namespace: Annotated[str, typer.Option("--namespace", help="Else that of kubectl.", show_default=False)] = "",
    min_replicas: Annotated[int, typer.Option("--min-replicas", min=1, max=1000, help="At night.")] = 2,
    max_replicas: Annotated[int, typer.Option("--max-replicas", min=1, max=1000, help="At most.")] = 10,
    cpus: Annotated[int, typer.Option("--cpus", min=1, max=256, help="Processors per replica.")] = 2,
    requests_per_pod: Annotated[
        int, typer.Option("--requests-per-pod", min=0, help="Per second, before there are more replicas; 0: measured.")
    ] = 0,
    token_secret: Annotated[
        str, typer.Option("--token-secret", help="The Secret with the key `token`.", show_default="NAME-token")
    ] = "",
    insecure: Annotated[bool, typer.Option("--insecure", help="Ask nobody for a token.")] = False,
    host: Annotated[str, typer.Option("--host", help="DNS name of Ingress and Gateway, with https.")] = "",
    gateway_class: Annotated[str, typer.Option("--gateway-class", help="As in kubectl get gatewayclass.")] = "istio",
    monitoring_namespace: Annotated[
        str, typer.Option("--monitoring-namespace", help="Where Prometheus runs.")
    ] = "monitoring",
    release: Annotated[
        str, typer.Option("--release", help="The Helm release of the Prometheus operator.")
    ] = "kube-prometheus-stack",
    prestop: Annotated[
        int, typer.Option("--prestop", min=1, max=600, help="Seconds until every load balancer has heard of a stop.")
    ] = 5,
    force: Force = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a Kustomize folder: Deployment, autoscaler, network policy, monitoring, Ingress, Gateway, KServe."""
    from catseye.deploying.kubernetes import Cluster, write_kubernetes
    from catseye.deploying.rendering import read_model

    cluster = Cluster(
        image=image,
        namespace=namespace,
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        cpus=cpus,
        requests_per_pod=requests_per_pod,
        token_secret=token_secret,
        insecure=insecure,
        host=host,
        gateway_class=gateway_class,
        monitoring_namespace=monitoring_namespace,
        release=release,
        prestop_s=prestop,
    )
    _report(write_kubernetes(read_model(model, name), cluster, out, force=force), out, as_json)


@deploy.command("lambda")
def deploy_lambda(
    model: ModelToDeploy,
    out: NewFolder,
    name: ServiceName = "cnn-classifier",
    python: Annotated[str, typer.Option("--python", help="Of the function, and of whoever runs build.py.")] = "3.13",
    force: Force = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write an AWS Lambda function: its package, as zip or image, and a CloudFormation stack for each."""
    from catseye.deploying.aws_lambda import write_lambda
    from catseye.deploying.rendering import read_model

    _report(write_lambda(read_model(model, name), out, python=python, force=force), out, as_json)


@deploy.command("kubernetes-job")
def deploy_kubernetes_job(
    data: DataThere,
    run: RunThere,
    image: Annotated[str, typer.Option("--image", help="An image with catseye\\[train] and torchrun in it.")],
    claim: Annotated[str, typer.Option("--claim", help="The PersistentVolumeClaim with DATA and room for the run.")],
    mount: Annotated[str, typer.Option("--mount", help="Where the pods see that claim.")] = "/work",
    nodes: Nodes = 2,
    gpus_per_node: Gpus = 1,
    cpus_per_node: Cpus = 8,
    memory: Memory = "32Gi",
    name: JobName = "catseye-train",
    options: TrainOptions = "",
    kind: Annotated[str, typer.Option("--kind", help="job, or trainjob: Kubeflow Trainer's.")] = "job",
    out: Folder = Path(),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a Kubernetes Indexed Job, or a Kubeflow TrainJob, that trains on several machines."""
    from catseye.deploying.training_job import KINDS, TrainingJob, split_words

    if kind not in KINDS:
        raise UnknownName("kind of job", kind, KINDS)
    words = split_words(options)
    job = TrainingJob(data, run, nodes, gpus_per_node, cpus_per_node, memory, name, words)
    file_name, write = KINDS[kind]
    _write_file(out / file_name, write(job, image=image, claim=claim, mount=mount), "kubectl apply -f", as_json)


@deploy.command("slurm")
def deploy_slurm(
    data: DataThere,
    run: RunThere,
    time: Annotated[str, typer.Option("--time", help="The most that the job may take, HH:MM:SS.")] = "24:00:00",
    setup: Annotated[str, typer.Option("--setup", help="A line of shell that makes torchrun and catseye known.")] = "",
    nodes: Nodes = 2,
    gpus_per_node: Gpus = 1,
    cpus_per_node: Cpus = 8,
    memory: Memory = "32Gi",
    name: JobName = "catseye-train",
    options: TrainOptions = "",
    out: Folder = Path(),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a Slurm script that trains on several machines."""
    from catseye.deploying.training_job import TrainingJob, slurm_script, split_words

    words = split_words(options)
    job = TrainingJob(data, run, nodes, gpus_per_node, cpus_per_node, memory, name, words)
    _write_file(out / "train.sbatch", slurm_script(job, time=time, setup=setup), "sbatch", as_json)


def _write_file(path: Path, text: str, verb: str, as_json: bool) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--out {path.parent} cannot be written to ({error.strerror})") from None
    if as_json:
        print_json({"written": [str(path)]})
        return
    stdout.print(f"written: {path}", markup=False)
    stdout.print(f"next: {verb} {path}", highlight=False, markup=False)


def _report(written: "Written", out: Path, as_json: bool) -> None:
    if as_json:
        print_json({"written": [str(path) for path in written.files], "notes": written.notes, "next": written.next})
        return
    stdout.print(f"written: {len(written.files)} files below {out}", highlight=False, markup=False)
    for line in written.notes:
        note(line)
    for step in written.next:
        stdout.print(f"next: {step}", highlight=False, markup=False)
