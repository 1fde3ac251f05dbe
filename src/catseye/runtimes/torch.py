"""TorchScript, torch.export and AOTInductor files, computed by torch on the CPU.

Enters: the path of a file that the caller trusts, because these formats are programs. Leaves: `OpenedModel`. torch is
imported when a program is started; inspecting one does not need it. Called by `loading.py`.
"""

import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from catseye.errors import MissingDependency, ModelFileError
from catseye.files import StrPath
from catseye.manifest import Manifest
from catseye.runtimes.model_file import (
    OpenedModel,
    OpenSettings,
    first_line,
    image_and_answers,
    never_started,
    read_once,
    require_answers,
    require_names,
)
from catseye.runtimes.torch_archive import AOTINDUCTOR, TORCHSCRIPT, Archive, read_archive

if TYPE_CHECKING:
    from torch import Tensor

Compute = Callable[["Tensor"], Sequence["Tensor"]]


def open_torch_file(path: StrPath, wish: OpenSettings) -> OpenedModel:
    """Read and check a TorchScript file or a .pt2, and start it.

    If only its facts are needed, it is not started.

    `wish.threads` sets torch's threads for the whole process; 0 leaves them.

    Raises:
        ModelFileError: damaged, not made by catseye, or it does not do what its manifest says.
        MissingDependency: torch is not installed but needed to start it.

    """
    source = str(path)
    content = read_once(source, "a model")
    archive = read_archive(content, source)
    manifest = Manifest.from_json(archive.manifest, source)
    inputs, outputs = image_and_answers(manifest)
    opened = OpenedModel(
        path=Path(path),
        format=archive.kind,
        runtime="",
        manifest=manifest,
        num_bytes=len(content),
        sha256=sha256(content).hexdigest(),
        ask=never_started,
        inputs=inputs,
        outputs=outputs,
        operators=archive.operators,
        num_parameters=archive.num_parameters,
        computed_by="torch",
    )
    if wish.need == "facts":
        return opened
    require_names(manifest, source)
    return require_answers(_started(opened, archive, content, wish.threads))


def _started(opened: OpenedModel, archive: Archive, content: bytes, threads: int) -> OpenedModel:
    try:
        import torch
    except ImportError as error:
        raise MissingDependency(error.name or "torch") from None
    if threads:
        torch.set_num_threads(threads)
    try:
        compute = _start(archive, content)
    except Exception as error:  # noqa: BLE001 - torch's loaders pass on whatever their parts raise
        message = first_line(error)
        raise ModelFileError(f"{opened.path} cannot be run by torch {torch.__version__} ({message})") from None

    def ask(image: NDArray[Any], names: Sequence[str]) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            answers = dict(zip(opened.manifest.outputs, compute(torch.from_numpy(image)), strict=True))
        return [answers[name].numpy() for name in names]

    return replace(opened, ask=ask, runtime=f"torch {torch.__version__}")


def _start(archive: Archive, content: bytes) -> Compute:
    import torch

    if archive.kind == TORCHSCRIPT:
        with warnings.catch_warnings():
            # Deprecated since torch 2.14; docs/export.md names the alternative.
            warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated")
            script: Any = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
        return script.eval()  # type: ignore[no-any-return]
    if archive.kind == AOTINDUCTOR:
        return _start_package(archive, content)
    with warnings.catch_warnings():
        # torch 2.11 leaves the weights in the archive's bytes; nothing here writes to weights.
        warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)
        program = torch.export.load(io.BytesIO(content))
    return program.module()


def _start_package(archive: Archive, content: bytes) -> Compute:
    """Load the checked bytes from a private file: the loader takes only a path."""
    import torch

    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # no CUDA, and none is needed
    with tempfile.TemporaryDirectory() as folder:
        private = Path(folder) / f"{archive.root}.pt2"
        private.write_bytes(content)
        package: Compute = torch._inductor.aoti_load_package(str(private))
    return package
