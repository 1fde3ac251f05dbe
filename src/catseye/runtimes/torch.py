"""TorchScript, torch.export and AOTInductor files as `ModelFile`s, computed by torch on the CPU.

Enters: the path of a file that the caller vouches for (`trust`), because these formats are programs. Leaves:
`ModelFile`. Called by `loading.py` and exporting.
"""

import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from catseye.errors import ModelFileError
from catseye.manifest import Manifest
from catseye.runtimes.model_file import ModelFile, faces, first_line, read_once, require_answers, require_names
from catseye.runtimes.torch_archive import AOTINDUCTOR, TORCHSCRIPT, Archive, read_archive

Compute = Callable[[Tensor], Sequence[Tensor]]


def open_torch_file(path: str | Path, *, trust: bool = False, threads: int = 0) -> ModelFile:
    """Read, judge and start a TorchScript file or a .pt2.

    `threads` is torch's setting for the whole process; 0 keeps it.

    Raises:
        ModelFileError: not trusted, damaged, not made by catseye, or it does not do what its manifest says.

    """
    source = str(path)
    content = read_once(source, "a model")
    archive = read_archive(content, source)
    manifest = Manifest.from_json(archive.manifest, source)
    require_names(manifest, source)
    if not trust:
        raise ModelFileError(
            f"a {archive.kind} file is a program, and opening it runs it; {source} was not opened. Say --trust (in "
            f"Python trust=True) if you or somebody you trust made it; .onnx and OpenVINO files need no trust"
        )
    if threads:
        torch.set_num_threads(threads)
    try:
        compute = _start(archive, content)
    except Exception as error:  # noqa: BLE001 - torch's loaders raise whatever any of their parts raises
        raise ModelFileError(f"{source} cannot be run by torch {torch.__version__} ({first_line(error)})") from None

    def ask(image: NDArray[Any], names: Sequence[str]) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            found = dict(zip(manifest.outputs, compute(torch.from_numpy(image)), strict=True))
        return [found[name].numpy() for name in names]

    inputs, outputs = faces(manifest)
    return require_answers(
        ModelFile(
            path=source,
            format=archive.kind,
            runtime=f"torch {torch.__version__}",
            manifest=manifest,
            num_bytes=len(content),
            sha256=sha256(content).hexdigest(),
            ask=ask,
            inputs=inputs,
            outputs=outputs,
            operators=archive.operators,
            num_parameters=archive.num_parameters,
        )
    )


def _start(archive: Archive, content: bytes) -> Compute:
    if archive.kind == TORCHSCRIPT:
        with warnings.catch_warnings():
            # torch 2.14 calls TorchScript deprecated; docs/export.md says what to use instead.
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
    """The loader takes only a path: the bytes that were judged go into a private file of ours."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # no CUDA, and none is needed
    with tempfile.TemporaryDirectory() as folder:
        private = Path(folder) / f"{archive.root}.pt2"
        private.write_bytes(content)
        package: Compute = torch._inductor.aoti_load_package(str(private))
    return package
