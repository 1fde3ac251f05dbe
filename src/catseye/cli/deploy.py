"""`catseye deploy`: the files that put catseye to work elsewhere, one verb per target."""

from pathlib import Path
from typing import Annotated

import typer

from catseye.cli.options import Debug, Json
from catseye.cli.printing import print_json, stdout
from catseye.errors import UsageError

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
    out: Folder = Path(),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a Kubernetes Indexed Job that trains on several machines."""
    from catseye.deploying.training_job import TrainingJob, kubernetes_job, split_words

    words = split_words(options)
    job = TrainingJob(data, run, nodes, gpus_per_node, cpus_per_node, memory, name, words)
    text = kubernetes_job(job, image=image, claim=claim, mount=mount)
    _write_file(out / "train-job.yaml", text, "kubectl apply -f", as_json)


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
