"""A network as a TorchScript file, for C++ programs that load it today.

TorchScript is deprecated in torch since about 2.5.

Enters: a `Graph`. Leaves: the archive without its manifest, which `torch_archive.with_manifest` adds.
Called by `drafts.py`.
"""

import io
import warnings

import torch

from catseye.errors import CatseyeError
from catseye.exporting.graph import Graph
from catseye.runtimes.model_file import first_line

WARNING = (
    "TorchScript is deprecated in torch: it gets no new operators, and a later release may drop it. For new "
    "programs use --to torch-export (Python), aotinductor (C++) or onnx"
)


def build_torchscript(graph: Graph) -> bytes:
    """Trace, then freeze the network.

    The weights become constants and batch norm is folded into the convolutions.

    Raises:
        CatseyeError: torch cannot trace the network.

    """
    stream = io.BytesIO()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # The user gets WARNING instead; the proof at three batch sizes covers the tracer's warnings about shapes.
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(graph, (graph.example(),), check_trace=False)  # type: ignore[no-untyped-call]
            torch.jit.save(torch.jit.freeze(traced), stream)
    except Exception as error:  # the tracer wraps the network's exceptions
        name = graph.manifest.architecture.name
        raise CatseyeError(f"torch cannot express {name} in TorchScript ({first_line(error)})") from error
    return stream.getvalue()
