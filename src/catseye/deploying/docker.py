"""`catseye deploy docker`: a folder from which `docker build` makes a server.

The server serves one model, on the CPU or a GPU.

Enters: a model file. Leaves: a build context with the model, catseye itself, pinned and hashed requirements, a bill of
materials for each variant and the Dockerfile. The templates lie in templates/docker. Called by cli and compose.
"""

import hashlib
import json
import shlex
from importlib import resources
from pathlib import Path

import catseye
from catseye.counting import count
from catseye.deploying.rendering import DeployedModel, Written, render_template, write_folder
from catseye.deploying.sbom import bill_of_materials
from catseye.deploying.wheel import build_wheel

MAX_LABEL_BYTES = 32_768  # Docker's builders read lines of at most 65,535 bytes
LOCKS = {"requirements.txt": "requirements.lock", "requirements-gpu.txt": "requirements-gpu.lock"}


def write_docker(model: DeployedModel, out: Path, *, force: bool = False) -> Written:
    """Write the build context.

    Raises:
        UsageError: the folder is not empty and `force` was not given.
        SaveError: it cannot be written.

    """
    content, notes = build_context(model)
    files = write_folder(out, content, force=force)
    name = model.name
    return Written(
        files, notes, [f"cd {shlex.quote(str(out))}", f"docker build -t {name} . && docker run -p 8000:8000 {name}"]
    )


def build_context(model: DeployedModel) -> tuple[dict[str, str | bytes | Path], list[str]]:
    """Every file by its name, and notes for the user."""
    wheel_name, wheel = build_wheel()
    texts = {name: _template(template) for name, template in LOCKS.items()}
    pinned = f"./{wheel_name} \\\n    --hash=sha256:{hashlib.sha256(wheel).hexdigest()}\n"
    words, notes = labels(model)
    facts = {
        "name": model.name,
        "catseye": catseye.__version__,
        "wheel": wheel_name,
        "labels": " \\\n      ".join(f"{key}={quoted(value)}" for key, value in words.items()),
    }

    def bill(lock: str) -> str:
        return bill_of_materials(model, texts[lock], catseye=catseye.__version__, wheel=wheel)

    return {
        "Dockerfile": render_template("docker/Dockerfile", facts),
        ".dockerignore": render_template("docker/dockerignore", facts),
        "slim.sh": _template("slim.sh"),
        "model.onnx": model.path,
        "model.onnx.sha256": f"{model.sha256}  model.onnx\n",
        wheel_name: wheel,
        **{name: text + pinned for name, text in texts.items()},
        "sbom.cdx.json": bill("requirements.txt"),
        "sbom-gpu.cdx.json": bill("requirements-gpu.txt"),
    }, notes


def labels(model: DeployedModel) -> tuple[dict[str, str], list[str]]:
    """The labels of an image, and a note if its classes do not fit.

    The labels are for `docker inspect` and registries.
    """
    manifest = model.manifest
    classes = json.dumps(manifest.classes)
    classes_in_words = count(len(manifest.classes), "class")
    words = {
        "org.opencontainers.image.title": model.name,
        "org.opencontainers.image.description": f"image classifier, {classes_in_words}, served by catseye",
        "org.opencontainers.image.version": model.sha256[:12],
        "catseye.version": catseye.__version__,
        "catseye.model.sha256": model.sha256,
        "catseye.model.architecture": manifest.architecture.name,
        "catseye.model.created": manifest.provenance.created,
        "catseye.model.num-classes": str(len(manifest.classes)),
    }
    if len(classes) <= MAX_LABEL_BYTES:
        return {**words, "catseye.model.classes": classes}, []
    note = (
        f"a label takes at most {MAX_LABEL_BYTES:,} bytes and the names of all {classes_in_words} take "
        f"{len(classes):,}, so the label has only their number; GET /model lists them"
    )
    return words, [note]


def quoted(text: str) -> str:
    r"""A value for LABEL: quoted, with everything escaped that Docker would replace.

    >>> print(quoted('["5 $ note", "a \\"b\\""]'))
    "[\"5 \$ note\", \"a \\\"b\\\"\"]"
    """
    for character in ("\\", '"', "$"):
        text = text.replace(character, f"\\{character}")
    return f'"{text}"'


def _template(name: str) -> str:
    return resources.files("catseye.deploying").joinpath("templates", "docker", name).read_text(encoding="utf-8")
