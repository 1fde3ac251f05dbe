"""What `--help` and the shell add: groups, value names, examples, completion.

Enters: the parameters of a verb, and the groups of verbs. Leaves: the same, described. Called by `verbs.py` and the
package itself. A test parses every example and requires one for every verb.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Annotated, Any, get_args, get_origin

import typer

from catseye.cli.early import EXPORTS, INITS, LIBRARIES, MAPS, NETWORKS
from catseye.settings.typed import TRACKERS

_IMAGES, _SETTINGS, _WEIGHTS = "Images", "Network and settings", "Published weights, another network's answers"
_LONG, _PLACES, _ALL = "Long runs, several processes", "Device and output", "Every command"
_ADDRESS, _COMPUTING, _LIMITS = "Address and access", "Computing", "Limits"
_GROUPS = {
    _IMAGES: "--data --layout --image-column --label-column --split-column --group-column --group-by --strict "
    "--data-dir --list --against --corrupt --corrections",
    _SETTINGS: "--model --recipe --epochs --config --set --no-skip --seed --steps --budget",
    _WEIGHTS: "--pretrained --strategy --weights --teacher",
    _LONG: "--resume --track --tensorboard --nproc --max-restarts",
    _PLACES: "--out --device --csv --trust --top",
    _ALL: "--json --debug",
}
_GROUPS_OF_SERVE = {
    _ADDRESS: "--host --port --uds --allow-host --root-path --cors-origin --token-file --insecure",
    _COMPUTING: "--runtime --trust --concurrency --batch-size --workers --watch --hang-time --quiet",
    _LIMITS: "--max-body --max-pixels --max-header --max-parts --max-queue --max-connections --max-per-address "
    "--deadline --header-time --body-time --write-time --drain",
    _ALL: "--json --debug",
}
_ARGUMENTS = {
    "data": "DATA", "model": "MODEL", "models": "MODEL", "run": "RUN", "image": "IMAGE", "paths": "PATH",
    "group": "GROUP", "folder": "FOLDER", "features": "FILE",
}  # fmt: skip
_VALUES = {
    "FILE": "--corrections --config --weights --csv --list --uds --token-file",
    "DIR": "--out --data-dir --timeline",
    "RUN": "--teacher --resume",
    "DATA": "--data --against",
    "N": "--epochs --nproc --max-restarts --seed --top --workers --part-size --golden --rounds --channel --depth "
    "--examples --steps --classes --concurrency --batch-size --max-pixels --max-parts --max-queue --max-connections "
    "--max-per-address --nodes --gpus-per-node --cpus-per-node --min-replicas --max-replicas",
    "N,N…": "--batch --threads",
    "BYTES": "--max-body --max-header",
    "SECONDS": "--seconds --deadline --header-time --body-time --write-time --drain --hang-time",
    "NAME": "--model --recipe --strategy --layout --image-column --label-column --split-column --group-column "
    "--device --track --engine --method --class --layer --init --runtime --allow-host --stem",
    "KEY=VALUE": "--set",
    "FORMAT,…": "--to",
    "KIND": "--input",
    "POINTS": "--max-drop",
    "SHARE": "--max-risk",
    "TIME": "--budget",
    "REGEX": "--group-by",
    "LEVEL": "--fail-on",
    "ROW,COLUMN": "--at",
    "ADDRESS": "--host",
    "PERSON": "--who",
    "PORT": "--port",
    "PREFIX": "--root-path",
    "ORIGIN": "--cors-origin",
}
_OF_ONE_VERB = {
    ("summary", "--input"): "CxHxW",
    ("label", "--classes"): "NAME,NAME…",
    ("teach", "--classes"): "NAME,NAME…",
    ("embed", "--out"): "FILE",
}
_METAVAR_OF = {option: word for word, options in _VALUES.items() for option in options.split()}
EXAMPLES: dict[str, tuple[str, ...]] = {
    "check": ("catseye check photos", "catseye check photos --out findings --fail-on error"),
    "train": (
        "catseye train photos --out insects",
        "catseye train photos --model resnet18 --epochs 30 --set training.lr=0.05",
        "catseye train --resume insects",
    ),
    "evaluate": ("catseye evaluate insects", "catseye evaluate insects/export/model.onnx other-photos --out report"),
    "calibrate": ("catseye calibrate insects --max-risk 2%",),
    "compare": ("catseye compare insects insects-2",),
    "predict": ("catseye predict insects new", "catseye predict insects 'new/*.jpg' --top 3 --csv answers.csv"),
    "export": ("catseye export insects", "catseye export insects --to onnx,openvino --int8"),
    "bench": ("catseye bench insects insects/export/model.onnx --batch 1,8",),
    "info": ("catseye info insects/export/model.onnx",),
    "serve": ("catseye serve insects/export/model.onnx", "catseye serve model.onnx --port 9000 --workers 2 --watch"),
    "review": ("catseye review insects", "catseye review photos --out corrections.csv"),
    "label": ("catseye label new --classes ants,bees",),
    "teach": ("catseye teach --classes cup,pen,hand",),
    "embed": ("catseye embed insects photos", "catseye embed --pretrained photos --out features.parquet"),
    "search": ("catseye search features.npz new/1.jpg --top 20",),
    "lab": ("catseye lab", "catseye lab insects"),
    "lr-find": ("catseye lr-find photos --model resnet18",),
    "timeline": ("catseye timeline digits --budget 30s",),
    "models": ("catseye models",),
    "summary": ("catseye summary lenet5 --input 1x32x32",),
    "settings": ("catseye settings", "catseye settings training"),
    "explain cam": ("catseye explain insects new/1.jpg", "catseye explain cam insects new/1.jpg --class bees"),
    "explain kernels": ("catseye explain kernels insects",),
    "explain feature-maps": ("catseye explain feature-maps insects new/1.jpg",),
    "explain receptive-field": ("catseye explain receptive-field insects new/1.jpg --at 3,4",),
    "explain gradient-flow": ("catseye explain gradient-flow --depth 20",),
    "deploy docker": ("catseye deploy docker model.onnx --out docker",),
    "deploy compose": ("catseye deploy compose model.onnx --out compose",),
    "deploy kubernetes": ("catseye deploy kubernetes model.onnx --out k8s --image registry.example/insects:1",),
    "deploy lambda": ("catseye deploy lambda model.onnx --out lambda",),
    "deploy kubernetes-job": (
        "catseye deploy kubernetes-job photos insects --image registry.example/train:1 --claim data",
    ),
    "deploy slurm": ("catseye deploy slurm photos insects --nodes 2",),
}


def described(parameter: inspect.Parameter, verb: str) -> inspect.Parameter:
    """The parameter of a verb, with its group and the name of its value."""
    if get_origin(parameter.annotation) is not Annotated:
        return parameter
    kind, *marks = get_args(parameter.annotation)
    info: Any = next((mark for mark in marks if isinstance(mark, typer.models.ParameterInfo)), None)
    if info is None:
        return parameter
    names = [str(info.default), *(info.param_decls or ())]  # in Annotated, typer keeps the first name as the default
    option = next((name for name in names if name.startswith("--")), "")
    if not option:
        info.metavar = info.metavar or _ARGUMENTS.get(parameter.name)
        return parameter
    groups = _GROUPS_OF_SERVE if verb == "serve" else _GROUPS
    info.rich_help_panel = next((title for title, names in groups.items() if option in names.split()), None)
    if kind is not bool:
        info.metavar = info.metavar or _OF_ONE_VERB.get((verb, option)) or _METAVAR_OF.get(option) or _plain(kind)
    info.autocompletion = info.autocompletion or _COMPLETED.get(option)
    return parameter


def _plain(kind: Any) -> str:
    """The value's name for an option that is in no table."""
    words = {"Path": "FILE", "float": "NUMBER", "int": "N"}
    return next((word for name, word in words.items() if name in str(kind)), "TEXT")


