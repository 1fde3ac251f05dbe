"""What every target shares: the model that is put to work, templates, and an output folder that is whole or not there.

Enters: a model file and the folder to write. Leaves: `DeployedModel` and the files on disk. Called by the targets of
this room (docker, kubernetes, aws_lambda, compose) and by training_job. No torch.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from string import Template

from catseye.errors import ModelFileError, SaveError, UsageError
from catseye.files import make_folder, write_atomically
from catseye.manifest import Manifest
from catseye.runtimes.loading import open_model

NAME = re.compile(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?")  # room is left in the 63 characters for what is added to it


class AtTemplate(Template):
    """@{name} in place of ${name}, which shells, Docker and Kubernetes use themselves."""

    delimiter = "@"


@dataclass(frozen=True)
class DeployedModel:
    """The one file that all targets carry, and what it says of itself."""

    path: Path
    manifest: Manifest
    sha256: str
    num_bytes: int
    name: str


@dataclass(frozen=True)
class Written:
    """The files, what the user should know of them, and the commands that come next."""

    files: list[Path]
    notes: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)


def read_model(path: Path, name: str = "cnn-classifier") -> DeployedModel:
    """Open the file as the server will, so that what cannot be served is refused before anything is written.

    Raises:
        ModelFileError: it is no ONNX file, damaged, or has no manifest.
        UsageError: the name is not what Docker and Kubernetes take.

    """
    if not NAME.fullmatch(name):
        raise UsageError(f"--name takes small letters, digits and '-', at most 52; got {name!r}")
    if path.suffix.lower() != ".onnx":
        raise ModelFileError(f"deploy takes an .onnx file; got {path}; `catseye export RUN --out DIR` writes one")
    opened = open_model(path)
    return DeployedModel(path, opened.manifest, opened.sha256, opened.num_bytes, name)


def render_template(template: str, facts: Mapping[str, object]) -> str:
    """Fill in templates/`template`; a fact that is missing is an error of ours (KeyError)."""
    text = resources.files("catseye.deploying").joinpath("templates", template).read_text(encoding="utf-8")
    return AtTemplate(text).substitute(facts)


def write_folder(out: Path, files: Mapping[str, str | bytes | Path], *, force: bool = False) -> list[Path]:
    """Write files by their names relative to `out`; a Path is copied. Returns them in order of name.

    Raises:
        UsageError: the folder holds something already and `force` was not given.
        SaveError: it cannot be written.

    """
    if out.is_dir() and any(out.iterdir()) and not force:
        raise UsageError(f"{out} is not empty; choose another folder, or --force writes over what has the same name")
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
