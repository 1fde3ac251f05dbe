"""The one table of model formats: by suffix, the reader, the runtimes and trust.

Enters: a path. Leaves: its row. Called by `loading.py`, and by rooms that need to know what a path is before they open
it (serving, lab, bench, export). No torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from catseye.errors import ModelFileError, UsageError
from catseye.files import StrPath

Need = Literal["answers", "facts", "layers"]
"""What the caller needs: answers to pixels, the facts stored in the file, or the layers of the network."""


@dataclass(frozen=True)
class ModelFormat:
    """A row. `reader` is module:function in this room.

    `vouched`: why the file is opened with trust only; empty if nothing in it is ever run. `runtimes`: those that can
    compute it, the default first. `has_layers`: it has torch modules, to inspect or to train further.
    """

    title: str
    reader: str
    runtimes: tuple[str, ...]
    devices: tuple[str, ...]
    vouched: str = ""
    has_layers: bool = False

    @property
    def module(self) -> str:
        """The full name of the reader's module."""
        return f"catseye.runtimes.{self.reader.partition(':')[0]}"


WEIGHTS = ".safetensors"  # of a run folder too
MODEL_FORMATS = {
    ".onnx": ModelFormat("ONNX", "onnx:open_onnx", ("cpu", "cuda", "tensorrt", "openvino"), ("auto", "cpu")),
    ".xml": ModelFormat("OpenVINO", "openvino:open_openvino", ("openvino",), ("auto", "cpu")),
    ".torchscript": ModelFormat(
        "TorchScript", "torch:open_torch_file", ("torch",), ("auto", "cpu"), "a TorchScript file is a program"
    ),
    ".pt2": ModelFormat(
        "torch.export or AOTInductor",
        "torch:open_torch_file",
        ("torch",),
        ("auto", "cpu"),
        "a torch.export or AOTInductor package file is a program",
    ),
    ".engine": ModelFormat(
        "TensorRT",
        "tensorrt:open_engine",
        ("tensorrt",),
        ("auto", "cuda"),
        "a TensorRT engine is native code",
    ),
    WEIGHTS: ModelFormat("weights of a run", "weights:open_weights", ("torch",), (), has_layers=True),
}
EXPORTED = tuple(suffix for suffix, row in MODEL_FORMATS.items() if not row.has_layers)


def format_of(path: StrPath) -> ModelFormat:
    """The row of a file, or of a run folder.

    Raises:
        ModelFileError: the path does not exist (unless its suffix is an exported file's), or is another kind of file.

    """
    suffix = Path(path).suffix.lower()
    if suffix in EXPORTED:
        return MODEL_FORMATS[suffix]
    if not Path(path).exists():
        raise ModelFileError(f"{path} does not exist; give a run folder, a model.safetensors or an exported file")
    if suffix in MODEL_FORMATS or not Path(path).is_file():
        return MODEL_FORMATS[WEIGHTS]
    known = ", ".join(f"{name} ({row.title})" for name, row in MODEL_FORMATS.items())
    raise ModelFileError(f"{path} has no suffix of a model file: {known}")


def is_model_file(path: StrPath) -> bool:
    """Whether the suffix is that of an exported file rather than of a run."""
    return Path(path).suffix.lower() in EXPORTED


def require_layers(path: StrPath) -> None:
    """Refuse exported files: they are graphs without layers and gradients.

    Raises:
        UsageError: the path has the suffix of an exported file.

    """
    if is_model_file(path):
        raise UsageError(
            f"layers and gradients exist only in a run folder or a model.safetensors; got {path}, an exported file; "
            "give the run it was exported from"
        )
