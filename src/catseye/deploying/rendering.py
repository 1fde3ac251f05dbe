"""What every target shares: the model, templates, and writing the output folder.

Enters: a model file and the folder to write. Leaves: `DeployedModel` and the files on disk. Called by the targets of
this room (docker, kubernetes, aws_lambda, compose) and by training_job. No torch.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from catseye.deploying.targets import NAME
from catseye.errors import MissingDependency, ModelFileError, SaveError, UsageError
from catseye.files import make_folder, write_atomically
from catseye.manifest import Manifest
from catseye.runtimes.loading import open_model

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class DeployedModel:
    """The model file that all targets contain, and its manifest."""

    path: Path
    manifest: Manifest
    sha256: str
    num_bytes: int
    name: str


@dataclass(frozen=True)
class Written:
    """The files, notes for the user, and the next commands."""

    files: list[Path]
    notes: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)


def read_model(path: Path, name: str = "cnn-classifier") -> DeployedModel:
    """Open the file as the server will.

    An unusable file is thus refused before anything is written.

    Raises:
        ModelFileError: it is not an ONNX file, is damaged, or has no manifest.
        UsageError: the name is not valid for Docker and Kubernetes.

    """
    if not NAME.fullmatch(name):
        raise UsageError(f"--name takes small letters, digits and '-', at most 52; got {name!r}")
    if path.suffix.lower() != ".onnx":
        raise ModelFileError(f"deploy takes an .onnx file; got {path}; `catseye export RUN --out DIR` writes one")
    opened = open_model(path)
    return DeployedModel(path, opened.manifest, opened.sha256, opened.num_bytes, name)


def render_template(template: str, facts: Mapping[str, object]) -> str:
    """Fill in templates/`template`.

    A missing value is a bug of catseye (jinja2.UndefinedError).
    """
    return _environment().get_template(template).render(facts)


@cache
def _environment() -> "Environment":
    """Jinja2 with @{name} in place of {{ name }}, and {% if … %} as usual.

    Prometheus and Grafana use {{ name }} themselves.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise MissingDependency("jinja2") from None

    # The output is YAML, Dockerfiles and scripts: the templates and callers quote the values.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(str(resources.files("catseye.deploying").joinpath("templates"))),
        undefined=StrictUndefined,
        variable_start_string="@{",
        variable_end_string="}",
        comment_start_string="{#-",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["json"] = partial(json.dumps, ensure_ascii=False)
    environment.filters["argument"] = _argument
    return environment


def _argument(text: str) -> str:
    """A quoted scalar.

    Kubernetes replaces $(NAME) in arguments, so $( in the text becomes $$(.
    """
    return json.dumps(text.replace("$(", "$$("), ensure_ascii=False)


def write_folder(out: Path, files: Mapping[str, str | bytes | Path], *, force: bool = False) -> list[Path]:
    """Write files by their names relative to `out`; a Path is copied.

    Returns the written paths, sorted by name.

    Raises:
        UsageError: the folder is not empty and `force` was not given.
        SaveError: it cannot be written.

    """
    if out.is_dir() and any(out.iterdir()) and not force:
        raise UsageError(f"{out} is not empty; choose another folder, or overwrite files with --force")
    written = []
    for name, content in sorted(files.items()):
        path = out / name
        try:
            make_folder(path.parent)
            if isinstance(content, Path):
                shutil.copyfile(content, path)
            else:
                write_atomically(path, content)
        except (FileExistsError, NotADirectoryError):
            raise SaveError(f"{path.parent} is a file; --out takes a folder") from None
        written.append(path)
    return written