def add_examples(groups: Iterable[tuple[str, typer.Typer]]) -> None:
    """Add the examples to the help of every verb in each `(words before it, group)`."""
    for before, group in groups:
        for command in group.registered_commands:
            lines = EXAMPLES.get(f"{before}{command.name}", ())
            command.epilog = "\n".join([f"Example{'s' * (len(lines) > 1)}:", *lines]) if lines else None


def _from(*names: str) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:  # typer passes this parameter by name
        return [name for name in names if name.startswith(incomplete)]

    return complete


def _recipes(incomplete: str) -> list[str]:
    from catseye.settings.merge import recipe_names

    return [name for name in recipe_names() if name.startswith(incomplete)]


def _keys(incomplete: str) -> list[str]:
    from catseye.settings.listing import list_settings

    return [f"{row.key}=" for row in list_settings() if row.key.startswith(incomplete)]


_COMPLETED: dict[str, Callable[[str], list[str]]] = {
    "--model": _from(*NETWORKS, *LIBRARIES),
    "--recipe": _recipes,
    "--set": _keys,
    "--device": _from("auto", "cpu", "cuda", "mps"),
    "--to": _from(*EXPORTS),
    "--layout": _from("auto", "splits", "classes", "names"),
    "--method": _from(*MAPS),
    "--init": _from(*INITS),
    "--track": _from(*TRACKERS),
    "--engine": _from("here", "ray"),
    "--fail-on": _from("error", "warning"),
    "--strategy": _from("auto", "feature-extraction", "fine-tune", "full", "scratch"),
    "--runtime": _from("auto", "cpu", "cuda", "tensorrt", "openvino"),
}
