"""A network as a .pt2: a torch.export program, or an AOTInductor package.

The program is for Python, the package for C++ without Python.

Enters: a `Graph`. Leaves: the archive without its manifest, which `torch_archive.with_manifest` adds.
Called by `drafts.py`.
"""

import io
import logging
import tempfile
import warnings
from pathlib import Path

import torch

from catseye.errors import CatseyeError
from catseye.exporting.graph import Graph
from catseye.runtimes.model_file import first_line


def build_torch_export(graph: Graph) -> bytes:
    """The program as torch.export.save writes it.

    Raises:
        CatseyeError: torch cannot express the network.

    """
    program = _program(graph)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # torch warns that it saves a part of a larger tensor; that part is enough.
        warnings.filterwarnings("ignore", "No complete tensor found")
        torch.export.save(program, stream)
    return stream.getvalue()


def build_aotinductor(graph: Graph) -> bytes:
    """The program compiled for this machine's processor.

    It needs a C++ compiler and about a minute.

    Raises:
        CatseyeError: torch cannot express the network, or there is no compiler.

    """
    program = _program(graph)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # no CUDA, and none is needed
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        try:
            # Otherwise the number of threads of this process would be compiled in.
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(path), inductor_configs={"cpp.dynamic_threads": True}
            )
        except Exception as error:
            name = graph.manifest.architecture.name
            raise CatseyeError(
                f"AOTInductor cannot compile {name} here ({first_line(error)}); it needs a C++ compiler: "
                f"apt-get install g++, or leave --to aotinductor out"
            ) from error
        return path.read_bytes()


def _program(graph: Graph) -> torch.export.ExportedProgram:
    try:
        with torch.no_grad():
            return torch.export.export(
                graph, (graph.example(),), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), strict=False
            )
    except Exception as error:  # torch.export wraps the exceptions of its passes
        name = graph.manifest.architecture.name
        raise CatseyeError(f"torch.export cannot express {name} ({first_line(error)})") from error
